"""Whether there is room: the queue, the KV cache, and what saves work."""

from collections.abc import Iterator
from typing import Any

from deployctl.promql import Arithmetic, Expression
from deployctl.promql.write import (
    above,
    both,
    compare,
    greatest,
    over,
    past,
    rate,
    ratio,
    times,
    total,
)
from deployctl.render.alerting.scope import (
    DAY,
    HOUR,
    MINUTE,
    NUMBER,
    REPLICA,
    SHARE,
    WHICH,
    Scope,
)

FULL = 0.9  # share of the KV cache, as a mean: whoever is preempted leaves room for a while
_LONG = 15 * MINUTE
_HALF_HOUR = 30 * MINUTE


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """What is recorded of the queue and the caches, and alerts on them."""
    series = scope.series
    long, half_hour, day = (scope.window(seconds) for seconds in (_LONG, _HALF_HOUR, DAY))
    yield scope.record("waiting:sum", total(series.gauge("vllm:num_requests_waiting")))
    yield scope.alert(
        "VllmQueueGrowing",
        _queued(scope, long),
        wait=5 * MINUTE,
        severity="warning",
        summary=f"a queue that never empties, {NUMBER} requests at its shortest: it has grown for "
        f"{long}, or been there for {scope.window(HOUR)}",
    )
    usage = over("avg_over_time", series.gauge("vllm:kv_cache_usage_perc"), long)
    preempted = total(over("increase", series.counter("vllm:num_preemptions"), long), *REPLICA)
    yield scope.alert(
        "VllmKvCacheFull",
        both(above(greatest(usage, *REPLICA), FULL), above(preempted, 0)),
        wait=5 * MINUTE,
        severity="warning",
        summary=f"{WHICH} uses {SHARE} of its KV cache, and preempts requests",
    )
    # No ratio: in the worst of storms no request ends.
    ended = total(over("increase", series.counter("vllm:request_success"), long), *REPLICA)
    yield scope.alert(
        "VllmPreemptionStorm",
        both(Arithmetic(">", preempted, times(0.2, ended)), above(preempted, 10)),
        wait=5 * MINUTE,
        severity="critical",
        summary=f"{NUMBER} preemptions at {WHICH} within {long}, one for five requests or more: "
        "their work is done twice",
    )
    yield scope.record("prefix_hits:ratio_long", _hits(scope, day))
    yield scope.alert(
        "VllmPrefixCacheCollapse",
        _collapsed(scope, half_hour),
        wait=10 * MINUTE,
        severity="warning",
        summary=f"{SHARE} of prompt tokens are found in the prefix cache, "
        "less than a third of the day's share",
    )
    if scope.speculates:
        yield _speculation(scope, half_hour)


def _queued(scope: Scope, long: str) -> Expression:
    """A queue that never was empty while it grew by a fifth, or for an hour at whatever length."""
    waiting, hour = scope.recorded("waiting:sum"), scope.window(HOUR)
    grown = times(scope.seconds(_LONG), over("deriv", waiting, long))
    grows = Arithmetic(">", grown, times(0.2, over("avg_over_time", waiting, long)))
    lasts, shortest = (
        both(
            above(over("min_over_time", waiting, window), 0),
            compare(past(waiting, window), ">=", 0),
        )
        for window in (hour, long)
    )
    return Arithmetic("or", both(shortest, grows), lasts)


def _speculation(scope: Scope, span: str) -> dict[str, Any]:
    accepted, drafted = (
        total(rate(scope.series.counter(f"vllm:spec_decode_num_{name}"), span))
        for name in ("accepted_tokens", "draft_tokens")
    )
    return scope.alert(
        "VllmSpeculationCollapse",
        both(compare(ratio(accepted, drafted), "<", 0.2), above(drafted, 1)),
        wait=10 * MINUTE,
        severity="warning",
        summary=f"{SHARE} of speculated tokens are accepted: they cost more than they save",
    )


def _hits(scope: Scope, span: str) -> Expression:
    hits, asked = (
        total(rate(scope.series.counter(f"vllm:prefix_cache_{name}"), span))
        for name in ("hits", "queries")
    )
    return ratio(hits, asked)


def _collapsed(scope: Scope, span: str) -> Expression:
    """Less than a third of what it was over the day, where that was much and there are prompts."""
    before = scope.recorded("prefix_hits:ratio_long")
    third = times(1 / 3, greatest(above(before, 0.2)))
    less = Arithmetic("<", _hits(scope, span), third)
    asked = total(rate(scope.series.counter("vllm:prefix_cache_queries"), span))
    return both(less, above(asked, 100))
