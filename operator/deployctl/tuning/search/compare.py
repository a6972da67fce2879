"""Compare: estimates over several starts, drift, and a contender against the baseline. Pure.

A start is one draw of what differs between starts; requests within it say nothing of that.
So the unit of evidence is the start: intervals come from the scatter between starts, and from
what is usual where there were too few to see it.
"""

import itertools
import math
from collections.abc import Sequence
from functools import cached_property
from statistics import fmean
from typing import NamedTuple

from deployctl.load.intervals import t_quantile
from deployctl.tuning.search.ledger import BASELINE, Ledger, Run
from deployctl.tuning.search.reading import Reading, believe, read
from deployctl.tuning.trial import Configuration

WORTH = 3  # what starts usually differ by counts as if it had been seen in three repeats
LEAST = math.log(1.005)  # a winner is better by at least so much
_FEW = 3  # rounds; fewer have to be the more convincing
_DRIFT = 0.04  # less is not worth a word
_SIGMAS = 2.5  # and one more where the baseline was repeated only once


class Estimate(NamedTuple):
    """Of a configuration, as logarithm of a worth."""

    value: float
    error: float
    low: float
    high: float
    starts: int


class Pair(NamedTuple):
    """A contender against the baseline, in the rounds that had both: logarithm of the ratio."""

    value: float
    low: float  # 95%
    high: float
    least: float  # 99% and more: what a winner is judged by, for every round is one more chance
    rounds: int


class Drift(NamedTuple):
    """How the baseline's worth went over time."""

    points: tuple[tuple[float, float], ...]  # (server seconds, logarithm against the first)
    real: bool  # more than noise

    def at(self, seconds: float) -> float:
        """Logarithm of the speed at a time against the beginning; 0 where there is no drift."""
        if not self.real:
            return 0.0
        points = self.points
        if seconds <= points[0][0]:
            return points[0][1]
        for (t0, v0), (t1, v1) in itertools.pairwise(points):
            if seconds <= t1:
                return v0 + (v1 - v0) * (seconds - t0) / max(t1 - t0, 1e-9)
        return points[-1][1]


class Readings:
    """Every start's reading, and what follows from them together."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.belief = believe(ledger.problem, ledger.runs)
        self.all: list[tuple[Run, Reading]] = [
            (run, reading)
            for run in ledger.runs
            if (reading := read(ledger.problem, run, self.belief)) is not None
        ]
        self.drift = self._drift()

    def of(self, configuration: Configuration) -> list[tuple[Run, Reading]]:
        """Of one configuration, in order."""
        return [(run, reading) for run, reading in self.all if run.configuration == configuration]

    def values(self, configuration: Configuration) -> list[tuple[float, float]]:
        """Values and their sampling errors; drift taken off: as it was at the beginning."""
        return [
            (reading.value - self.drift.at(run.at_s), reading.error)
            for run, reading in self.of(configuration)
            if reading.value is not None
        ]

    @cached_property
    def between(self) -> tuple[float, int]:
        """Variance between starts beside the sampling error, and its degrees of freedom."""
        total, degrees = WORTH * self.belief.usual**2, WORTH
        for configuration in dict.fromkeys(run.configuration for run, _ in self.all):
            values = self.values(configuration)
            if len(values) > 1:
                centre = fmean(v for v, _ in values)
                sampling = sum(e * e for _, e in values) * (len(values) - 1) / len(values)
                total += max(0.0, sum((v - centre) ** 2 for v, _ in values) - sampling)
                degrees += len(values) - 1
        return total / degrees, degrees

    def estimate(self, configuration: Configuration) -> Estimate | None:
        """Over its starts; None where no load held in any."""
        values = self.values(configuration)
        if not values:
            return None
        variance, degrees = self.between
        centre, error = _weighted([(v, variance + e * e) for v, e in values])
        half = t_quantile(0.975, degrees) * error
        return Estimate(centre, error, centre - half, centre + half, len(values))

    def feasible(self) -> dict[Configuration, Estimate]:
        """Everything that held at some load and never failed."""
        tried = dict.fromkeys(run.configuration for run, _ in self.all)
        return {
            c: e
            for c in tried
            if self.ledger.failure(c) is None and (e := self.estimate(c)) is not None
        }

    def pair(self, configuration: Configuration) -> Pair | None:
        """Against the baseline, from the rounds that had these two alone: what was chosen for its
        luck has to show itself again. Before there are such, from all rounds."""
        rounds: dict[int, dict[Configuration, Reading]] = {}
        for run, reading in self.all:
            if run.round and reading.value is not None:
                rounds.setdefault(run.round, {})[run.configuration] = reading
        variance, known = self.between
        alone = {
            number: both for number, both in rounds.items() if len(self.ledger.field(number)) == 2
        }
        alone = {n: both for n, both in alone.items() if configuration in both}
        differences = [
            (mine.value - base.value, 2 * variance + mine.error**2 + base.error**2)
            for both in (alone or rounds).values()
            if (mine := both.get(configuration)) and (base := both.get(BASELINE))
            if mine.value is not None and base.value is not None
        ]
        if not differences:
            return None
        centre, error = _weighted(differences)
        # Rounds that scatter more, or less, than believed widen it, or narrow it.
        scatter = known + sum((d - centre) ** 2 / v for d, v in differences)
        degrees = known + len(differences) - 1
        error *= math.sqrt(scatter / degrees)
        strict = 0.998 if len(differences) < _FEW else 0.995
        half, wide = (t_quantile(level, degrees) * error for level in (0.975, strict))
        return Pair(centre, centre - half, centre + half, centre - wide, len(differences))

    def _drift(self) -> Drift:
        points = [
            (run.at_s, reading.value, reading.error)
            for run, reading in self.of(BASELINE)
            if reading.value is not None
        ]
        if len(points) < 2:
            return Drift((), False)
        # A straight line through them; what it leaves over is noise, beside what is usual.
        usual = self.belief.usual
        weights = [1 / (usual**2 + error**2) for _, _, error in points]
        total = sum(weights)
        at = sum(w * t for w, (t, _, _) in zip(weights, points, strict=True)) / total
        centre = sum(w * v for w, (_, v, _) in zip(weights, points, strict=True)) / total
        spread = sum(w * (t - at) ** 2 for w, (t, _, _) in zip(weights, points, strict=True))
        slope = sum(
            w * (t - at) * (v - centre) for w, (t, v, _) in zip(weights, points, strict=True)
        ) / max(spread, 1e-12)
        rest = WORTH + sum(
            w * (v - centre - slope * (t - at)) ** 2
            for w, (t, v, _) in zip(weights, points, strict=True)
        )
        span = points[-1][0] - points[0][0]
        error = span * math.sqrt(rest / (WORTH + len(points) - 2) / max(spread, 1e-12))
        change = slope * span
        sigmas = _SIGMAS + (len(points) < _FEW)
        real = abs(change) > max(_DRIFT, sigmas * error)
        line = tuple((t, slope * (t - points[0][0])) for t, _, _ in points)
        return Drift(line, real)


def wins(pair: Pair) -> bool:
    """Whether the contender is better for certain, and by enough to be worth a change."""
    return pair.least > LEAST


def _weighted(values: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Mean of (value, variance) and its standard error."""
    weights = [1 / variance for _, variance in values]
    mean = sum(v * w for (v, _), w in zip(values, weights, strict=True)) / sum(weights)
    return mean, math.sqrt(1 / sum(weights))
