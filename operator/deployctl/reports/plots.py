"""A run by its requests and by its server, as SVG text. Needs matplotlib, so import it late."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from deployctl.reports.plotstyle import BLUE, FAINT, GREEN, INK, ORANGE, RED, STYLE, svg
from deployctl_loadtest.result import Distribution, LoadResult, ServerMoment
from deployctl_loadtest.sample import Sample

_BINS = 40
MOST = 80  # requests one by one that can be told apart


def latency(result: LoadResult, samples: Sequence[Sample]) -> str:
    """Histograms of TTFT, ITL and E2E with their percentiles marked."""
    good = [s for s in samples if s.outcome == "ok" and not s.warmup]
    panels: list[tuple[str, Iterable[float], Distribution | None, str]] = [
        (
            "TTFT",
            [s.ttft_s for s in good if s.ttft_s is not None],
            result.latency.ttft_s,
            "requests",
        ),
        ("ITL", (g for s in good for g in s.chunk_gaps_s), result.latency.itl_s, "gaps"),
        ("E2E", [s.e2e_s for s in good if s.e2e_s is not None], result.latency.e2e_s, "requests"),
    ]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 2.9), layout="constrained")
        for axes, panel in zip(figure.subplots(1, len(panels)), panels, strict=True):
            _histogram(axes, *panel)
        return svg(figure, "latency")


def _histogram(
    axes: Any, name: str, values: Iterable[float], spread: Distribution | None, what: str
) -> None:
    axes.set_ylabel(what)
    if spread is None:
        axes.set_title(f"{name}: nothing measured")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    unit, scale = ("s", 1.0) if spread.p50 >= 10 else ("ms", 1000.0)
    # A lone straggler would squeeze the rest into one bar; what lies beyond is said instead.
    edge = max(spread.p99 * 1.25, spread.p50 * 2, 1e-4)
    counts = [0] * _BINS  # matplotlib takes seconds to count a million
    beyond = 0
    for value in values:
        if value > edge:
            beyond += 1
        else:
            counts[min(_BINS - 1, int(value / edge * _BINS))] += 1
    edges = [edge * scale * i / _BINS for i in range(_BINS + 1)]
    axes.hist(edges[:-1], bins=edges, weights=counts, color=BLUE, alpha=0.75)
    if name == "ITL":
        axes.set_yscale("log")
    for share, style in (("p50", "-"), ("p95", "--"), ("p99", ":")):
        at = getattr(spread, share) * scale
        axes.axvline(at, color=ORANGE, linestyle=style, linewidth=1.2, label=f"{share} {at:.4g}")
    axes.legend(fontsize=8, loc="upper right", labelcolor=INK, edgecolor="none", framealpha=0.9)
    axes.set_xlim(0, edge * scale)
    axes.set_xlabel(
        unit + (f"   ({beyond} beyond, up to {spread.max * scale:.4g})" if beyond else "")
    )
    axes.set_title(name)


def timeline(result: LoadResult, samples: Sequence[Sample]) -> str:
    """Tokens a second over time, and below it each request's TTFT and E2E where it started."""
    begin, end = result.window_s
    last = max([end, *(s.started_at_s + s.duration_s for s in samples)], default=1.0)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 4.6), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.3))
        width = max(1.0, last / 120)
        times, rates = _rates(samples, width, last)
        above.fill_between(times, rates, step="post", color=BLUE, alpha=0.18, linewidth=0)
        above.step(times, rates, where="post", color=BLUE, linewidth=1.2)
        above.axhline(
            result.throughput.output_tokens_per_s,
            xmin=begin / last,
            xmax=min(1.0, end / last),
            color=ORANGE,
            linewidth=1,
            linestyle="--",
            label=f"measured: {result.throughput.output_tokens_per_s:.4g}",
        )
        above.legend(frameon=False, fontsize=8, loc="lower right", labelcolor=INK)
        above.set_title("Output tokens a second")
        above.set_ylim(bottom=0)
        _requests(below, samples)
        for axes in (above, below):
            if begin > 0:
                axes.axvspan(0, begin, color=FAINT, alpha=0.35, linewidth=0)
            axes.set_xlim(0, last)
        if begin > 0:
            above.text(
                begin / 2,
                0.97,
                "warm-up",
                transform=above.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=8,
                color=INK,
            )
        below.set_xlabel("seconds from the run's start")
        return svg(figure, "timeline")


def _rates(samples: Sequence[Sample], width: float, last: float) -> tuple[list[float], list[float]]:
    """Tokens a second in bins of `width` seconds; the last, broken bin is left out."""
    bins = max(1, int(last / width))
    totals = [0.0] * bins
    for sample in samples:
        each = sample.tokens_per_chunk or 1.0
        for at in sample.chunk_times():
            if 0 <= (index := int(at / width)) < bins:
                totals[index] += each
    times = [index * width for index in range(bins + 1)]
    rates = [total / width for total in totals]
    return times, [*rates, rates[-1]]


def _requests(axes: Any, samples: Sequence[Sample]) -> None:
    for name, color, values in (
        ("E2E", GREEN, [(s.started_at_s, s.e2e_s) for s in samples if s.e2e_s is not None]),
        (
            "TTFT",
            BLUE,
            [(s.started_at_s, s.ttft_s) for s in samples if s.outcome == "ok" and s.ttft_s],
        ),
        ("failed", RED, [(s.started_at_s, s.duration_s) for s in samples if s.failed]),
    ):
        if values:
            # Many points are drawn as one picture: the file stays small.
            axes.scatter(
                [at for at, _ in values],
                [value for _, value in values],
                s=16 if name == "failed" else 9,
                marker="x" if name == "failed" else "o",
                color=color,
                alpha=0.7,
                linewidths=1 if name == "failed" else 0,
                label=f"{name} ({len(values):,})",
                rasterized=len(values) > 2000,
            )
    axes.set_title("Latency by the request's start")
    axes.set_ylabel("seconds")
    axes.set_ylim(0, axes.get_ylim()[1] * 1.15)  # room for the legend
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, loc="upper right", labelcolor=INK, ncols=3)


def shown(samples: Sequence[Sample]) -> Sequence[Sample]:
    """All requests, or those around the slowest: it is the one that is asked about."""
    if len(samples) <= MOST:
        return samples
    ended = [i for i, s in enumerate(samples) if not s.warmup] or list(range(len(samples)))
    slowest = max(ended, key=lambda i: samples[i].duration_s)
    first = min(max(0, slowest - MOST // 2), len(samples) - MOST)
    return samples[first : first + MOST]


def waterfall(result: LoadResult, samples: Sequence[Sample]) -> str:
    """A line a request: late start, wait for the first text, text; failures and cut ones."""
    part = shown(samples)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 1.1 + 0.075 * max(8, len(part))), layout="constrained")
        axes = figure.subplots()
        kinds: dict[str, tuple[str, list[tuple[int, float, float]]]] = {
            "late start": (ORANGE, []),
            "waiting for the first text": (BLUE, []),
            "text": (GREEN, []),
            "failed": (RED, []),
            "cut by the end": (FAINT, []),
        }
        for row, sample in enumerate(part):
            for kind, at, length in pieces(sample):
                kinds[kind][1].append((row, at, length))
        for kind, (color, bars) in kinds.items():
            if bars:
                rows, begins, lengths = zip(*bars, strict=True)
                axes.barh(rows, lengths, left=begins, height=0.72, color=color, label=kind)
        axes.set_ylim(len(part) - 0.3, -0.7)
        axes.set_yticks([])
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("seconds from the run's start")
        what = f"All {len(part):,} requests in order of start"
        if len(part) < len(samples):
            first = part[0].index
            what = (
                f"Requests {first:,} to {first + len(part) - 1:,} of {len(samples):,}: "
                "those around the slowest"
            )
        axes.set_title(what)
        figure.legend(frameon=False, fontsize=8, loc="outside lower left", ncols=5)
        return svg(figure, "waterfall")


def pieces(sample: Sample) -> list[tuple[str, float, float]]:
    """(kind, begin, length) of a request's time, in seconds from the run's start."""
    begin, end = sample.started_at_s, sample.started_at_s + sample.duration_s
    parts = []
    if begin > sample.begun_at_s:
        parts.append(("late start", sample.begun_at_s, begin - sample.begun_at_s))
    if sample.failed:
        return [*parts, ("failed", begin, end - begin)]
    times = sample.chunk_times()
    if times:
        parts.append(("waiting for the first text", begin, times[0] - begin))
        if len(times) > 1:
            parts.append(("text", times[0], times[-1] - times[0]))
    if sample.outcome == "incomplete":
        last = times[-1] if times else begin
        parts.append(("cut by the end", last, max(0.0, end - last)))
    return parts


def server_timeline(
    result: LoadResult, samples: Sequence[Sample], moments: Sequence[ServerMoment]
) -> str:
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
