"""Ledger: what a search was told, and what the next step would cost. Pure; state, no choices."""

from dataclasses import dataclass, field
from statistics import fmean

from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Invalid,
    Load,
    Measure,
    Observation,
    Phase,
    Problem,
    Result,
    Start,
    Started,
    Step,
)

BASELINE = Configuration()
_STARTUP_S, _OVERHEAD_S = 60.0, 8.0  # until something was seen


class SpentError(Exception):
    """The budget, or the starts that it allows, do not reach for the next step."""


@dataclass
class Run:
    """One start of a configuration, and what was measured until the next."""

    configuration: Configuration
    phase: Phase
    round: int  # of the finals; 0 elsewhere
    at_s: float  # server seconds spent when it began
    startup_s: float | None = None
    seen: list[Observation] = field(default_factory=list)
    failure: Failure | None = None
    failed_at: Load | None = None  # None where it did not start
    set_aside: list[Load] = field(default_factory=list)  # loads with invalid measurements only

    @property
    def fatal(self) -> bool:
        """Whether its failure is one at any load."""
        if self.failure is None:
            return False
        return self.failure.kind != "preemption_storm" or not any(o.held != "no" for o in self.seen)

    def at(self, load: Load) -> list[Observation]:
        """What was seen at a load."""
        return [o for o in self.seen if o.load == load]


class Ledger:
    """Everything that was told, in order."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.elapsed = 0.0  # server seconds
        self.starts = 0
        self.runs: list[Run] = []
        self.reserve_s = 0.0  # of the budget, and starts, kept for what comes later
        self.reserve_starts = 0
        self.ceiling: float | None = None  # loads from here on cannot be measured
        self.patience = 1.0  # windows are so many times as long as first thought
        self.notes: list[str] = []
        self.refused: dict[Configuration, Failure] = {}  # by the planner: never started
        self.skipped: dict[Configuration, str] = {}  # never started for another reason
        self._round = 0
        self._overheads: list[float] = []

    @property
    def run(self) -> Run:
        """The last start."""
        return self.runs[-1]

    def of(self, configuration: Configuration) -> list[Run]:
        """Its runs, in order."""
        return [run for run in self.runs if run.configuration == configuration]

    def failure(self, configuration: Configuration) -> Failure | None:
        """Why it does not do; None where nothing says so.

        Preemptions above a load at which it did well are the end of that load, not of it.
        """
        return next((r.failure for r in self.of(configuration) if r.failure and r.fatal), None)

    def failures(self) -> tuple[tuple[Configuration, Failure], ...]:
        """Every failure that was met, in order; refusals of the planner first met as well."""
        return tuple((r.configuration, r.failure) for r in self.runs if r.failure)

    def field(self, number: int) -> set[Configuration]:
        """Who took part in a round of the finals."""
        return {run.configuration for run in self.runs if run.round == number}

    def begin_round(self, number: int) -> None:
        """The runs that follow belong to this round of the finals; 0 ends them."""
        self._round = number

    def record(self, step: Step, result: Result) -> None:
        """What came of a step."""
        if isinstance(step, Start):
            run = Run(step.configuration, step.phase, self._round, self.elapsed)
            self.runs.append(run)
            self.starts += 1
            if isinstance(result, Started):
                run.startup_s = result.seconds
                self.elapsed += result.seconds
            elif isinstance(result, Failure):
                run.failure = result
                self.elapsed += result.spent_s
            return
        assert isinstance(step, Measure)
        run = self.run
        if isinstance(result, Observation):
            run.seen.append(result)
            self._overheads.append(max(0.0, result.spent_s - step.seconds))
            self.elapsed += result.spent_s
        elif isinstance(result, Failure):
            run.failure, run.failed_at = result, step.load
            self.elapsed += result.spent_s
        elif isinstance(result, Invalid):
            self.elapsed += result.spent_s

    def startup_s(self, configuration: Configuration) -> float:
        """What its start will take: as it took, as others took, or as the plan expects."""
        own = [r.startup_s for r in self.of(configuration) if r.startup_s is not None]
        if own:
            return own[-1]
        others = [r.startup_s for r in self.runs if r.startup_s is not None]
        if others:
            return fmean(others)
        return self.problem.prior(configuration).startup_s or _STARTUP_S

    def overhead_s(self) -> float:
        """What a measurement takes beside its window."""
        return fmean(self._overheads) if self._overheads else _OVERHEAD_S

    def left_s(self) -> float:
        """Of the budget, the reserve aside."""
        return self.problem.budget_s - self.reserve_s - self.elapsed

    def afford_start(self, configuration: Configuration, window_s: float) -> None:
        """Raises SpentError where a start and one measurement are more than what is left."""
        most = self.problem.max_trials
        if most is not None and self.starts >= most - self.reserve_starts:
            raise SpentError
        cost = self.startup_s(configuration) + window_s + self.overhead_s()
        first = not self.runs and self.problem.prior(configuration).startup_s is None
        if self.left_s() < (0 if first else cost):  # nothing is known of the first start
            raise SpentError

    def afford_window(self, seconds: float) -> None:
        """Raises SpentError where a measurement is more than what is left."""
        if self.left_s() < seconds + self.overhead_s():
            raise SpentError
