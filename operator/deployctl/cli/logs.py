"""`deployctl logs`: the engine's log."""

from typing import Annotated

import typer

from deployctl.cli.console import Output, answer_json, flush, say
from deployctl.cli.options import OutputOption, ServiceArgument, TargetOption
from deployctl.cli.rolloutprogress import DOCUMENT_VERSION
from deployctl.errors import InputError


def command(
    name: ServiceArgument = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the engine ends, or Ctrl-C.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="The last N lines. [default: all]")
    ] = None,
    revision: Annotated[
        int | None, typer.Option("--revision", min=1, help="Of an earlier revision.")
    ] = None,
    replica: Annotated[
        int | None, typer.Option("--replica", min=0, help="Of one of several, from 0 on.")
    ] = None,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the engine's log, oldest line first.

    Shows the revision at work, or the newest one. The log of a dead engine is kept. Of several
    replicas all are shown, each line with its replica's number, and followed together.

    [bold]Examples[/bold]

      deployctl logs my-model --tail 50

      deployctl logs -f my-model
    """
    from deployctl.operations.deploy.services import logs

    if follow and output is Output.json:
        raise InputError(
            "a followed log is not one JSON document",
            where="--follow",
            hint="leave out --output json, or --follow",
        )
    log = logs(name, target, revision=revision, replica=replica, tail=tail, follow=follow)
    if output is Output.json:
        known = {
            "service": log.ref.service,
            "target": log.ref.target,
            "revision": log.release.revision,
            "lines": list(log.lines),
        }
        answer_json({"version": DOCUMENT_VERSION, **known})
        return
    for line in log.lines:
        for part in line.split("\r"):  # a progress bar, drawn over itself: each state is a line
            if part or "\r" not in line:
                say(part)
        if follow:
            flush()
