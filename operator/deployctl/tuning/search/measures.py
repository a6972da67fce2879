"""What an observation is worth to a goal. Pure.

Everything is compared as a *worth*, where more is better whatever the goal: requests a second,
tokens a second, 1 ÷ seconds, tokens a dollar. `objective` turns it back into the goal's unit.
"""

from deployctl.tuning.trial import Load, Observation, Problem

SERVED = 0.9  # of an offered rate; what serves less is beyond its capacity
_LATENCIES = ("e2e_p95_s", "ttft_p95_s", "itl_p95_s", "e2e_p50_s", "ttft_p50_s", "itl_p50_s")


def seeks_limit(problem: Problem) -> bool:
    """Whether the goal is had at the highest load at which the SLO holds."""
    return problem.has_slo and problem.goal != "latency"


def requests(observation: Observation) -> int:
    """Requests that say whether the SLO held."""
    return observation.ok + observation.failed


def ended(observation: Observation) -> float:
    """Requests a second that came to an end, in an answer or a failure; 0 where none succeeded."""
    ok = observation.ok
    return observation.requests_per_s * requests(observation) / ok if ok else 0.0


def share(observation: Observation) -> float:
    """Share of requests that met every objective; 0 where none came to an end."""
    everything = ended(observation)
    return min(1.0, observation.goodput_per_s / everything) if everything else 0.0


def rate(observation: Observation) -> float:
    """Requests a second: as offered where they were served, for arrivals are random."""
    load = observation.load
    if load.kind == "rate" and observation.requests_per_s >= SERVED * load.value:
        return load.value
    return observation.requests_per_s


def worth(problem: Problem, observation: Observation) -> float:
    """What was had at this load, whether or not the SLO held. 0: nothing."""
    if problem.goal == "latency":
        seconds = latency(observation)
        return 1 / seconds if seconds else 0.0
    if problem.goal == "goodput":
        return rate(observation) * (share(observation) if problem.has_slo else 1.0)
    return observation.output_tokens_per_s


def latency(observation: Observation) -> float | None:
    """Seconds that the goal `latency` is about: the first of these that was measured."""
    for name in _LATENCIES:
        value: float | None = getattr(observation, name)
        if value:
            return value
    return None


def objective(problem: Problem, value: float) -> float:
    """A worth in the goal's unit: requests/s, tokens/s, seconds, or US dollars a million output
    tokens (GPU-seconds where no price is known)."""
    if problem.goal == "latency":
        return 1 / value
    if problem.goal == "cost":
        seconds = 1e6 / value
        return (
            seconds * problem.usd_per_hour / 3600
            if problem.usd_per_hour
            else (seconds * problem.gpus)
        )
    return value


def at(load: Load, value: float) -> Load:
    """The same kind of load; users are whole, and at least one."""
    if load.kind == "users":
        return Load("users", float(max(1, round(value))))
    return Load("rate", float(f"{value:.4g}"))
