"""The server's side of a run over time, as SVG. Needs matplotlib, so import it late."""

from collections.abc import Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from deployctl.reports.plotstyle import BLUE, FAINT, GREEN, INK, ORANGE, RED, STYLE, svg
from deployctl_loadtest.result import LoadResult, ServerMoment
from deployctl_loadtest.sample import Sample


def timeline(result: LoadResult, samples: Sequence[Sample], moments: Sequence[ServerMoment]) -> str:
    """Requests running and waiting above; below, where it is told, KV cache use and preemptions."""
    begin, end = result.window_s
    last = max([end, 0.001, *(s.started_at_s + s.duration_s for s in samples)])
    with matplotlib.rc_context(STYLE):
        used = [(m.at_s, m.kv_cache_usage * 100) for m in moments if m.kv_cache_usage is not None]
        figure = Figure(figsize=(10.4, 4.0 if used else 2.4), layout="constrained")
        if used:
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1.3, 1))
        else:
            above = below = figure.subplots()
        _line(above, moments, "running", BLUE)
        _line(above, moments, "waiting", ORANGE)
        flying = in_flight(samples, last)
        above.plot(
            *zip(*flying, strict=True), color=INK, linewidth=0.9, linestyle=":",
            label="in flight, by the client",
        )  # fmt: skip
        above.set_title("Requests at the server")
        above.set_ylim(bottom=0)
        above.set_ylim(top=above.get_ylim()[1] * 1.2)
        above.legend(frameon=False, fontsize=8, loc="upper right", ncols=3, labelcolor=INK)
        if used:
            below.plot(*zip(*used, strict=True), color=GREEN, linewidth=1.2)
            below.fill_between(*zip(*used, strict=True), color=GREEN, alpha=0.15, linewidth=0)
            lost = sum(moment.preemptions or 0 for moment in moments)
            below.set_title(
                "KV cache in use, %" + (f" (red: {lost:,} preemptions)" if lost else "")
            )
            below.set_ylim(0, max([10.0, *(value * 1.15 for _, value in used)]))
        for moment in moments:
            if moment.preemptions:
                below.axvline(moment.at_s, color=RED, linewidth=0.8)
        below.set_xlabel("seconds from the run's start")
        for axes in (above, below):
            if begin > 0:
                axes.axvspan(0, begin, color=FAINT, alpha=0.35, linewidth=0)
            axes.set_xlim(0, last)
        return svg(figure, "server")


def _line(axes: Any, moments: Sequence[ServerMoment], name: str, color: str) -> None:
    points = [(m.at_s, getattr(m, name)) for m in moments if getattr(m, name) is not None]
    if points:
        marker = "o" if len(points) < 60 else ""
        axes.plot(
            *zip(*points, strict=True), color=color, linewidth=1.3, label=name, marker=marker,
            markersize=3,
        )  # fmt: skip


def in_flight(samples: Sequence[Sample], last: float, bins: int = 240) -> list[tuple[float, float]]:
    """How many requests the client had under way: (middle of a bin, its mean)."""
    width = last / bins
    busy = [0.0] * bins
    for sample in samples:
        begin, end = sample.started_at_s, min(last, sample.started_at_s + sample.duration_s)
        first = max(0, min(bins - 1, int(begin / width)))
        for index in range(first, min(bins, int(end / width) + 1)):
            low, high = index * width, (index + 1) * width
            busy[index] += max(0.0, min(end, high) - max(begin, low))
    return [((index + 0.5) * width, total / width) for index, total in enumerate(busy)]
