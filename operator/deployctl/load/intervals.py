"""Confidence intervals of percentiles, shares, means and their ratios. Pure, no random numbers.

Requests of a load test are no independent draws: the gaps of one answer resemble each other,
and so do requests that met the same queue. Every interval here is therefore computed from
batches of neighbours in time, and shrinks the sample to the size that it is worth.

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
from collections.abc import Callable, Sequence
from statistics import NormalDist
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
        ordered = sorted(value for group in groups for value in group)
    n = len(ordered)
    if not n:
        return Interval(-math.inf, math.inf)
    worth = _worth(groups, ordered, share, confidence)
    tail = (1 - confidence) / 2
    low = binomial_quantile(worth, share, tail)
    high = binomial_quantile(worth, share, 1 - tail) + 1
    # Ranks in a sample of `worth` values, 1-based, widened to ranks among all n.
    first = math.floor((low - 1) * n / worth) + 1 if low >= 1 else 0
    last = math.ceil(high * n / worth)
    return Interval(
        ordered[first - 1] if first >= 1 else -math.inf,
        ordered[last - 1] if last <= n else math.inf,
    )


def worth(groups: Groups, share: float, confidence: float = CONFIDENCE) -> int:
    """How many independent values these are worth when it comes to the percentile `share`."""
    ordered = sorted(value for group in groups for value in group)
    return _worth(groups, ordered, share, confidence) if ordered else 0


def _worth(groups: Groups, ordered: Sequence[float], share: float, confidence: float) -> int:
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
    low = 0.0 if below == 0 else _solve(lambda p: 1 - binomial_cdf(trials, p, below - 1), tail)
    # The upper bound is the lower one of the misses.
    misses = trials - above
    high = 1 - _solve(lambda p: 1 - binomial_cdf(trials, p, misses - 1), tail) if misses else 1.0
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
    """How many independent trials these (hits, trials) a group are worth: at most their number."""
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
    worth = trials / max(1.0, variance / plain)
    upper = 1 - (1 - confidence) / 2
    tight = (t_quantile(upper, trials - 1) / t_quantile(upper, len(batches) - 1)) ** 2
    return max(1, min(trials, round(worth * tight)))


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


def binomial_cdf(n: int, p: float, k: int) -> float:
    """P(X ≤ k) of n trials with chance p, exact to rounding."""
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    if p <= 0:
        return 1.0
    if p >= 1:
        return 0.0
    term = math.exp(_log_pmf(n, p, k))
    total, step, i = 0.0, term, k
    odds = (1 - p) / p
    if k <= n * p:  # sum the lower tail downwards
        while i >= 0 and (step > total * 1e-17 or i > n * p):
            total += step
            step *= i / (n - i + 1) * odds
            i -= 1
        return min(1.0, total)
    step, i = math.exp(_log_pmf(n, p, k + 1)), k + 1
    while i <= n and step > total * 1e-17:
        total += step
        step *= (n - i) / (i + 1) / odds
        i += 1
    return max(0.0, 1 - total)


def binomial_quantile(n: int, p: float, level: float) -> int:
    """The smallest k with P(X ≤ k) ≥ level."""
    low, high = 0, n
    while low < high:
        middle = (low + high) // 2
        if binomial_cdf(n, p, middle) >= level:
            high = middle
        else:
            low = middle + 1
    return low


def t_quantile(level: float, degrees: int) -> float:
    """Of Student's t: M. Abramowitz, I. Stegun, Handbook (1964), 26.7.5. Within 1% at 0.975."""
    if degrees == 1:
        return math.tan(math.pi * (level - 0.5))
    if degrees == 2:
        a = 2 * level - 1
        return a * math.sqrt(2 / (1 - a * a))
    z = NormalDist().inv_cdf(level)
    n = float(degrees)
    return (
        z
        + (z**3 + z) / (4 * n)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
    )


def _log_pmf(n: int, p: float, k: int) -> float:
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(p) + (n - k) * math.log1p(-p)


def _solve(rising: Callable[[float], float], target: float) -> float:
    """Where a function that rises on [0, 1] reaches `target`."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if rising(middle) < target:
            low = middle
        else:
            high = middle
    return (low + high) / 2
