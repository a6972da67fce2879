"""`deployctl loadtest`: measures latency and throughput with Locust."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.options import (
    KeyFileOption,
    ModelOption,
    OutputOption,
    ServiceArgument,
    TargetOption,
    TokenFileOption,
    UrlOption,
    request_options,
)
from deployctl.endpoint import Endpoint
from deployctl.operations.measure.request import GateRequest, LoadRequest
from deployctl.reports import series, wording
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.series import Series

if TYPE_CHECKING:
    from deployctl.operations.measure.loadtest import LoadOutcome  # brings httpx

_STYLES = {"bad": "bold red", "warning": "yellow", "note": "cyan"}
_HELD = {"met": "green", "missed": "bold red", "unresolved": "yellow"}
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
    operator_token_file: TokenFileOption = None,
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
    tokens a second. The result says when it should not be trusted.

    A service that deployctl started, by name, or the only one running:

        [bold]deployctl loadtest --users 8 --duration 1m[/bold]

    Without users, at a rate that does not wait for answers (open loop):

        [bold]deployctl loadtest --rate 5 --arrivals poisson[/bold]

    Several loads in turn:

        [bold]deployctl loadtest --sweep users=1,2,4,8[/bold]

    The highest rate at which an SLO holds, with its goodput:

        [bold]deployctl loadtest --find-max goodput --slo ttft_p95=500ms[/bold]

    With more load than this machine makes, from pods beside the service:

        [bold]deployctl loadtest NAME --on kubernetes --workers 4 --users 800[/bold]

    Any OpenAI-compatible server:

        [bold]deployctl loadtest --url http://127.0.0.1:8000 --input-tokens 900[/bold]

    With an SLO, each objective is met, missed or unresolved, by its confidence
    interval; --fail-on-breach makes it a gate for pipelines:

        [bold]deployctl loadtest --slo ttft_p95=500ms,error_rate=1% --fail-on-breach[/bold]

    It writes a folder: report.html (for a browser, needs no network),
    summary.json, and requests.jsonl with one line a request. Ctrl-C ends the
    run, keeps what was measured, and exits with 130.
    """
    from deployctl.operations.measure.endpoint import resolve

    if url is None and target is None:
        target = load.on
    endpoint = resolve(service, url, model, api_key_file, target, operator_token_file)
    _measure(load, endpoint, gate, folder, output)


def _measure(
    load: LoadRequest, endpoint: Endpoint, gate: GateRequest, folder: Path | None, output: Output
) -> None:
    from deployctl.cli.loadprogress import LoadProgress
    from deployctl.operations.measure.loadtest import UnreportedError, load_test

    try:
        with LoadProgress() as tell:
            outcome = load_test(load, endpoint, gate, folder=folder, tell=tell)
    except UnreportedError as error:
        _answer(error.outcome, output)  # it took its time to measure
        raise
    _answer(outcome, output)
    outcome.enforce(tell)


def _answer(outcome: "LoadOutcome", output: Output) -> None:
    if output is Output.json:
        answer_json(outcome.document())
        return
    result = outcome.result
    for renderable in render_series(result) if isinstance(result, Series) else render(result):
        out.print(renderable)
    if (report := outcome.folder / "report.html").exists():
        out.print(f"\nReport     {report}")


def render(result: LoadResult) -> Iterator[RenderableType]:
    """Yields the lines and the tables of one run."""
    yield Text.assemble((wording.title(result), "bold"), f"  {result.setup.url}")
    yield Text(wording.setup_line(result), style="dim")
    yield Text()
    rows = wording.latency_rows(result)
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        table.add_column("")
        table.add_column("unit", style="dim")
        for column in wording.COLUMNS:
            table.add_column(column, justify="right")
        table.add_column("values", justify="right", style="dim")
        for row in rows:
            table.add_row(Text(row.name, style="bold"), row.unit, *row.cells, f"{row.values:,}")
        yield table
        yield Text()
    for name, text in wording.facts(result):
        yield Text.assemble((f"{name:<11}", "bold"), text)
    for kind, count, example in wording.failures(result):
        yield Text.assemble(("  failed   ", "red"), f"{count:,} × {kind}, e.g. {example}")
    if judged := wording.objectives(result):
        yield Text()
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for column in ("SLO", "", "value", "limit", "95% interval", "values"):
            table.add_column(column)
        for each in judged:
            held = Text(each.verdict, style=_HELD[each.verdict])
            cells = (each.value, each.limit, each.interval, f"{each.samples:,}")
            table.add_row(Text(each.name, style="bold"), held, *cells)
        yield table
        for each in judged:
            if each.note:
                yield Text(f"  {each.name}: {each.note}", style="dim")
    if result.gate is not None:
        yield Text()
        gate = "Gate passed" if result.gate.passed else "Gate not passed"
        yield Text(gate, style="green" if result.gate.passed else "bold red")
    if result.verdicts:
        yield Text()
    for verdict in result.verdicts:
        yield Text.assemble((f"{verdict.level}: ", _STYLES[verdict.level]), verdict.text)


def render_series(result: Series) -> Iterator[RenderableType]:
    """A line a run, what to know of it, and the answer of a search."""
    rows = series.rows(result)
    judged = any(row.verdict for row in rows)
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column(result.variable, justify="right", style="bold", no_wrap=True)
    for column in series.COLUMNS:
        table.add_column(column, justify="right", no_wrap=" " not in column)
    if judged:
        table.add_column("goodput/s", justify="right", no_wrap=True)
        table.add_column("SLO", no_wrap=True)
    for row in rows:
        table.add_row(row.label, *row.cells, *((row.goodput, row.verdict) if judged else ()))
    yield table
    for point in result.points:
        for verdict in point.result.verdicts:
            if verdict.level != "note":
                text = f"{result.variable} {point.value:g}: {verdict.level}: {verdict.text}"
                yield Text(text, style=_STYLES[verdict.level])
    if result.limit is not None:
        yield Text(f"\n{result.limit.text}", style="bold")
