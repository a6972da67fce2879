"""`deployctl loadtest`: measures latency and throughput with Locust."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.loadtest.options import LoadFlags, load_options
from deployctl.cli.options import OutputOption
from deployctl.errors import InterruptedByUserError, TargetError
from deployctl.operations.measure import gate as loadgate
from deployctl.operations.measure.endpoint import (
    KeyFileOption,
    ModelOption,
    ServiceArgument,
    TargetOption,
    UrlOption,
    resolve,
)

if TYPE_CHECKING:
    from deployctl.load.run import Measurement


@load_options
def command(
    flags: LoadFlags,
    service: ServiceArgument = None,
    url: UrlOption = None,
    model: ModelOption = None,
    api_key_file: KeyFileOption = None,
    target: TargetOption = None,
    slo: loadgate.SloOption = None,
    fail_on_breach: loadgate.FailOnBreachOption = False,
    junit: loadgate.JunitOption = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Result folder. \\[default: results/NAME-TIME]",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
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
    from deployctl.cli.loadtest.progress import LoadProgress
    from deployctl.load.run import UnwrittenError
    from deployctl.operations.measure import headers as loadwire
    from deployctl.operations.measure import limit as loadlimit
    from deployctl.operations.measure import series as loadseries
    from deployctl.operations.measure import served
    from deployctl.operations.measure import setup as loadsetup
    from deployctl.operations.measure.run import measure, measure_with_enough_workers

    wanted = loadgate.read(slo, fail_on_breach)
    endpoint = resolve(service, url, model, api_key_file, target)
    endpoint = loadwire.with_flags(endpoint, flags.header, flags.ca_file)
    chosen = served.choose(endpoint, served.models(endpoint))
    setup = loadsetup.build(flags, endpoint, chosen)
    if flags.sweep is not None or flags.find_max is not None:
        with LoadProgress() as tell:
            if flags.sweep is not None:
                asked = loadseries.parse(flags.sweep)
                series, where = loadseries.sweep(setup, endpoint, folder, asked, wanted, tell)
            else:
                by_users = flags.users is not None
                series, where = loadlimit.find(
                    setup, endpoint, folder, wanted, by_users=by_users, tell=tell
                )
        if output is Output.json:
            answer_json({**series.to_dict(), "folder": str(where)})
        else:
            loadseries.show(series, where)
        loadgate.write_series_reports(where, series, junit)
        if series.interrupted:
            raise InterruptedByUserError("interrupted")
        if fail_on_breach:
            loadgate.enforce_series(series)
        return
    run = measure_with_enough_workers if flags.workers == "auto" else measure
    try:
        with LoadProgress() as tell:
            measured = run(setup, endpoint, folder, slo=wanted, gated=fail_on_breach, tell=tell)
        loadgate.write_reports(measured.folder, measured.result, junit)
    except UnwrittenError as error:
        _show(error.measurement, output)  # it took its time to measure
        raise
    _show(measured, output)
    result = measured.result
    if result.interrupted:
        raise InterruptedByUserError("interrupted")
    loadgate.enforce(result)
    if not result.requests.ok:
        kinds = ", ".join(f.outcome for f in result.requests.failures)
        raise TargetError(
            f"no request succeeded{f' ({kinds})' if kinds else ''}",
            where=setup.url,
            hint="deployctl smoke says what is wrong"
            if kinds
            else f"none ended within {setup.duration_s:g} s: measure longer, or ask for less",
        )


def _show(measured: "Measurement", output: Output) -> None:
    if output is Output.json:
        answer_json({**measured.result.to_dict(), "folder": str(measured.folder)})
        return
    from deployctl.reports import load_terminal

    for renderable in load_terminal.render(measured.result):
        out.print(renderable)
    report = measured.folder / "report.html"
    if report.exists():
        out.print(f"\nReport     {report}")
