"""The option --output, by itself: verbs that take no service need not wait for its settings."""

from typing import Annotated

import typer

from deployctl.cli.console import Output

OutputOption = Annotated[
    Output, typer.Option("--output", "-o", help="text, or json for a documented document.")
]
