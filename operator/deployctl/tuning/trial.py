"""The words of a study: what is tried, what came of it, what to do next. Pure data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from deployctl.load.limit import Held

Value = int | float | str | bool
Goal = Literal["goodput", "throughput", "latency", "cost"]
# What is measured for: first and last baseline, short and longer window, search for the limit
# on a survivor, and finalists against the baseline in fresh random order.
Phase = Literal["baseline", "screen", "halving", "limit", "final", "drift"]


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
