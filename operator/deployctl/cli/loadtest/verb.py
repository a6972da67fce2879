"""`deployctl loadtest`: measures latency and throughput with Locust."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json
from deployctl.cli.endpoint import (
    KeyFileOption,
    ModelOption,
    ServiceArgument,
    TargetOption,
    UrlOption,
)
from deployctl.cli.options import OutputOption, request_options
from deployctl.endpoint import Endpoint
from deployctl.operations.measure.request import GateRequest, LoadRequest

if TYPE_CHECKING:
    from deployctl.operations.measure.loadtest import LoadOutcome  # brings httpx

_OutOption = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Result folder. \\[default: results/NAME-TIME]",
        metavar="DIR",
        show_default=False,
    ),
]


@request_options
def command(
    *,
    service: ServiceArgument = None,
    url: UrlOption = None,
    model: ModelOption = None,
    api_key_file: KeyFileOption = None,
    target: TargetOption = None,
    gate: GateRequest,
    load: LoadRequest,
    folder: _OutOption = None,
    output: OutputOption = Output.text,
) -> None:
    """Measure latency and throughput of a running service with Locust.

    Simulated users each send a prompt, read the streamed answer to its end,
    and ask again. Every chunk is timed: TTFT (send to first text), ITL
    (between chunks of text), TPOT (per token), E2E (send to last text), and
    tokens a second. The result says when it should not be believed.

    A service that deployctl started, by name, or the only one running:

        [bold]deployctl loadtest --users 8 --duration 1m[/bold]

    Without users, at a rate that does not wait for answers (open loop):

        [bold]deployctl loadtest --rate 5 --arrivals poisson[/bold]

    Several loads in turn:

        [bold]deployctl loadtest --sweep users=1,2,4,8[/bold]

    The highest rate at which an SLO holds, with its goodput:

        [bold]deployctl loadtest --find-max goodput --slo ttft_p95=500ms[/bold]

    Any OpenAI-compatible server:

        [bold]deployctl loadtest --url http://127.0.0.1:8000 --input-tokens 900[/bold]

    With an SLO, each objective is met, missed or unresolved, by its confidence
    interval; --fail-on-breach makes a pipeline's gate of it:

        [bold]deployctl loadtest --slo ttft_p95=500ms,error_rate=1% --fail-on-breach[/bold]

    It writes a folder: report.html (for a browser, needs no network),
    summary.json, and requests.jsonl with one line a request. Ctrl-C ends the
    run, keeps what was measured, and exits with 130.
    """
    from deployctl.operations.measure.endpoint import resolve

    endpoint = resolve(service, url, model, api_key_file, target)
    _measure(load, endpoint, gate, folder, output)


def _measure(
    load: LoadRequest, endpoint: Endpoint, gate: GateRequest, folder: Path | None, output: Output
) -> None:
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.operations.measure.loadtest import UnreportedError, load_test

    with LoadProgress() as tell:
        try:
            outcome = load_test(load, endpoint, gate, folder=folder, tell=tell)
        except UnreportedError as error:
            _answer(error.outcome, output)  # it took its time to measure
            raise
    _answer(outcome, output)
    outcome.enforce(tell)


def _answer(outcome: "LoadOutcome", output: Output) -> None:
    from deployctl.cli.loadtest.text import show

    if output is Output.json:
        answer_json(outcome.document())
    else:
        show(outcome)
