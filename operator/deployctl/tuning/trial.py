"""The words of a study, and the two sides that speak them.

What is tried, what came of it, what to do next; the problem that a search is given and the answer
that it ends with; and the protocols of a search and of a bench, which know nothing of each other.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from deployctl.load.limit import Held

Value = int | float | str | bool
Goal = Literal["goodput", "throughput", "latency", "cost"]
# What is measured for: first and last baseline, short and longer window, search for the limit
# on a survivor, and finalists against the baseline in fresh random order.
Phase = Literal["baseline", "screen", "halving", "limit", "final", "drift"]
Verdict = Literal["winner", "no_clear_winner", "baseline_best", "nothing_feasible", "interrupted"]


@dataclass(frozen=True)
class Configuration:
    """Engine settings that differ from the service's own, by spec or engine-argument name.

    An empty one is the baseline. Hashable; equal whatever the order they were named in.
    """

    values: tuple[tuple[str, Value], ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, Value]) -> "Configuration":
        """From a mapping."""
        return cls(tuple(sorted(settings.items())))

    @property
    def settings(self) -> dict[str, Value]:
        """As a mapping."""
        return dict(self.values)

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.values) or "baseline"


@dataclass(frozen=True)
class Load:
    """What traffic: so many users who wait (closed loop), or requests a second (open loop)."""

    kind: Literal["users", "rate"]
    value: float

    def __str__(self) -> str:
        return f"{self.kind}={self.value:g}"


@dataclass(frozen=True)
class Started:
    """An engine that answers. `seconds` from its start to its first answer."""

    seconds: float


@dataclass(frozen=True)
class Observation:
    """One measured window at one load. Seconds, tokens and requests a second.

    Percentiles are of requests that succeeded; None where nothing was measured.
    """

    load: Load
    seconds: float  # of the window
    spent_s: float  # server time in all: ramp, warm-up, window, end
    held: Held  # whether the SLO held: yes, no, unclear (never `client`, see Invalid)
    requests_per_s: float
    output_tokens_per_s: float
    goodput_per_s: float  # requests a second that met every objective
    goodput_low: float  # of the 95% interval within this run
    goodput_high: float
    ok: int
    failed: int
    incomplete: int
    ttft_p50_s: float | None = None
    ttft_p95_s: float | None = None
    itl_p50_s: float | None = None
    itl_p95_s: float | None = None
    tpot_p50_s: float | None = None
    e2e_p50_s: float | None = None
    e2e_p95_s: float | None = None
    preemptions: int | None = None
    kv_cache_usage_max: float | None = None  # share of 1
    waiting_max: int | None = None
    why: str = ""  # of `held`
    folder: str | None = None  # the raw results, below the study's


@dataclass(frozen=True)
class Failure:
    """A configuration that failed: a fact, and never a score."""

    kind: Literal[
        "refused_by_plan",  # never started
        "start_refused",  # the engine said no
        "out_of_memory",  # at its start, or under load
        "never_healthy",
        "died_under_load",
        "preemption_storm",
    ]
    reason: str  # the engine's own words where there are any
    spent_s: float


@dataclass(frozen=True)
class Invalid:
    """A measurement that says nothing about the engine: the client was the bottleneck, …"""

    reason: str
    spent_s: float


@dataclass(frozen=True)
class Start:
    """Have this configuration running, from a fresh start if another one runs."""

    configuration: Configuration
    phase: Phase
    why: str


@dataclass(frozen=True)
class Measure:
    """Measure the running configuration at this load for so many seconds (window)."""

    load: Load
    seconds: float
    phase: Phase
    why: str


Step = Start | Measure
Result = Started | Observation | Failure | Invalid


@dataclass(frozen=True)
class Parameter:
    """One setting and the values worth trying, in ascending order where they have one."""

    name: str  # max_num_seqs, tensor_parallel_size, …
    values: tuple[Value, ...]
    # What the service runs with now: the baseline's value, given or the engine's own default.
    # None where that is not known.
    current: Value | None


@dataclass(frozen=True)
class Prior:
    """What the plan expects of a configuration before it runs; figures may be wrong, order less."""

    concurrency: float | None = None  # requests at once that the KV cache holds
    decode_tokens_s: float | None = None  # roofline
    prefill_tokens_s: float | None = None
    startup_s: float | None = None


def _allow(_: Configuration) -> Failure | None:
    return None


def _unknown(_: Configuration) -> Prior:
    return Prior()


TURNS = 0.95  # share of good requests at which an SLO on 95th percentiles turns
EARLIEST, LATEST = 0.5, 0.995


def turns_at(levels: Iterable[tuple[str, float]]) -> float:
    """Share of good requests at which an SLO turns from met to missed, before anything was seen:
    its lowest percentile, of (measure, share) pairs, from 0.5 to 0.995.

    A request has one TTFT, one TPOT and one E2E. Gaps (ITL) are judged pooled, so what share of
    requests they leave good is not known; an SLO of nothing else is taken for one on p95.
    """
    once = [share for measure, share in levels if measure in ("ttft", "tpot", "e2e")]
    return min(LATEST, max(EARLIEST, min(once, default=TURNS)))


@dataclass(frozen=True)
class Problem:
    """The goal, the space and the means.

    `refused` is the planner's word on a configuration (spent_s 0), `prior` its expectation;
    both are pure. Times are server seconds: start-up and load, the client's preparation aside.
    """

    goal: Goal
    parameters: tuple[Parameter, ...]
    budget_s: float
    max_trials: int | None  # engine starts at most
    seed: int
    # `rate` for goodput in an open loop; `users` where the workload is closed. `first` is where
    # a search begins; for latency it is the load that is asked for.
    first: Load
    has_slo: bool
    turns: float = TURNS  # share of good requests at which the SLO is thought to turn
    gpus: int = 1
    usd_per_hour: float | None = None  # of all GPUs together
    output_tokens: float = 64.0  # of a typical request
    refused: Callable[[Configuration], Failure | None] = field(default=_allow, compare=False)
    prior: Callable[[Configuration], Prior] = field(default=_unknown, compare=False)


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
