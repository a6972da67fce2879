"""What one run says of each measure, and how two sides of one run or several differ. Pure.

Intervals are of 99%, not 95%: there are about a dozen measures, and one that is wrong by
chance should not stop a pipeline. They cover how the requests of one run differ among
themselves, not how one run differs from the next.

Two things blur a difference. Requests of one run differ among themselves: each run's own
interval says by how much. And runs differ from each other (a neighbour on the machine, a warm
cache, a clock that throttles): only several runs of a side show that. With several, the interval
is Student's t of the runs' values, each run counted once, with a variance that both sides share
(G. Snedecor, W. Cochran, Statistical Methods, 6.9), and never narrower than what the requests
alone leave open, for few runs may agree by chance. With one run a side it is the latter.

Ratios are taken of logarithms, so that the mean of several runs is their geometric mean.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from deployctl.load import aggregate, intervals, slo
from deployctl.load.folder import SavedRun
from deployctl.load.intervals import Interval
from deployctl.load.pooled import Ordered
from deployctl_loadtest.sample import Sample

CONFIDENCE = 0.99
SHARES = (0.5, 0.95, 0.99)
_PIECES = (8, 60)  # of a window, for the interval of a rate: at least, at most


class RunEstimate(NamedTuple):
    """A measure of one run."""

    value: float
    interval: Interval
    samples: int


_GROUPS: dict[str, Callable[[Sample], Sequence[float]]] = {
    "ttft": lambda s: [] if s.ttft_s is None else [s.ttft_s],
    "itl": lambda s: s.chunk_gaps_s,
    "tpot": lambda s: [] if (tpot := s.tpot_s) is None else [tpot],
    "e2e": lambda s: [] if s.e2e_s is None else [s.e2e_s],
}
LATENCIES = tuple(_GROUPS)


def _good(run: SavedRun) -> list[Sample]:
    return [s for s in run.samples if s.outcome == "ok" and not s.warmup]


def latencies(run: SavedRun, name: str) -> list[RunEstimate | None]:
    """The percentiles SHARES of one of LATENCIES, in seconds."""
    groups = [_GROUPS[name](sample) for sample in _good(run)]
    ordered = Ordered(groups) if name == "itl" else intervals.pooled(groups)
    if not ordered:
        return [None] * len(SHARES)
    percentiles: list[RunEstimate | None] = []
    for share in SHARES:
        bounds = intervals.quantile(groups, share, CONFIDENCE, ordered)
        value = aggregate.percentile(ordered, share)
        percentiles.append(RunEstimate(value, bounds.around(value), len(ordered)))
    return percentiles


def output_tokens(run: SavedRun) -> RunEstimate | None:
    """Output tokens a second that came in the window."""
    per_chunk = aggregate.tokens_a_chunk(run.samples)
    return _rate(
        run,
        (
            (at, aggregate.output_tokens(sample, per_chunk) / sample.chunks)
            for sample in run.samples
            for at in sample.chunk_times()
        ),
    )


def requests(run: SavedRun) -> RunEstimate | None:
    """Requests a second that ended well in the window."""
    return _rate(
        run, [(s.chunk_times()[-1], 1.0) for s in run.samples if s.outcome == "ok" and s.chunks]
    )


def goodput(run: SavedRun, level: slo.Slo) -> RunEstimate | None:
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
        return RunEstimate(0.0, Interval(0.0, rate.high * tried * shares.high), len(good))
    each = Interval(1 / rate.high, 1 / rate.low if rate.low > 0 else math.inf)  # seconds
    bounds = intervals.ratio(1 / ended.value, each, share, shares)
    return RunEstimate(value, Interval(bounds.low * tried, bounds.high * tried), len(good))


def _rate(run: SavedRun, events: Iterable[tuple[float, float]]) -> RunEstimate | None:
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
    return RunEstimate(value, Interval(max(0.0, bounds.low), bounds.high), pieces)


def errors(run: SavedRun) -> RunEstimate | None:
    """The share of requests that failed, of those that ended."""
    ended = [s for s in run.samples if not s.warmup and s.outcome != "incomplete"]
    if not ended:
        return None
    failed = sum(s.failed for s in ended)
    # As if independent, though failures come in bursts: one outage should be seen.
    bounds = intervals.exact(failed, len(ended), CONFIDENCE)
    return RunEstimate(failed / len(ended), bounds, len(ended))


class Contrast(NamedTuple):
    """`change` is b ÷ a − 1 (or b − a), with its bounds; infinite where the data set none.

    `between` is how much runs of a side differ from each other: the standard deviation, as a
    share of the value (or absolute); None where no side has two.
    """

    a: float
    b: float
    change: float
    low: float
    high: float
    between: float | None


def ratio(old: Sequence[RunEstimate], new: Sequence[RunEstimate]) -> Contrast | None:
    """The change b ÷ a − 1; None where a value that it needs is 0."""
    if any(each.value <= 0 for each in old):
        return None
    if all(each.value == 0 for each in new):
        least = min(each.interval.low for each in old)
        most = max(0.0, *(each.interval.high for each in new))
        return Contrast(
            _centre(old), 0.0, -1.0, -1.0, most / least - 1 if least > 0 else math.inf, None
        )
    if any(each.value <= 0 for each in new):
        return None
    a, b = _centre(old), _centre(new)
    within = intervals.ratio(a, _pooled(old, a), b, _pooled(new, b))
    low, high, between = _widened(
        Interval(math.log(within.low) if within.low > 0 else -math.inf, math.log(within.high)),
        math.log(b / a),
        [[math.log(each.value) for each in side] for side in (old, new)],
    )
    return Contrast(a, b, b / a - 1, _exp(low) - 1, _exp(high) - 1, between)


def shares(old: Sequence[RunEstimate], new: Sequence[RunEstimate]) -> Contrast:
    """The change b − a of a share that may be 0."""
    a, b = (_mean([each.value for each in side]) for side in (old, new))
    within = intervals.difference(a, _all_trials(old).around(a), b, _all_trials(new).around(b))
    low, high, between = _widened(within, b - a, [[e.value for e in side] for side in (old, new)])
    return Contrast(a, b, b - a, low, high, between)


def _centre(side: Sequence[RunEstimate]) -> float:
    return math.exp(_mean([math.log(each.value) for each in side]))


def _pooled(side: Sequence[RunEstimate], centre: float) -> Interval:
    """Bounds of a side's mean from those of its runs, as if nothing else differed."""

    def half(distances: list[float]) -> float:
        return math.hypot(*distances) / len(side)

    def log(value: float) -> float:
        return math.log(value) if value > 0 else -math.inf

    down = half([log(each.value) - log(each.interval.low) for each in side])
    up = half([log(each.interval.high) - log(each.value) for each in side])
    return Interval(_exp(math.log(centre) - down), _exp(math.log(centre) + up))


def _all_trials(side: Sequence[RunEstimate]) -> Interval:
    hits = math.fsum(each.value * each.samples for each in side)
    return intervals.exact(hits, sum(each.samples for each in side), CONFIDENCE)


def _widened(
    within: Interval, change: float, sides: Sequence[Sequence[float]]
) -> tuple[float, float, float | None]:
    """Bounds that know of both, and how much runs differ from each other."""
    degrees = sum(len(side) - 1 for side in sides)
    if not degrees:
        return within.low, within.high, None
    squares = math.fsum((v - _mean(side)) ** 2 for side in sides for v in side)
    between = math.sqrt(squares / degrees)
    level = 1 - (1 - CONFIDENCE) / 2
    half = intervals.t_quantile(level, degrees) * between
    half *= math.sqrt(math.fsum(1 / len(side) for side in sides))
    return (
        _outer(min, within.low, change - half),
        _outer(max, within.high, change + half),
        between,
    )


def _outer(which: Callable[[float, float], float], within: float, between: float) -> float:
    # A percentile that one run's values do not bound is bounded by several runs all the same.
    return which(within, between) if math.isfinite(within) else between


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _exp(value: float) -> float:
    return math.exp(value) if value < 700 else math.inf
