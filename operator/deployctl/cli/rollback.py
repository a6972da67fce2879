"""`deployctl rollback`: an earlier revision, once more."""

from typing import Annotated

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption, TakeOverOption, TargetOption
from deployctl.cli.rolloutprogress import (
    DOCUMENT_VERSION,
    RolloutProgress,
    show_deployed,
    tell_gaps,
)
from deployctl.operations.deploy.request import When


def command(
    name: Annotated[str, typer.Argument(help="Name of the service.", metavar="NAME")],
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="Revision. [default: the last that ran otherwise]"),
    ] = None,
    beside: Annotated[
        When,
        typer.Option(
            "--beside",
            help="Behind a host's gateway, have it come up next to the one that serves and "
            "take over: auto (if there is room), yes, or no.",
            metavar="WHEN",
            show_default=False,
        ),
    ] = "auto",
    take_over: TakeOverOption = False,
    target: TargetOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Go back to an earlier revision; return when it answers a real completion.

    What that revision ran is run again, as a new revision: its model, flags and engine version,
    not today's defaults. When it does not come up, the current one runs again.

    [bold]Examples[/bold]

      deployctl rollback my-model

      deployctl rollback my-model --to 3
    """
    from deployctl.operations.deploy.deployment import rollback

    with RolloutProgress() as tell:
        deployed = rollback(name, to, target=target, beside=beside, take_over=take_over, tell=tell)
    release = deployed.release
    tell_gaps(deployed)
    if deployed.changed:
        what = f"revision {release.revision} ({release.reason})"
        story(f"{name} serves: {what}, in {deployed.took}")
    else:
        story(f"{name} serves that already: revision {release.revision}, unchanged")
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **deployed.document()})
    else:
        show_deployed(deployed)
