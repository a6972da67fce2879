"""How one measure differs between two sides, each of one run or several. Pure.

Two things blur a difference. Requests of one run differ among themselves: each run's own
interval says by how much. And runs differ from each other (a neighbour on the machine, a warm
cache, a clock that throttles): only several runs of a side show that. With several, the interval
is Student's t of the runs' values, each run counted once, with a variance that both sides share
(G. Snedecor, W. Cochran, Statistical Methods, 6.9), and never narrower than what the requests
alone leave open, for few runs may agree by chance. With one run a side it is the latter.

Ratios are taken of logarithms, so that the mean of several runs is their geometric mean.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from deployctl.load import intervals
from deployctl.load.estimates import CONFIDENCE, Estimate
from deployctl.load.intervals import Interval


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


def ratio(old: Sequence[Estimate], new: Sequence[Estimate]) -> Contrast | None:
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


def shares(old: Sequence[Estimate], new: Sequence[Estimate]) -> Contrast:
    """The change b − a of a share that may be 0."""
    a, b = (_mean([each.value for each in side]) for side in (old, new))
    within = intervals.difference(a, _all_trials(old).around(a), b, _all_trials(new).around(b))
    low, high, between = _widened(within, b - a, [[e.value for e in side] for side in (old, new)])
    return Contrast(a, b, b - a, low, high, between)


def _centre(side: Sequence[Estimate]) -> float:
    return math.exp(_mean([math.log(each.value) for each in side]))


def _pooled(side: Sequence[Estimate], centre: float) -> Interval:
    """Bounds of a side's mean from those of its runs, as if nothing else differed."""

    def half(distances: list[float]) -> float:
        return math.hypot(*distances) / len(side)

    def log(value: float) -> float:
        return math.log(value) if value > 0 else -math.inf

    down = half([log(each.value) - log(each.interval.low) for each in side])
    up = half([log(each.interval.high) - log(each.value) for each in side])
    return Interval(_exp(math.log(centre) - down), _exp(math.log(centre) + up))


def _all_trials(side: Sequence[Estimate]) -> Interval:
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
