"""An engine's figures for the terminal: a table, or one line for a pipe."""

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from deployctl.metrics.figures import Figures, Spread
from deployctl.units import duration

_SPREADS = (
    ("ttft_s", "TTFT"),
    ("itl_s", "ITL"),
    ("e2e_s", "E2E"),
    ("queue_s", "queued"),
)


def table(title: str, figures: Figures) -> RenderableType:
    """Everything, under a headline that says what counts and rates are over."""
    rows = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    rows.add_column(style="bold")
    rows.add_column()
    usage = figures.kv_cache_usage
    now = f"{_count(figures.running)} running · {_count(figures.waiting)} waiting"
    rows.add_row("Requests now", now)
    rows.add_row("KV cache now", "not told" if usage is None else f"{usage:.1%} in use")
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
    latencies = _latencies(figures)
    if latencies is not None:
        parts += [Text(), latencies]
    return Group(*parts)


def line(figures: Figures) -> str:
    """The essence, for `--watch` into a pipe."""
    usage = figures.kv_cache_usage
    parts = [
        f"{_count(figures.running)} running",
        f"{_count(figures.waiting)} waiting",
        "KV cache not told" if usage is None else f"KV cache {usage:.1%}",
        f"{figures.generation_tokens_per_s or 0:.1f} output tok/s",
        f"{figures.prompt_tokens_per_s or 0:.1f} prompt tok/s",
    ]
    for field, name in _SPREADS[:2]:
        spread: Spread | None = getattr(figures, field)
        if spread is not None:
            parts.append(f"{name} p95 {spread.p95 * 1000:.0f} ms")
    if figures.preemptions:
        parts.append(f"{figures.preemptions} preemptions")
    if figures.restarted:
        parts.append("the engine restarted")
    return " · ".join(parts)


def _latencies(figures: Figures) -> Table | None:
    found = [(n, s) for f, n in _SPREADS if (s := getattr(figures, f)) is not None]
    if not found:
        return None
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("")
    rows.add_column("unit", style="dim")
    for name in ("mean", "p50", "p90", "p95", "p99"):
        rows.add_column(name, justify="right")
    rows.add_column("values", justify="right", style="dim")
    for name, spread in found:
        unit, scale = ("s", 1.0) if spread.p50 >= 10 else ("ms", 1000.0)
        texts = [f"{spread.mean * scale:,.1f}"]
        texts += [
            # Within the lowest bucket an estimate would be invented.
            f"<{spread.resolution * scale:g}"
            if cell <= spread.resolution
            else f"{cell * scale:,.1f}"
            for cell in (spread.p50, spread.p90, spread.p95, spread.p99)
        ]
        rows.add_row(Text(name, style="bold"), unit, *texts, f"{spread.observed:,}")
    return rows


def _basis(figures: Figures) -> str:
    if figures.basis == "interval":
        again = " · the engine restarted" if figures.restarted else ""
        return f"over the last {duration(figures.seconds or 0)}{again}"
    if figures.seconds is None:
        return "totals since the engine started"
    return f"totals and averages since the engine started, {duration(figures.seconds)} ago"


def _amount(count: int | None, rate: float | None) -> str:
    if count is None:
        return "not told"
    return f"{count:,}" + ("" if rate is None else f" · {rate:,.1f}/s")


def _count(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"
