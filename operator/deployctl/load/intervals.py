"""Confidence intervals of percentiles, shares, means and their ratios. Pure, no random numbers.

Requests of a load test are no independent draws: the gaps of one answer resemble each other,
and so do requests that met the same queue. Every interval here is therefore computed from
batches of neighbours in time, and shrinks the sample to its effective size.

Sources:
- order statistics of a percentile: G. Hahn, W. Meeker, Statistical Intervals (1991), 5.2;
- a share's exact interval: C. Clopper, E. Pearson, Biometrika 26 (1934);
- its effective sample size, with the t correction: E. Korn, B. Graubard, Survey Methodology
  24 (1998); the share's variance from batches as the ratio estimator, W. Cochran, Sampling
  Techniques (1977), 6.3; from a share's interval to a percentile's: R. Woodruff, JASA 47 (1952);
- batch means of a series in time: A. Law, Simulation Modeling and Analysis, 9.5;
- a difference from two intervals (MOVER): G. Zou, A. Donner, Statistics in Medicine 27 (2008).
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

CONFIDENCE = 0.95
MAX_BATCHES = 30  # more batches are shorter than what holds neighbours together
_FEW = 40  # below so many groups, each is a batch of its own


class Interval(NamedTuple):
    """Bounds at a confidence, in the unit of the value. Infinite where the data set none."""

    low: float
    high: float

    def around(self, value: float) -> "Interval":
        """Widened to hold `value`: an interpolated percentile may lie just beside a bound,
        which is a value that was seen."""
        return Interval(min(self.low, value), max(self.high, value))


Groups = Sequence[Sequence[float]]  # one group a request, in order of start


def quantile(
    groups: Groups,
    share: float,
    confidence: float = CONFIDENCE,
    ordered: Sequence[float] | None = None,
) -> Interval:
    """Interval of the percentile `share` (0 to 1) of the pooled values.

    `ordered` are the pooled values in ascending order, where they are at hand.
    """
    if ordered is None:
        ordered = pooled(groups)
    n = len(ordered)
    if not n:
        return Interval(-math.inf, math.inf)
    size = _size_at(groups, ordered, share, confidence)
    tail = (1 - confidence) / 2
    low = binomial_quantile(size, share, tail)
    high = binomial_quantile(size, share, 1 - tail) + 1
    # Ranks in a sample of `size` values, 1-based, widened to ranks among all n.
    first = math.floor((low - 1) * n / size) + 1 if low >= 1 else 0
    last = math.ceil(high * n / size)
    return Interval(
        ordered[first - 1] if first >= 1 else -math.inf,
        ordered[last - 1] if last <= n else math.inf,
    )


def pooled(groups: Groups) -> Sequence[float]:
    """The values of all groups in ascending order."""
    return sorted(value for group in groups for value in group)


def effective_values(
    groups: Groups,
    share: float,
    confidence: float = CONFIDENCE,
    ordered: Sequence[float] | None = None,
) -> int:
    """How many independent values say as much as these of the percentile `share`."""
    ordered = pooled(groups) if ordered is None else ordered
    return _size_at(groups, ordered, share, confidence) if ordered else 0


def _size_at(groups: Groups, ordered: Sequence[float], share: float, confidence: float) -> int:
    at = ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
    flags = [(sum(value > at for value in group), len(group)) for group in groups if group]
    return effective_size(flags, confidence)


def proportion(flags: Sequence[tuple[int, int]], confidence: float = CONFIDENCE) -> Interval:
    """Interval of a share, from (hits, trials) a group in order of time."""
    trials = sum(m for _, m in flags)
    if not trials:
        return Interval(0.0, 1.0)
    size = effective_size(flags, confidence)
    return exact(sum(a for a, _ in flags) / trials * size, size, confidence)


def exact(hits: float, trials: int, confidence: float = CONFIDENCE) -> Interval:
    """Clopper and Pearson's interval of a share. A broken number of hits is widened."""
    tail = (1 - confidence) / 2
    below, above = math.floor(hits + 1e-9), math.ceil(hits - 1e-9)
    low = _share_at(tail, below, trials) if below else 0.0
    # The upper bound is the lower one of the misses.
    misses = trials - above
    high = 1 - _share_at(tail, misses, trials) if misses else 1.0
    return Interval(low, high)


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """Interval of the mean of a series in time, by batch means."""
    batches = [(math.fsum(values[i] for i in part), len(part)) for part in _batches(len(values))]
    if len(batches) < 2:
        return Interval(-math.inf, math.inf)
    centre = math.fsum(total for total, _ in batches) / len(values)
    half = t_quantile(1 - (1 - confidence) / 2, len(batches) - 1) * math.sqrt(
        _ratio_variance(batches)
    )
    return Interval(centre - half, centre + half)


def ratio(before: float, old: Interval, after: float, new: Interval) -> Interval:
    """Interval of `after ÷ before`, both positive, from the intervals of each: MOVER on logs."""

    def log(value: float) -> float:
        return math.log(value) if value > 0 else -math.inf

    a, b = math.log(before), math.log(after)
    down = math.hypot(b - log(new.low), log(old.high) - a)
    up = math.hypot(log(new.high) - b, a - log(old.low))
    return Interval(math.exp(b - a - down), math.exp(b - a + up) if up < 700 else math.inf)


def difference(before: float, old: Interval, after: float, new: Interval) -> Interval:
    """Interval of `after − before` from the intervals of each: MOVER."""
    centre = after - before
    return Interval(
        centre - math.hypot(after - new.low, old.high - before),
        centre + math.hypot(new.high - after, before - old.low),
    )


def effective_size(flags: Sequence[tuple[int, int]], confidence: float = CONFIDENCE) -> int:
    """How many independent trials say as much as these (hits, trials) a group: no more than all."""
    trials = sum(m for _, m in flags)
    hits = sum(a for a, _ in flags)
    share = hits / trials
    lone = all(m == 1 for _, m in flags)
    batches = [
        (float(sum(flags[i][0] for i in part)), sum(flags[i][1] for i in part))
        for part in _batches(len(flags))
    ]
    # Too few to see how they hang together, or all alike.
    if len(batches) < 2 or (lone and len(flags) < _FEW) or not 0 < share < 1:
        return trials if lone else len(flags)
    variance = _ratio_variance(batches)
    plain = share * (1 - share) / trials
    size = trials / max(1.0, variance / plain)
    upper = 1 - (1 - confidence) / 2
    tight = (t_quantile(upper, trials - 1) / t_quantile(upper, len(batches) - 1)) ** 2
    return max(1, min(trials, round(size * tight)))


def needed(share: float, confidence: float = CONFIDENCE) -> int:
    """Values that a percentile's upper bound takes, were all independent."""
    return math.ceil(math.log((1 - confidence) / 2) / math.log(share))


def _batches(count: int) -> list[range]:
    """Runs of neighbours, as equal as can be."""
    size = count if count < _FEW else min(MAX_BATCHES, count // 10 + 10)
    return [range(i * count // size, (i + 1) * count // size) for i in range(size)]


def _ratio_variance(batches: Sequence[tuple[float, int]]) -> float:
    """Variance of Σa ÷ Σm over batches of (a, m)."""
    k = len(batches)
    total = sum(m for _, m in batches)
    centre = math.fsum(a for a, _ in batches) / total
    squares = math.fsum((a - centre * m) ** 2 for a, m in batches)
    return squares * k / ((k - 1) * total * total)


def binomial_quantile(n: int, p: float, level: float) -> int:
    """The smallest k with P(X ≤ k) ≥ level, of n trials with chance p."""
    from scipy import special

    k: int = math.ceil(special.bdtrik(level, n, p))
    # The inverse is not exact to rounding: the whole number below may do.
    return k - 1 if k > 0 and special.bdtr(float(k - 1), n, p) >= level else k


def t_quantile(level: float, degrees: int) -> float:
    """Of Student's t."""
    from scipy import special

    return float(special.stdtrit(degrees, level))


def _share_at(level: float, hits: int, trials: int) -> float:
    """The chance at which `hits` or more of `trials` come up with probability `level`."""
    from scipy import special

    return float(special.betaincinv(hits, trials - hits + 1, level))
