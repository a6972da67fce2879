"""`deployctl metrics`: shows the engine's figures that matter, once or again and again."""

import json
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deployctl import units
from deployctl.cli.console import Output, answer_json, out
from deployctl.cli.endpoint import KeyFileOption, ServiceArgument, TargetOption, UrlOption
from deployctl.cli.options import OutputOption
from deployctl.errors import InputError, TargetError

if TYPE_CHECKING:
    from deployctl.endpoint import Endpoint
    from deployctl.metrics.figures import Figures


def command(
    service: ServiceArgument = None,
    url: UrlOption = None,
    api_key_file: KeyFileOption = None,
    target: TargetOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Again and again, with rates in between.")
    ] = False,
    interval: Annotated[
        str, typer.Option(help="How long between two scrapes.", metavar="TIME")
    ] = "2s",
    output: OutputOption = Output.text,
) -> None:
    """Show the engine's figures that matter.

    Requests running and waiting, KV cache use, tokens a second, TTFT and ITL
    percentiles, preemptions, prefix-cache hits, from the service's /metrics.
    Once, the counters are since the engine started; with --watch, each scrape
    tells what happened since the one before. Percentiles are estimates from
    the engine's histogram buckets, as Prometheus makes them.

        [bold]deployctl metrics[/bold]

        [bold]deployctl metrics my-model --watch --interval 5s[/bold]

    With --watch --output json, one document a line.
    """
    from deployctl.operations.measure.endpoint import resolve

    try:
        pause = units.seconds(interval)
    except ValueError as error:
        raise InputError(str(error), where="--interval") from error
    if pause < 0.1:
        raise InputError("less than 100 ms", where="--interval", hint="write for example 2s")
    endpoint = resolve(service, url, None, api_key_file, target)
    if watch:
        _watch(endpoint, pause, output)
    else:
        _once(endpoint, output)


def _once(endpoint: "Endpoint", output: Output) -> None:
    from deployctl import metrics
    from deployctl.cli.metrics import view as metricsview
    from deployctl.metrics.figures import since_start

    snapshot = metrics.scrape(endpoint.url, endpoint.api_key)
    figures = since_start(snapshot, time.time())
    if output is Output.json:
        answer_json(_document(endpoint, figures))
    else:
        out.print(metricsview.table(endpoint.service or endpoint.url, figures))


def _watch(endpoint: "Endpoint", pause: float, output: Output) -> None:
    """Until Ctrl-C. An engine that is away for a moment is waited for."""
    from rich.live import Live

    from deployctl import metrics
    from deployctl.cli.metrics import view as metricsview
    from deployctl.metrics.figures import between

    before = metrics.scrape(endpoint.url, endpoint.api_key)
    live = output is Output.text and out.is_terminal
    view = Live(console=out, auto_refresh=False) if live else None
    if view:
        view.start()
        view.update("waiting for the first interval …", refresh=True)
    try:
        while True:
            time.sleep(pause)
            try:
                after = metrics.scrape(endpoint.url, endpoint.api_key)
            except TargetError as error:
                if view is None:
                    raise
                view.update(f"{error.message}; trying again", refresh=True)
                continue
            figures = between(before, after)
            before = after
            if output is Output.json:
                sys.stdout.write(json.dumps(_document(endpoint, figures)) + "\n")
                sys.stdout.flush()
            elif view:
                title = endpoint.service or endpoint.url
                view.update(metricsview.table(title, figures), refresh=True)
            else:
                out.print(metricsview.line(figures))
    except KeyboardInterrupt:
        return  # the way to end it
    finally:
        if view:
            view.stop()


def _document(endpoint: "Endpoint", figures: "Figures") -> dict[str, Any]:
    """The documented answer. Version 1."""
    return {
        "version": 1,
        "service": endpoint.service,
        "url": endpoint.url,
        **{
            name: value._asdict() if hasattr(value, "_asdict") else value
            for name, value in figures._asdict().items()
        },
    }
