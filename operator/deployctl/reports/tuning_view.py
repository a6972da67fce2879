"""What a report of a tuning study shows, as plain data. Times in seconds, of the server."""

from dataclasses import dataclass
from typing import Literal

Scalar = bool | int | float | str
Held = Literal["yes", "no", "unclear"]
MORE_IS_BETTER = {"goodput": True, "throughput": True, "latency": False, "cost": False}


@dataclass(frozen=True)
class RunView:
    """One measured window of a configuration."""

    phase: str
    load: str  # users=8, rate=2.5
    window_s: float
    value: float | None  # in the goal's unit; None where this run cannot tell
    held: Held
    why: str  # of `held`
    requests_per_s: float
    output_tokens_per_s: float
    goodput_per_s: float
    ok: int
    failed: int
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    itl_p50_s: float | None = None
    itl_p95_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p95_s: float | None = None
    preemptions: int | None = None


@dataclass(frozen=True)
class CandidateView:
    """One configuration, what it came to, and the runs behind that."""

    name: str  # "baseline", or "max_num_seqs=64, …"
    role: Literal["baseline", "winner", "other"]
    # With the baseline's own values where they are known, so that they can be compared.
    settings: tuple[tuple[str, Scalar], ...]
    objective: float | None  # in the goal's unit
    low: float | None  # 95% interval
    high: float | None
    slo_met: bool | None
    load: str | None  # at which it was had
    runs: tuple[RunView, ...] = ()


@dataclass(frozen=True)
class EventView:
    """One step of the study, on the server's clock."""

    what: Literal["start", "measure"]
    candidate: str
    phase: str
    begun_s: float
    seconds: float
    outcome: Literal["ok", "missed", "unclear", "failed", "invalid"]
    text: str  # what was done, and what came of it


@dataclass(frozen=True)
class FailureView:
    """A configuration that failed, and the engine's reason."""

    candidate: str
    kind: str
    reason: str
    seconds: float  # that it cost


@dataclass(frozen=True)
class StudyView:
    """All that a report shows."""

    title: str  # the service, or its model
    goal: str  # goodput, throughput, latency, cost
    verdict: str  # winner, no_clear_winner, baseline_best, nothing_feasible, interrupted
    why: str
    improvement: tuple[float, float, float] | None  # winner ÷ baseline, low, high; > 1 is better
    candidates: tuple[CandidateView, ...]  # best first
    events: tuple[EventView, ...]
    failures: tuple[FailureView, ...]
    notes: tuple[str, ...]
    parameters: tuple[str, ...]  # that were varied
    slo: str | None
    # (name, text) of what it was measured on: model, engine, hardware, workload, seed, …
    facts: tuple[tuple[str, str], ...]
    budget_s: float | None = None
    usd_per_hour: float | None = None  # of all GPUs together

    @property
    def more_is_better(self) -> bool:
        """Whether a larger objective is a better one."""
        return MORE_IS_BETTER.get(self.goal, True)

    @property
    def baseline(self) -> CandidateView | None:
        """The service as it was."""
        return next((c for c in self.candidates if c.role == "baseline"), None)

    @property
    def winner(self) -> CandidateView | None:
        """What is recommended, or the best so far of a study that was broken off."""
        return next((c for c in self.candidates if c.role == "winner"), None)

    @property
    def spent_s(self) -> float:
        """Server time in all."""
        return sum(event.seconds for event in self.events)
