"""What a surface says of a configuration at a load, and its true score. Pure, no noise."""

import bisect
import math
from collections.abc import Mapping
from functools import cached_property
from statistics import NormalDist

from benchmarks.tuning.surface.file import Point, Surface

from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Goal,
    Load,
    Parameter,
    Prior,
    Problem,
    Value,
    turns_at,
)

NORMAL = NormalDist()
LEVELS = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}
Z95 = NORMAL.inv_cdf(0.95)
SERVED = 0.95  # a rate of which less is served does not hold
_STEPS = 400  # loads tried for the true best, on a logarithmic scale
Figures = dict[str, float | None]


def level(column: str) -> tuple[str, float]:
    """Of `ttft_p95_s` the measure and the share: `("ttft", 0.95)`."""
    family, name, _ = column.split("_")
    return family, LEVELS[name]


def spread(figures: Figures, family: str) -> float:
    """Standard deviation of a latency's logarithm, from its median and 95th percentile."""
    low, high = figures.get(f"{family}_p50_s"), figures.get(f"{family}_p95_s")
    if not low or not high:
        return 0.4
    return max(0.02, math.log(high / low) / Z95) if high > low else 0.02


def good_share(figures: Figures, slo: Mapping[str, float]) -> float:
    """Share of requests that meet every limit, were latencies log-normal and independent.

    A limit on a median asks it of a request as well, as goodput does.
    """
    share = 1.0
    for name, limit in slo.items():
        value = figures.get(name)
        if not value:
            continue
        family, share_there = level(name)
        z = math.log(limit / value) / spread(figures, family) + NORMAL.inv_cdf(share_there)
        share *= NORMAL.cdf(z)
    return share


class Curve:
    """One point's figures as a function of load."""

    def __init__(self, surface: Surface, point: Point) -> None:
        at = surface.columns.index("load")
        self.surface, self.point = surface, point
        self.loads = [row[at] or 0.0 for row in point.rows]
        self._rows: list[Figures] = [
            dict(zip(surface.columns, row, strict=True)) for row in point.rows
        ]
        self.open_loop = surface.problem.first.kind == "rate"

    @cached_property
    def capacity(self) -> float:
        """Requests a second at most."""
        return max(row["requests_per_s"] or 0.0 for row in self._rows)

    def at(self, load: float, window: float = 60.0) -> Figures:
        """Figures at a load; `window` (seconds) only matters where a queue grows without end."""
        if load <= self.loads[0]:
            first = dict(self._rows[0])
            for name in ("requests_per_s", "output_tokens_per_s"):
                first[name] = (first[name] or 0.0) * load / self.loads[0]
            return first
        if load >= self.loads[-1]:
            return self._beyond(load, window)
        i = bisect.bisect_right(self.loads, load) - 1
        below, above = self._rows[i], self._rows[i + 1]
        part = math.log(load / self.loads[i]) / math.log(self.loads[i + 1] / self.loads[i])
        return {name: _between(below[name], above[name], part) for name in below}

    def _beyond(self, load: float, window: float) -> Figures:
        last = dict(self._rows[-1])
        excess = load / self.loads[-1] - 1
        if not self.open_loop:
            # More users than were measured: they wait; each answer takes as much longer.
            for name in (f"{family}_{p}_s" for family in ("ttft", "e2e") for p in LEVELS):
                if last.get(name) is not None:
                    last[name] = (last[name] or 0.0) * (1 + excess)
        elif excess > 0:
            # Whoever comes at time t into the window waits for what came in excess until then.
            for family in ("ttft", "e2e"):
                for percentile, share in LEVELS.items():
                    name = f"{family}_{percentile}_s"
                    if last.get(name) is not None:
                        last[name] = (last[name] or 0.0) + share * window * excess
        if last.get("good_share") is not None and excess > 0:
            last["good_share"] = (last["good_share"] or 0.0) * max(0.0, 1 - 4 * excess)
        return last

    def share(self, figures: Figures) -> float:
        """Share of requests that meet the SLO; 1 without one."""
        given = figures.get("good_share")
        if given is not None:
            return min(1.0, given)
        return good_share(figures, self.surface.problem.slo or {})

    def holds(self, load: float, figures: Figures) -> bool:
        """Whether the SLO truly holds."""
        if self.open_loop and (figures["requests_per_s"] or 0.0) < SERVED * load:
            return False
        slo = self.surface.problem.slo or {}
        return all((figures[name] or 0.0) <= limit for name, limit in slo.items())

    def score(self, goal: Goal) -> float | None:
        """The true objective, in the goal's unit; None where nothing is feasible.

        A configuration that may fail at more than every other start, or under any load, is
        infeasible; loads above which it fails do not count.
        """
        failure = self.point.failure
        if failure is not None and failure.at != "load" and failure.chance > 0.5:
            return None
        if not self.loads:
            return None
        most = math.inf
        if failure is not None and failure.at == "load":
            most = failure.above
        means = self.surface.problem
        if goal == "latency":
            figures = self.at(means.first.value)
            if means.first.value > most or (
                means.slo and not self.holds(means.first.value, figures)
            ):
                return None
            return latency(figures)
        low, high = self.loads[0] / 4, self.loads[-1]
        steps = {low * (high / low) ** (i / _STEPS) for i in range(_STEPS + 1)}
        if not self.open_loop:  # users are whole
            steps = {float(max(1, round(load))) for load in steps}
        best = 0.0
        for load in (*steps, *self.loads):
            figures = self.at(load)
            if load > most or (means.slo and not self.holds(load, figures)):
                continue
            name = "requests_per_s" if goal == "goodput" else "output_tokens_per_s"
            share = self.share(figures) if goal == "goodput" else 1.0
            best = max(best, (figures[name] or 0.0) * share)
        if not best:
            return None
        return cost(best, means.usd_per_hour, means.gpus) if goal == "cost" else best


def latency(figures: Figures) -> float | None:
    """The figure that the goal `latency` is about: the first of these that was measured."""
    for name in ("e2e_p95_s", "ttft_p95_s", "itl_p95_s", "e2e_p50_s", "ttft_p50_s", "itl_p50_s"):
        if figures.get(name) is not None:
            return figures[name]
    return None


def cost(tokens_per_s: float, usd_per_hour: float | None, gpus: int) -> float:
    """US dollars a million output tokens; GPU-seconds where no price is known."""
    seconds = 1e6 / tokens_per_s
    return seconds * usd_per_hour / 3600 if usd_per_hour else seconds * gpus


def _between(below: float | None, above: float | None, part: float) -> float | None:
    if below is None or above is None:
        return None
    if below <= 0 or above <= 0:
        return below + (above - below) * part
    return math.exp(math.log(below) + (math.log(above) - math.log(below)) * part)


class Truth:
    """A surface by configuration: curves, true values, and the problem that a search is given."""

    def __init__(self, surface: Surface) -> None:
        self.surface = surface
        self._curves = {surface.key(p.settings): Curve(surface, p) for p in surface.points}
        self._scores: dict[tuple[Goal, tuple[Value | None, ...]], float | None] = {}

    def curve(self, configuration: Configuration) -> Curve | None:
        """None where the surface has no such point, or a setting is none of its parameters."""
        settings = configuration.settings
        if settings.keys() - {p.name for p in self.surface.problem.parameters}:
            return None
        return self._curves.get(self.surface.key(settings))

    def score(self, configuration: Configuration, goal: Goal | None = None) -> float | None:
        """The true objective; None where nothing is feasible."""
        goal = goal or self.surface.problem.goal
        curve = self.curve(configuration)
        if curve is None:
            return None
        key = (goal, self.surface.key(configuration.settings))
        if key not in self._scores:
            self._scores[key] = curve.score(goal)
        return self._scores[key]

    def best(self, goal: Goal | None = None) -> float | None:
        """The best true objective of any point; None where none is feasible."""
        goal = goal or self.surface.problem.goal
        values = [
            v
            for p in self.surface.points
            if (v := self.score(Configuration.of(p.settings), goal)) is not None
        ]
        if not values:
            return None
        return min(values) if goal in ("latency", "cost") else max(values)

    def refused(self, configuration: Configuration) -> Failure | None:
        """The planner's word: a point that fails `at: plan`, or that the surface lacks."""
        curve = self.curve(configuration)
        if curve is None:
            return Failure("refused_by_plan", "this surface has no such configuration", 0.0)
        failure = curve.point.failure
        if failure is not None and failure.at == "plan":
            return Failure("refused_by_plan", failure.reason, 0.0)
        return None

    def prior(self, configuration: Configuration) -> Prior:
        """What the file says that the plan expected."""
        curve = self.curve(configuration)
        given = curve.point.prior if curve else None
        return Prior(**given.model_dump()) if given else Prior()

    def problem(
        self, seed: int, *, budget_s: float | None = None, goal: Goal | None = None
    ) -> Problem:
        """What a search is told of this surface."""
        means = self.surface.problem
        return Problem(
            goal=goal or means.goal,
            parameters=tuple(Parameter(p.name, p.values, p.current) for p in means.parameters),
            budget_s=budget_s or means.budget_s,
            max_trials=means.max_trials,
            seed=seed,
            first=Load(means.first.kind, means.first.value),
            has_slo=bool(means.slo),
            turns=turns_at(level(name) for name in means.slo or ()),
            gpus=means.gpus,
            usd_per_hour=means.usd_per_hour,
            output_tokens=means.output_tokens,
            refused=self.refused,
            prior=self.prior,
        )
