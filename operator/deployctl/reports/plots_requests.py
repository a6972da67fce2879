"""Requests one by one over time, as SVG. Needs matplotlib, so import it late."""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from deployctl.reports.plotstyle import BLUE, FAINT, GREEN, ORANGE, RED, STYLE, svg
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.sample import Sample

MOST = 80  # lines that can be told apart


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
    found = []
    if begin > sample.begun_at_s:
        found.append(("late start", sample.begun_at_s, begin - sample.begun_at_s))
    if sample.failed:
        return [*found, ("failed", begin, end - begin)]
    times = sample.chunk_times()
    if times:
        found.append(("waiting for the first text", begin, times[0] - begin))
        if len(times) > 1:
            found.append(("text", times[0], times[-1] - times[0]))
    if sample.outcome == "incomplete":
        last = times[-1] if times else begin
        found.append(("cut by the end", last, max(0.0, end - last)))
    return found
