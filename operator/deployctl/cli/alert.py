"""`deployctl alert`: is anybody told when something is wrong?"""

from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, print_rows, tell
from deployctl.cli.options import OutputOption, request_options
from deployctl.operations.monitoring.request import AlertRequest

if TYPE_CHECKING:
    from deployctl.operations.monitoring.testalert import TriedAlert

DOCUMENT_VERSION = 1
HELP = """Send a test alert, and see whether anybody is told.

[bold]Examples[/bold]

  deployctl alert test

  deployctl alert test VllmEngineHung --service chat
"""
_OUTCOMES = {
    "told": "yes, after {seconds}",
    "refused": "no: Alertmanager tried, and failed",
    "unknown": "not within {seconds}",
    "not asked": "not waited for",
}


@request_options
def send(
    name: Annotated[
        str | None,
        typer.Argument(
            help="An alert of ours, with its severity. [default: DeployctlTest]",
            metavar="NAME",
            show_default=False,
        ),
    ] = None,
    *,
    request: AlertRequest,
    output: OutputOption = Output.text,
) -> None:
    """Send a test alert through Alertmanager, and say who hears of it.

    It goes the way of a real one, has the label deployctl_test, says that it is a test, and ends by
    itself after five minutes. Who hears of it is what Alertmanager says; the command waits until it
    has told them. The exit code is 4 where nobody was told, or Alertmanager does not answer.

    [bold]Examples[/bold]

      deployctl alert test

      deployctl alert test VllmEngineHung --service chat

      deployctl alert test --receiver on-call

      deployctl alert test --alertmanager http://monitoring:9093 --severity warning
    """
    from deployctl.operations.monitoring.stack import alertmanager_of
    from deployctl.operations.monitoring.testalert import try_alert

    tried = try_alert(request, name, default=alertmanager_of(), tell=tell)
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **tried.document()})
    else:
        _show(tried)
    tried.enforce()


PARTS = {"test": send}


def _show(tried: "TriedAlert") -> None:
    from deployctl.operations.monitoring.testalert import in_words
    from deployctl.units import duration

    labels = " ".join(f"{key}={value}" for key, value in tried.labels.items())
    seconds = duration(tried.seconds)
    print_rows(
        [
            ("sent", labels),
            ("through", f"{tried.alertmanager} (Alertmanager {tried.version})"),
            ("hears", in_words(tried.receivers)),
            ("told", tried.muted or _OUTCOMES[tried.outcome].format(seconds=seconds)),
        ]
    )
