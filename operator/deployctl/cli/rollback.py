"""`deployctl rollback`: an earlier revision, once more."""

from typing import Annotated

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption
from deployctl.operations.measure.endpoint import TargetOption


def command(
    name: Annotated[str, typer.Argument(help="Name of the service.", metavar="NAME")],
    to: Annotated[
        int | None,
        typer.Option("--to", min=1, help="Revision. [default: the last that ran otherwise]"),
    ] = None,
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
    from deployctl.cli.progress import Progress
    from deployctl.operations.deploy.services import (
        DOCUMENT_VERSION,
        open_rollout,
        open_store,
        outcome_document,
        tell_outcome,
    )
    from deployctl.targets import open_driver
    from deployctl.units import duration

    settings, store = open_store()
    ref = store.find(name, target)
    driver = open_driver(ref.kind, settings)
    with Progress() as tell:
        outcome = open_rollout(driver, store, name, tell).rollback(to)
    release = outcome.release
    if outcome.changed:
        took = duration(outcome.seconds)
        story(f"{name} serves: revision {release.revision} ({release.reason}), in {took}")
    else:
        story(f"{name} serves that already: revision {release.revision}, unchanged")
    document = outcome_document(driver, store, outcome)
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **document})
    else:
        tell_outcome(document, driver.endpoint(release))
