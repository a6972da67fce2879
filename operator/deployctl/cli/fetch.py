"""`deployctl fetch`: a model where its engine looks for it, before an engine is touched."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deployctl.cli.console import Output, answer_json, print_rows, story
from deployctl.cli.options import OutputOption, ValuesOption, spec_options
from deployctl.cli.rolloutprogress import DOCUMENT_VERSION, RolloutProgress
from deployctl.errors import InputError
from deployctl.spec import ServiceSpec
from deployctl.units import size

_ToOption = Annotated[
    Path | None,
    typer.Option(
        "--to",
        help="Into this folder, for a host without a network: there, up --model DIR --offline.",
        metavar="DIR",
        show_default=False,
    ),
]


@spec_options
def command(
    specs: list[ServiceSpec],
    to: _ToOption = None,
    values: ValuesOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Download a model to where its engine will look for it, whole and checked.

    What up does before it touches the engine that serves; on Docker the image too. Room on the
    disk is checked first, then size and digest of every file; a file that is cut, wrong or half
    there is never taken for whole. After a Ctrl-C or a cut it goes on where it was. A folder is
    sent to a cluster or to another --host, and checked where it is for this one. HF_ENDPOINT names
    a mirror.

    [bold]Examples[/bold]

      deployctl fetch --model Qwen/Qwen2.5-7B-Instruct-AWQ --gpu l4

      deployctl fetch --model Qwen/Qwen2.5-7B-Instruct-AWQ --to ./qwen

      deployctl fetch --model ./qwen --gpu l4 --target kubernetes

    [bold]Then[/bold]: deployctl up, with the same options; or, on a host that was given the folder,
    deployctl up --model ./qwen --offline.
    """
    from deployctl.operations.bundle import chart_options
    from deployctl.operations.fetch import fetch, fetch_to

    if to is not None and len(specs) > 1:
        raise InputError(
            f"{len(specs)} models do not go into one folder",
            where="--to",
            hint="fetch each into its own",
        )
    chart = chart_options([str(spec.target) for spec in specs], files=values or [])
    answers: list[dict[str, Any]] = []
    try:
        for spec in specs:
            with RolloutProgress() as progress:
                if to is None:
                    fetched = fetch(spec, progress, chart=chart)
                else:
                    fetched = fetch_to(spec, to, progress)
            answers.append(fetched.document())
            came = size(fetched.downloaded) if fetched.downloaded else "nothing"
            story(
                f"{fetched.model} is there, whole: {size(fetched.bytes)}, of which {came} came now"
            )
            if output is Output.text:
                rows = [("path", fetched.path), ("where", fetched.place)]
                rows += [("revision", fetched.revision)] if fetched.revision else []
                rows += [("image", fetched.image)] if fetched.image else []
                print_rows(rows)
    finally:
        if output is Output.json and answers:
            answer_json({"version": DOCUMENT_VERSION, "services": answers})
