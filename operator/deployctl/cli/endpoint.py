"""The arguments and options that say which server is asked: a service of ours, or any address."""

from pathlib import Path
from typing import Annotated, Literal

import typer

ServiceArgument = Annotated[
    str | None,
    typer.Argument(help="Name of a service. May be left out when one is running.", metavar="NAME"),
]
UrlOption = Annotated[
    str | None,
    typer.Option(
        "--url", help="Any OpenAI-compatible server instead: http://HOST:PORT.", metavar="URL"
    ),
]
ModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", help="Model to ask --url for. \\[default: the one it serves]", metavar="NAME"
    ),
]
KeyFileOption = Annotated[
    Path | None,
    typer.Option(
        "--api-key-file",
        help="File with the API key for --url. DEPLOYCTL_API_KEY works too.",
        metavar="FILE",
    ),
]
TargetOption = Annotated[
    Literal["process", "docker"] | None,
    typer.Option("--target", help="process or docker, if both have that name.", metavar="TARGET"),
]
