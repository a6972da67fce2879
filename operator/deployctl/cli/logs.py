"""`deployctl logs`: the engine's log."""

import sys
from typing import Annotated

import typer

from deployctl.cli.console import Output, answer_json
from deployctl.cli.options import OutputOption
from deployctl.operations.measure.endpoint import ServiceArgument, TargetOption


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
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Show the engine's log, oldest line first.

    Shows the revision at work, or the newest one. The log of a dead engine is kept.

    [bold]Examples[/bold]

      deployctl logs my-model --tail 50

      deployctl logs -f my-model
    """
    from deployctl.errors import InputError, NotFoundError
    from deployctl.operations.deploy.services import DOCUMENT_VERSION, find, open_store
    from deployctl.targets import history, open_driver

    if follow and output is Output.json:
        raise InputError(
            "a log that is followed is no JSON document",
            where="--follow",
            hint="leave out --output json, or --follow",
        )
    settings, store = open_store()
    ref = find(store, name, target)
    releases = store.releases(ref)
    chosen = [r for r in releases if r.revision == revision] if revision else releases
    if not chosen:
        raise NotFoundError(
            f"{ref.service} has no revision {revision}" if revision else "there is no revision",
            hint=f"deployctl history {ref.service} lists them",
        )
    release = history.shown(chosen)
    lines = open_driver(ref.kind, settings).logs(release, tail=tail, follow=follow)
    if output is Output.json:
        answer_json(
            {
                "version": DOCUMENT_VERSION,
                "service": ref.service,
                "target": ref.kind,
                "revision": release.revision,
                "lines": list(lines),
            }
        )
        return
    for line in lines:
        sys.stdout.write(line + "\n")
        if follow:
            sys.stdout.flush()
