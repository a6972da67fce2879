"""Whether there is room: the queue, the KV cache, and what saves work."""

from collections.abc import Iterator
from typing import Any

from deployctl.promql import Aggregation, Arithmetic, Expression
from deployctl.promql.write import above, both, compare, over, rate, ratio, times, total
from deployctl.render.alerting.scope import DAY, MINUTE, Scope

_FULL = 0.95  # share of the KV cache: the next long answer preempts another
_LONG = 15 * MINUTE
_HALF_HOUR = 30 * MINUTE


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """What is recorded of the queue and the caches, and alerts on them."""
    series = scope.series
    long, half_hour, day = (scope.span(seconds) for seconds in (_LONG, _HALF_HOUR, DAY))
    yield scope.record("waiting:sum", total(series.gauge("vllm:num_requests_waiting")))
    waiting = scope.recorded("waiting:sum")
    yield scope.alert(
        "VllmQueueGrowing",
        both(
            above(over("min_over_time", waiting, long), 0), above(over("deriv", waiting, long), 0)
        ),
        wait=5 * MINUTE,
        severity="warning",
        summary="a queue for "
        + long
        + " that never emptied, {{ $value }} requests at its shortest,"
        " and it grows",
    )
    usage = Aggregation("max", (series.gauge("vllm:kv_cache_usage_perc"),), ("instance",))
    preempted = series.counter("vllm:num_preemptions")
    lately = total(over("increase", preempted, long), "instance")
    yield scope.alert(
        "VllmKvCacheFull",
        both(above(usage, _FULL), above(lately, 0)),
        wait=10 * MINUTE,
        severity="warning",
        summary="{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its KV cache, "
        "and preempts requests",
    )
    every = total(rate(series.counter("vllm:request_success"), long))
    again = ratio(total(rate(preempted, long)), every)
    yield scope.alert(
        "VllmPreemptionStorm",
        both(above(again, 0.2), above(total(over("increase", preempted, long)), 10)),
        wait=5 * MINUTE,
        severity="critical",
        summary="{{ $value | humanizePercentage }} as many preemptions as requests: their work is "
        "done twice",
    )
    yield scope.record("prefix_hits:ratio_long", _hits(scope, day))
    yield scope.alert(
        "VllmPrefixCacheCollapse",
        _collapsed(scope, half_hour),
        wait=10 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of prompt tokens are found in the prefix cache, "
        "less than a third of the day's share",
    )
    if scope.speculates:
        yield _speculation(scope, half_hour)


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
        summary="{{ $value | humanizePercentage }} of speculated tokens are accepted: they cost "
        "more than they save",
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
    third = times(1 / 3, Aggregation("max", (above(before, 0.2),)))
    less = Arithmetic("<", _hits(scope, span), third)
    asked = total(rate(scope.series.counter("vllm:prefix_cache_queries"), span))
    return both(less, above(asked, 100))
