"""Throughput against latency over the runs of a series, as SVG. Needs matplotlib: import late."""

from typing import Any

import matplotlib
from matplotlib.figure import Figure

from deployctl.reports.plotstyle import BLUE, GREEN, INK, ORANGE, RED, STYLE, svg
from deployctl_loadtest.series import Point, Series

_HELD = {"met": GREEN, "unresolved": ORANGE, "missed": RED}
_PANELS = (("TTFT", "ttft_s"), ("ITL", "itl_s"), ("E2E", "e2e_s"))


def throughput_latency(series: Series) -> str:
    """Latency (p50 and p95) over output tokens a second; a dot a run, named after its load."""
    points = ordered(series)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 3.6), layout="constrained")
        for axes, (name, field) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
            _panel(axes, name, field, points, series.variable)
        return svg(figure, "series")


def ordered(series: Series) -> list[Point]:
    """By load. Of a load that was measured again, the last, longest run."""
    return [point for _, point in sorted({point.value: point for point in series.points}.items())]


def _panel(axes: Any, name: str, field: str, points: list[Point], variable: str) -> None:
    axes.set_title(f"{name}, ms")
    axes.set_xlabel("output tokens/s")
    known = [point for point in points if getattr(point.result.latency, field) is not None]
    for share, color, style in (("p50", BLUE, "-"), ("p95", INK, "--")):
        line = [
            (
                point.result.throughput.output_tokens_per_s,
                getattr(getattr(point.result.latency, field), share) * 1000,
            )
            for point in known
        ]
        if line:
            axes.plot(
                *zip(*line, strict=True), color=color, linestyle=style, linewidth=1.2, label=share
            )
        for (x, y), point in zip(line, known, strict=True):
            judged = point.result.slo
            axes.plot(
                [x], [y], marker="o" if point.result.trustworthy else "X", markersize=6,
                linestyle="", color=color if judged is None else _HELD[judged.verdict],
            )  # fmt: skip
            if share == "p95":
                axes.annotate(
                    f"{point.value:g}", (x, y), textcoords="offset points", xytext=(0, 7),
                    ha="center", fontsize=8, color=INK,
                )  # fmt: skip
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)  # room for the numbers
    axes.set_xlim(0, axes.get_xlim()[1] * 1.05)
    if known:
        axes.legend(
            frameon=False, fontsize=8, loc="lower right", labelcolor=INK,
            title=f"numbers: {variable}", title_fontsize=8,
        )  # fmt: skip
