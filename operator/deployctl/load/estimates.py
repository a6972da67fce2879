"""What one run says of each measure: a value, its interval, and how many values it is from. Pure.

Intervals are of 99%, not 95%: there are about a dozen measures, and one that is wrong by
chance should not stop a pipeline. They cover how the requests of one run differ among
themselves, not how one run differs from the next.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from deployctl.load import aggregate, intervals, slo
from deployctl.load.intervals import Interval
from deployctl_loadtest.sample import Sample

CONFIDENCE = 0.99
SHARES = (0.5, 0.95, 0.99)
_PIECES = (8, 60)  # of a window, for the interval of a rate: at least, at most


class Run(NamedTuple):
    """One result: its folder, its summary.json and its samples."""

    folder: str
    summary: dict[str, Any]
    samples: Sequence[Sample]


class Estimate(NamedTuple):
    """A measure of one run."""

    value: float
    interval: Interval
    samples: int


_GROUPS: dict[str, Callable[[Sample], list[float]]] = {
    "ttft": lambda s: [] if s.ttft_s is None else [s.ttft_s],
    "itl": lambda s: s.chunk_gaps_s,
    "tpot": lambda s: [] if (tpot := s.tpot_s) is None else [tpot],
    "e2e": lambda s: [] if s.e2e_s is None else [s.e2e_s],
}
LATENCIES = tuple(_GROUPS)


def _good(run: Run) -> list[Sample]:
    return [s for s in run.samples if s.outcome == "ok" and not s.warmup]


def latencies(run: Run, name: str) -> list[Estimate | None]:
    """The percentiles SHARES of one of LATENCIES, in seconds."""
    groups = [_GROUPS[name](sample) for sample in _good(run)]
    ordered = sorted(value for group in groups for value in group)
    if not ordered:
        return [None] * len(SHARES)
    found: list[Estimate | None] = []
    for share in SHARES:
        bounds = intervals.quantile(groups, share, CONFIDENCE, ordered)
        value = aggregate.percentile(ordered, share)
        found.append(Estimate(value, bounds.around(value), len(ordered)))
    return found


def output_tokens(run: Run) -> Estimate | None:
    """Output tokens a second that came in the window."""
    per_chunk = aggregate.tokens_a_chunk(run.samples)
    return _rate(
        run,
        [
            (at, aggregate.output_tokens(sample, per_chunk) / sample.chunks)
            for sample in run.samples
            for at in sample.chunk_times()
        ],
    )


def requests(run: Run) -> Estimate | None:
    """Requests a second that ended well in the window."""
    return _rate(
        run, [(s.chunk_times()[-1], 1.0) for s in run.samples if s.outcome == "ok" and s.chunks]
    )


def goodput(run: Run, level: slo.Slo) -> Estimate | None:
    """Requests a second that met every objective, as `slo.goodput` counts them.

    Both may differ between two runs, how many requests end and which share is good, so the
    interval is of their product: on logarithms, as of a ratio.
    """
    ended = requests(run)
    good = slo.met(level, run.samples)
    if ended is None or not good:
        return None
    tried = sum(not s.warmup and s.outcome != "incomplete" for s in run.samples) / len(_good(run))
    share = sum(good) / len(good)
    shares = intervals.proportion([(int(one), 1) for one in good], CONFIDENCE)
    value, rate = ended.value * tried * share, ended.interval
    if not value:
        return Estimate(0.0, Interval(0.0, rate.high * tried * shares.high), len(good))
    each = Interval(1 / rate.high, 1 / rate.low if rate.low > 0 else math.inf)  # seconds
    bounds = intervals.ratio(1 / ended.value, each, share, shares)
    return Estimate(value, Interval(bounds.low * tried, bounds.high * tried), len(good))


def _rate(run: Run, events: list[tuple[float, float]]) -> Estimate | None:
    """Mean and interval over equal pieces of the window, each about two requests long."""
    begin, end = run.summary.get("window_s", (0.0, 0.0))
    whole = sorted(s.e2e_s for s in _good(run) if s.e2e_s is not None)
    if not whole or end - begin <= 0:
        return None
    wanted = max(1.0, 2 * aggregate.percentile(whole, 0.5))
    least, most = _PIECES
    pieces = min(most, max(least, int((end - begin) / wanted)))
    width = (end - begin) / pieces
    totals = [0.0] * pieces
    for at, amount in events:
        if begin <= at < end:
            totals[min(pieces - 1, int((at - begin) / width))] += amount
    rates = [total / width for total in totals]
    bounds = intervals.mean(rates, CONFIDENCE)
    value = math.fsum(rates) / pieces
    return Estimate(value, Interval(max(0.0, bounds.low), bounds.high), pieces)


def errors(run: Run) -> Estimate | None:
    """The share of requests that failed, of those that ended."""
    ended = [s for s in run.samples if not s.warmup and s.outcome != "incomplete"]
    if not ended:
        return None
    failed = sum(s.failed for s in ended)
    # As if independent, though failures come in bursts: one outage is worth a look.
    bounds = intervals.exact(failed, len(ended), CONFIDENCE)
    return Estimate(failed / len(ended), bounds, len(ended))
