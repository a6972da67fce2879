"""Figures: the handful of an engine's numbers that matter, from one scrape or from two. Pure."""

from typing import Any, Literal, NamedTuple

from deployctl.metrics import snapshot as snapshots
from deployctl.metrics.snapshot import Delta, Histogram, Snapshot


class Spread(NamedTuple):
    """Seconds, estimated from buckets as Prometheus does; the mean is exact."""

    observed: int
    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    resolution: float  # the lowest bucket's bound: below it nothing can be told apart


class Figures(NamedTuple):
    """None where the engine's version does not tell, or nothing happened."""

    basis: Literal["since_start", "interval"]  # what counts and rates are over
    seconds: float | None
    restarted: bool  # the engine restarted within the interval
    running: int | None
    waiting: int | None
    kv_cache_usage: float | None  # share of 1
    requests: int | None
    prompt_tokens: int | None
    generation_tokens: int | None
    requests_per_s: float | None
    prompt_tokens_per_s: float | None
    generation_tokens_per_s: float | None
    preemptions: int | None
    prefix_cache_hit_rate: float | None  # share of 1
    ttft_s: Spread | None
    itl_s: Spread | None
    e2e_s: Spread | None
    queue_s: Spread | None

    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            name: value._asdict() if isinstance(value, Spread) else value
            for name, value in self._asdict().items()
        }


def since_start(snapshot: Snapshot, now_unix_s: float) -> Figures:
    """Totals and averages since the engine's start. Idle hours are in the averages."""
    began = snapshot.started_unix_s
    seconds = None if began is None else max(0.0, now_unix_s - began)
    return _figures("since_start", snapshot, snapshot, seconds)


def between(earlier: Snapshot, later: Snapshot) -> Figures:
    """What happened between two scrapes, and how things stand at the later one."""
    return over(snapshots.between(earlier, later), later)


def over(delta: Delta, now: Snapshot) -> Figures:
    """What happened in an interval, and how things stand at its end."""
    return _figures("interval", now, delta, delta.seconds, restarted=delta.restarted)


def _figures(
    basis: Literal["since_start", "interval"],
    now: Snapshot,
    counted: Snapshot | Delta,
    seconds: float | None,
    *,
    restarted: bool = False,
) -> Figures:
    """`now` has the gauges, `counted` the counters and histograms, over `seconds`."""

    def rate(amount: float | None) -> float | None:
        return round(amount / seconds, 3) if amount is not None and seconds else None

    return Figures(
        basis=basis,
        seconds=None if seconds is None else round(seconds, 3),
        restarted=restarted,
        running=now.running,
        waiting=now.waiting,
        kv_cache_usage=_round(now.kv_cache_usage),
        requests=_whole(counted.requests),
        prompt_tokens=_whole(counted.prompt_tokens),
        generation_tokens=_whole(counted.generation_tokens),
        requests_per_s=rate(counted.requests),
        prompt_tokens_per_s=rate(counted.prompt_tokens),
        generation_tokens_per_s=rate(counted.generation_tokens),
        preemptions=_whole(counted.preemptions),
        prefix_cache_hit_rate=_round(counted.prefix_hit_rate),
        ttft_s=spread(counted.ttft),
        itl_s=spread(counted.itl),
        e2e_s=spread(counted.e2e),
        queue_s=spread(counted.queue),
    )


def spread(histogram: Histogram | None) -> Spread | None:
    """Percentiles of a histogram; None if it is absent or empty."""
    if histogram is None or histogram.count < 1:
        return None
    values = [histogram.mean(), *(histogram.quantile(q) for q in (0.5, 0.9, 0.95, 0.99))]
    mean, p50, p90, p95, p99 = (0.0 if value is None else round(value, 6) for value in values)
    lowest = histogram.buckets[0][0] if histogram.buckets else 0.0
    return Spread(round(histogram.count), mean, p50, p90, p95, p99, lowest)


def _whole(value: float | None) -> int | None:
    return None if value is None else round(value)


def _round(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
