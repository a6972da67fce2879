"""Bench and Strategy: the two sides of a study, which know nothing of each other."""

from dataclasses import dataclass
from typing import Literal, Protocol

from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Invalid,
    Load,
    Observation,
    Result,
    Started,
    Step,
)

Verdict = Literal["winner", "no_clear_winner", "baseline_best", "nothing_feasible", "interrupted"]


class Bench(Protocol):
    """Where configurations are tried: a real engine, or a surface that replays one."""

    def start(self, configuration: Configuration) -> Started | Failure:
        """Ends what runs, and has this configuration running."""

    def measure(self, load: Load, seconds: float, seed: int) -> Observation | Failure | Invalid:
        """Loads what runs. After a Failure nothing runs."""

    def stop(self) -> None:
        """Ends what runs; stopping nothing is fine."""


@dataclass(frozen=True)
class Standing:
    """What a configuration came to, over all its measurements."""

    configuration: Configuration
    objective: float | None  # in the goal's unit; None where nothing is known
    low: float | None  # 95% interval, between-run noise included
    high: float | None
    slo_met: bool | None  # None: no SLO, or undecided
    load: Load | None  # at which `objective` was had


@dataclass(frozen=True)
class Answer:
    """How a search ends. `improvement` is winner ÷ baseline in the goal's good direction."""

    verdict: Verdict
    why: str
    baseline: Standing | None
    winner: Standing | None  # None: the baseline stays
    improvement: tuple[float, float, float] | None  # ratio, low, high
    standings: tuple[Standing, ...] = ()  # every configuration that was measured, best first
    failures: tuple[tuple[Configuration, Failure], ...] = ()
    notes: tuple[str, ...] = ()  # drift, noise, what could not be tried


class Strategy(Protocol):
    """A search. Its state follows from its seed and from what it was told, nothing else."""

    def ask(self) -> Step | None:
        """The next step, the same until it is told; None when the search is over."""

    def tell(self, step: Step, result: Result) -> None:
        """What came of the step that was asked."""

    def answer(self) -> Answer:
        """The best answer so far; final after `ask` gave None."""

    def remaining(self) -> tuple[int, float]:
        """About how many steps, and how many server seconds, are left."""
