"""Compare: estimates over several starts, drift, and a contender against the baseline. Pure.

A start is one draw of what differs between starts; requests within it say nothing of that.
So the unit of evidence is the start: intervals come from the scatter between starts, and from
what is usual where there were too few to see it.
"""

import itertools
import math
from collections.abc import Sequence
from statistics import fmean
from typing import NamedTuple

from deployctl.load.intervals import t_quantile
from deployctl.tuning.search.climb import tokens_each
from deployctl.tuning.search.ledger import BASELINE, Ledger, Run
from deployctl.tuning.search.reading import Reading, read, turning
from deployctl.tuning.trial import Configuration

# Before anything is known: runs differ by 4%, as if that had been seen in two repeats.
USUAL, WORTH = 0.04, 2
_DRIFT = 0.04  # less is not worth a word
_SIGMAS = 2.5


class Estimate(NamedTuple):
    """Of a configuration, as logarithm of a worth."""

    value: float
    low: float
    high: float
    starts: int


class Pair(NamedTuple):
    """A contender against the baseline, in the rounds that had both: logarithm of the ratio."""

    value: float
    low: float  # 95%
    high: float
    least: float  # 98%: what a winner is judged by, for it is looked at after every round
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
        turns, tokens = turning(ledger.runs), tokens_each(ledger)
        self.all: list[tuple[Run, Reading]] = [
            (run, reading)
            for run in ledger.runs
            if (reading := read(ledger.problem, run, turns, tokens)) is not None
        ]
        self.drift = self._drift()

    def of(self, configuration: Configuration) -> list[tuple[Run, Reading]]:
        """Of one configuration, in order."""
        return [(run, reading) for run, reading in self.all if run.configuration == configuration]

    def values(self, configuration: Configuration) -> list[float]:
        """Drift taken off: as it would have been at the beginning."""
        return [
            reading.value - self.drift.at(run.at_s)
            for run, reading in self.of(configuration)
            if reading.value is not None
        ]

    def spread(self) -> tuple[float, int]:
        """Variance between starts, and its degrees of freedom, over all that was repeated."""
        total, degrees = WORTH * USUAL**2, WORTH
        for configuration in {run.configuration for run, _ in self.all}:
            values = self.values(configuration)
            if len(values) > 1:
                centre = fmean(values)
                total += sum((v - centre) ** 2 for v in values)
                degrees += len(values) - 1
        return total / degrees, degrees

    def estimate(self, configuration: Configuration) -> Estimate | None:
        """Over its starts; None where no load held in any."""
        values = self.values(configuration)
        if not values:
            return None
        variance, degrees = self.spread()
        half = t_quantile(0.975, degrees) * math.sqrt(variance / len(values))
        return Estimate(fmean(values), fmean(values) - half, fmean(values) + half, len(values))

    def pair(self, configuration: Configuration) -> Pair | None:
        """Against the baseline, from the finals alone: what was chosen for its luck has to
        show itself again."""
        rounds: dict[int, dict[Configuration, float]] = {}
        for run, reading in self.all:
            if run.round and reading.value is not None:
                rounds.setdefault(run.round, {})[run.configuration] = reading.value
        differences = [
            values[configuration] - values[BASELINE]
            for values in rounds.values()
            if configuration in values and BASELINE in values
        ]
        if not differences:
            return None
        centre = fmean(differences)
        squares = sum((d - centre) ** 2 for d in differences) / 2  # of one run
        degrees = WORTH + len(differences) - 1
        usual = max(USUAL**2, self.spread()[0]) if not self.drift.real else USUAL**2
        variance = 2 * (WORTH * usual + squares) / degrees
        error = math.sqrt(variance / len(differences))
        half, wide = (t_quantile(level, degrees) * error for level in (0.975, 0.99))
        return Pair(centre, centre - half, centre + half, centre - wide, len(differences))

    def _drift(self) -> Drift:
        points = [
            (run.at_s, reading.value)
            for run, reading in self.of(BASELINE)
            if reading.value is not None
        ]
        if len(points) < 2:
            return Drift((), False)
        first = points[0][1]
        later = points[1:]
        change = fmean(v for _, v in later) - first
        scatter = _scatter([v for _, v in later])
        error = math.sqrt(scatter * (1 + 1 / len(later)))
        real = abs(change) > max(_DRIFT, _SIGMAS * error)
        return Drift(tuple((t, v - first) for t, v in points), real)


def _scatter(values: Sequence[float]) -> float:
    usual = WORTH * (USUAL / 2) ** 2
    if len(values) < 2:
        return usual / WORTH
    centre = fmean(values)
    return (usual + sum((v - centre) ** 2 for v in values)) / (WORTH + len(values) - 1)
