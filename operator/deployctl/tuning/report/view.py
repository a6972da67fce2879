"""What a report of a study shows: from its facts, (Step, Result) in their order. Pure.

Times are in seconds, of the server.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from deployctl.tuning.recommendation import Measured
from deployctl.tuning.search import measures
from deployctl.tuning.trial import (
    Answer,
    Configuration,
    Failure,
    Goal,
    Invalid,
    Measure,
    Observation,
    Problem,
    Result,
    Standing,
    Start,
    Started,
    Step,
    Value,
)

Role = Literal["baseline", "winner", "other"]
Outcome = Literal["ok", "missed", "unclear", "failed", "invalid"]
_OUTCOMES: dict[str, Outcome] = {"yes": "ok", "no": "missed", "unclear": "unclear"}


@dataclass(frozen=True)
class RunView:
    """One measured window of a configuration."""

    phase: str
    value: float | None  # in the goal's unit; None where this run cannot tell
    seen: Observation


@dataclass(frozen=True)
class CandidateView:
    """One configuration, what it came to, and the runs behind that."""

    role: Role
    # With the baseline's own values where they are known, so that they can be compared.
    settings: tuple[tuple[str, Value], ...]
    standing: Standing
    runs: tuple[RunView, ...] = ()

    @property
    def name(self) -> str:
        """`baseline`, or `max_num_seqs=64, …`."""
        return str(self.standing.configuration)

    @property
    def objective(self) -> float | None:
        """In the goal's unit."""
        return self.standing.objective

    @property
    def interval(self) -> tuple[float, float] | None:
        """At 95%, where it is known."""
        low, high = self.standing.low, self.standing.high
        return None if low is None or high is None else (low, high)


@dataclass(frozen=True)
class EventView:
    """One step of the study, on the server's clock."""

    what: Literal["start", "measure"]
    candidate: str
    phase: str
    begun_s: float
    seconds: float
    outcome: Outcome
    text: str  # what was done, and what came of it


@dataclass(frozen=True)
class StudyView:
    """All that a report shows."""

    title: str  # the service, or its model
    goal: Goal
    verdict: str  # winner, no_clear_winner, baseline_best, nothing_feasible, interrupted
    why: str
    improvement: tuple[float, float, float] | None  # winner ÷ baseline, low, high; > 1 is better
    candidates: tuple[CandidateView, ...]  # best first
    events: tuple[EventView, ...]
    failures: tuple[tuple[Configuration, Failure], ...]
    notes: tuple[str, ...]
    parameters: tuple[str, ...]  # that were varied
    slo: str | None
    # (name, text) of what it was measured on: model, engine, hardware, workload, seed, …
    facts: tuple[tuple[str, str], ...]
    budget_s: float
    usd_per_hour: float | None  # of all GPUs together

    @property
    def more_is_better(self) -> bool:
        """Whether a larger objective is a better one."""
        return self.goal in ("goodput", "throughput")

    @property
    def baseline(self) -> CandidateView | None:
        """The service as it was."""
        return next((c for c in self.candidates if c.role == "baseline"), None)

    @property
    def winner(self) -> CandidateView | None:
        """What is recommended, or the best so far of a study that was interrupted."""
        return next((c for c in self.candidates if c.role == "winner"), None)

    @property
    def spent_s(self) -> float:
        """Server time in all."""
        return sum(event.seconds for event in self.events)


def study_view(
    answer: Answer,
    events: Iterable[tuple[Step, Result]],
    measured: Measured,
    problem: Problem,
    *,
    title: str,
) -> StudyView:
    """Everything that a report shows.

    Args:
        answer: how the search ended.
        events: every step that was done, with its result, in order.
        measured: what it was about.
        problem: what the search was told; the baseline's own values are known from it.
        title: the service's name.
    """
    told: list[EventView] = []
    runs: dict[Configuration, list[RunView]] = {}
    failures: list[tuple[Configuration, Failure]] = []
    running, clock = Configuration(), 0.0
    for step, result in events:
        if isinstance(step, Start):
            running = step.configuration
        told.append(_event(step, result, running, clock))
        clock += told[-1].seconds
        if isinstance(step, Measure) and isinstance(result, Observation):
            run = RunView(step.phase, _value(problem, result), result)
            runs.setdefault(running, []).append(run)
        if isinstance(result, Failure):
            failures.append((running, result))
    # Those that the planner refused were never a step.
    known = {(configuration, failure.kind) for configuration, failure in failures}
    failures += [(c, failure) for c, failure in answer.failures if (c, failure.kind) not in known]
    return StudyView(
        title=title,
        goal=measured.objective,
        verdict=answer.verdict,
        why=answer.why,
        improvement=answer.improvement,
        candidates=tuple(_candidates(answer, runs, problem)),
        events=tuple(told),
        failures=tuple(failures),
        notes=answer.notes,
        parameters=_varied(problem, runs, answer),
        slo=measured.slo,
        facts=tuple(_facts(measured)),
        budget_s=problem.budget_s,
        usd_per_hour=problem.usd_per_hour,
    )


def _value(problem: Problem, seen: Observation) -> float | None:
    """One run in the goal's unit, as the search reckons it."""
    value = measures.worth(problem, seen)
    if not value and problem.goal in ("latency", "cost"):
        return None
    return measures.objective(problem, value)


def _event(step: Step, result: Result, running: Configuration, begun: float) -> EventView:
    outcome: Outcome = "ok"
    came = ""
    if isinstance(result, Failure):
        outcome, came = "failed", f"{result.kind}: {result.reason}"
    elif isinstance(result, Invalid):
        outcome, came = "invalid", result.reason
    elif isinstance(result, Observation):
        outcome, came = _OUTCOMES.get(result.held, "unclear"), result.why
    done = "start" if isinstance(step, Start) else f"{step.load} for {step.seconds:g} s"
    return EventView(
        what="start" if isinstance(step, Start) else "measure",
        candidate=str(running),
        phase=step.phase,
        begun_s=begun,
        seconds=result.seconds if isinstance(result, Started) else result.spent_s,
        outcome=outcome,
        text="; ".join(filter(None, [done, step.why, came])),
    )


def _candidates(
    answer: Answer, runs: Mapping[Configuration, list[RunView]], problem: Problem
) -> Iterable[CandidateView]:
    """Best first; those that have runs and no standing come last."""
    standings = {s.configuration: s for s in answer.standings}
    for special in (answer.baseline, answer.winner):
        if special is not None:
            standings[special.configuration] = special
    for configuration in runs:
        standings.setdefault(configuration, Standing(configuration, None, None, None, None, None))
    own = {p.name: p.current for p in problem.parameters if p.current is not None}
    winner = answer.winner.configuration if answer.winner else None
    for configuration, standing in standings.items():
        role: Role = "winner" if configuration == winner else "other"
        if not configuration.values:
            role = "baseline"
        settings = tuple(sorted({**own, **configuration.settings}.items()))
        yield CandidateView(role, settings, standing, tuple(runs.get(configuration, ())))


def _varied(
    problem: Problem, runs: Mapping[Configuration, object], answer: Answer
) -> tuple[str, ...]:
    """Names of what was tried with more than one value, in the space's order."""
    tried = [*runs, *(s.configuration for s in answer.standings)]
    names = dict.fromkeys(
        [p.name for p in problem.parameters] + [name for c in tried for name, _ in c.values]
    )
    return tuple(n for n in names if len({c.settings.get(n) for c in tried}) > 1)


def _facts(measured: Measured) -> Iterable[tuple[str, str]]:
    yield "Model", measured.model + (f" at {measured.revision}" if measured.revision else "")
    yield "Engine", f"vLLM {measured.engine_version}, target {measured.target}"
    yield "Hardware", str(measured.hardware)
    yield "Workload", f"{measured.workload}, seed {measured.seed}"
    if measured.slo:
        yield "SLO", measured.slo
    yield "Study", f"{measured.study}, {measured.date}"
    yield "deployctl", measured.deployctl
