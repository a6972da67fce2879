"""Problem: what a strategy knows before anything is measured. Pure."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from deployctl.tuning.trial import Configuration, Failure, Goal, Load, Value


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
