"""`deployctl metrics`: shows the engine's figures that matter, once or again and again."""

import time
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from deployctl import metrics, units
from deployctl.cli.console import Output, answer_json, as_json, flush, out, say
from deployctl.cli.options import (
    KeyFileOption,
    OutputOption,
    ServiceArgument,
    TargetOption,
    TokenFileOption,
    UrlOption,
)
from deployctl.cli.spreads import SPREADS, latencies
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, TargetError
from deployctl.metrics.figures import Figures, Spread, between, since_start
from deployctl.units import duration


def command(
    service: ServiceArgument = None,
    url: UrlOption = None,
    api_key_file: KeyFileOption = None,
    operator_token_file: TokenFileOption = None,
    target: TargetOption = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Repeat, with rates in between.")
    ] = False,
    interval: Annotated[
        str, typer.Option(help="How long between two scrapes.", metavar="TIME")
    ] = "2s",
    output: OutputOption = Output.text,
) -> None:
    """Show the engine's key metrics.

    Requests running and waiting, KV cache use, tokens a second, TTFT and ITL
    percentiles, preemptions, prefix-cache hits, from the service's /metrics.
    Without --watch, counters are since the engine started; with it, each line
    is of the time since the one before. Percentiles are estimates from the
    engine's histogram buckets, as Prometheus makes them.

        [bold]deployctl metrics[/bold]

        [bold]deployctl metrics my-model --watch --interval 5s[/bold]

    With --watch --output json, one document a line.
    """
    from deployctl.operations.measure.endpoint import resolve

    pause = units.seconds_of(interval, "--interval")
    if pause < 0.1:
        raise InputError("less than 100 ms", where="--interval", hint="write for example 2s")
    endpoint = resolve(service, url, None, api_key_file, target, operator_token_file)
    if watch and endpoint.replicas:
        several = f"{endpoint.service} has {len(endpoint.replicas)} replicas, each with a /metrics"
        hint = f"deployctl top {endpoint.service} watches all of them"
        raise InputError(several, where="--watch", hint=hint)
    if watch:
        _watch(endpoint, pause, output)
    else:
        _once(endpoint, output)


def _once(endpoint: Endpoint, output: Output) -> None:
    engines = endpoint.replicas or (endpoint,)
    figures = [since_start(metrics.scrape(each), time.time()) for each in engines]
    if output is Output.json:
        each = [
            {"url": at.own, **told.document()} for at, told in zip(engines, figures, strict=True)
        ]
        told = {"replicas": each} if endpoint.replicas else each[0]
        answer_json({"version": 1, "service": endpoint.service, "url": endpoint.own, **told})
        return
    for number, of_one in enumerate(figures):
        which = f", replica {number}" if endpoint.replicas else ""
        out.print(table((endpoint.service or endpoint.own) + which, of_one))


def _watch(endpoint: Endpoint, pause: float, output: Output) -> None:
    """Until Ctrl-C. An engine that is away for a moment is waited for."""
    before = metrics.scrape(endpoint)
    live = output is Output.text and out.is_terminal
    view = Live(console=out, auto_refresh=False) if live else None
    if view:
        view.start()
        view.update("waiting for the first interval …", refresh=True)
    try:
        while True:
            time.sleep(pause)
            try:
                after = metrics.scrape(endpoint)
            except TargetError as error:
                if view is None:
                    raise
                view.update(f"{error.message}; trying again", refresh=True)
                continue
            figures = between(before, after)
            before = after
            if output is Output.json:
                say(as_json(_document(endpoint, figures)))
                flush()
            elif view:
                title = endpoint.service or endpoint.own
                view.update(table(title, figures), refresh=True)
            else:
                out.print(line(figures))
                flush()
    except KeyboardInterrupt:
        return  # the way to end it
    finally:
        if view:
            view.stop()


def _document(endpoint: Endpoint, figures: Figures) -> dict[str, Any]:
    """The documented answer. Version 1."""
    told = figures.document()
    return {"version": 1, "service": endpoint.service, "url": endpoint.own, **told}


def table(title: str, figures: Figures) -> RenderableType:
    """Everything, under a headline that says what counts and rates are over."""
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column(style="bold")
    rows.add_column()
    usage = figures.kv_cache_usage
    now = f"{_count(figures.running)} running · {_count(figures.waiting)} waiting"
    rows.add_row("Requests now", now)
    rows.add_row("KV cache now", "not reported" if usage is None else f"{usage:.1%} in use")
    rows.add_row(
        "Output tokens", _amount(figures.generation_tokens, figures.generation_tokens_per_s)
    )
    rows.add_row("Prompt tokens", _amount(figures.prompt_tokens, figures.prompt_tokens_per_s))
    rows.add_row("Requests done", _amount(figures.requests, figures.requests_per_s))
    rows.add_row("Preemptions", _count(figures.preemptions))
    hits = figures.prefix_cache_hit_rate
    rows.add_row(
        "Prefix cache", "not asked" if hits is None else f"{hits:.1%} of prompt tokens hit"
    )
    parts: list[RenderableType] = [
        Text.assemble((title, "bold"), ("  " + _basis(figures), "dim")),
        rows,
    ]
    observed = latencies(figures)
    if observed is not None:
        parts += [Text(), observed]
    return Group(*parts)


def line(figures: Figures) -> str:
    """The essence, for `--watch` into a pipe."""
    usage = figures.kv_cache_usage
    parts = [
        f"{_count(figures.running)} running",
        f"{_count(figures.waiting)} waiting",
        "KV cache not reported" if usage is None else f"KV cache {usage:.1%}",
        f"{figures.generation_tokens_per_s or 0:.1f} output tok/s",
        f"{figures.prompt_tokens_per_s or 0:.1f} prompt tok/s",
    ]
    for field, name in SPREADS[:2]:
        spread: Spread | None = getattr(figures, field)
        if spread is not None:
            parts.append(f"{name} p95 {spread.p95 * 1000:.0f} ms")
    if figures.preemptions:
        parts.append(f"{figures.preemptions} preemptions")
    if figures.restarted:
        parts.append("the engine restarted")
    return " · ".join(parts)


def _basis(figures: Figures) -> str:
    if figures.basis == "interval":
        again = " · the engine restarted" if figures.restarted else ""
        return f"over the last {duration(figures.seconds or 0)}{again}"
    if figures.seconds is None:
        return "totals since the engine started"
    return f"totals and averages since the engine started, {duration(figures.seconds)} ago"


def _amount(count: int | None, rate: float | None) -> str:
    if count is None:
        return "not reported"
    return f"{count:,}" + ("" if rate is None else f" · {rate:,.1f}/s")


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
