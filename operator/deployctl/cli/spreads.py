"""Latencies as an engine's histograms tell them, for whoever shows them."""

from rich.table import Table
from rich.text import Text

from deployctl.metrics.figures import Figures, Spread

SPREADS = (
    ("ttft_s", "TTFT"),
    ("itl_s", "ITL"),
    ("e2e_s", "E2E"),
    ("queue_s", "queued"),
)


def latencies(figures: Figures) -> Table | None:
    """A table of all that were observed; None where nothing was."""
    spreads = [(n, s) for f, n in SPREADS if (s := getattr(figures, f)) is not None]
    if not spreads:
        return None
    rows = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    rows.add_column("")
    rows.add_column("unit", style="dim")
    for name in ("mean", "p50", "p90", "p95", "p99"):
        rows.add_column(name, justify="right")
    rows.add_column("values", justify="right", style="dim")
    for name, spread in spreads:
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


def brief(spread: Spread | None) -> str:
    """The 95th percentile in six characters at most; `-` where nothing was observed."""
    if spread is None:
        return "-"
    if spread.p95 <= spread.resolution:  # within the lowest bucket, as above
        return "<" + brief_s(spread.resolution)
    return brief_s(spread.p95)


def brief_s(seconds: float) -> str:
    """Seconds in five characters: `85ms`, `1.2s`, `12s`."""
    if seconds < 0.01:
        return f"{seconds * 1000:.2g}ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    return f"{seconds:.1f}s" if seconds < 9.95 else f"{seconds:.0f}s"
