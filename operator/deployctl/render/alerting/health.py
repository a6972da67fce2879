"""Whether the service is there and gets on: hung, dead, restarting, not scraped, giving up."""

from collections.abc import Iterator
from typing import Any

from deployctl.promql import Arithmetic, Expression, FunctionCall, LabelMatcher
from deployctl.promql.write import above, both, compare, over, rate, ratio, total
from deployctl.render.alerting.scope import HOUR, MINUTE, Scope

_STILL = 5 * MINUTE  # longer than any one step of an engine takes
_ENDED = 15 * MINUTE


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """Alerts of every replica, by `instance`, and of the service."""
    still, hour = scope.span(_STILL), scope.span(HOUR)
    yield scope.alert(
        "VllmEngineHung",
        _hung(scope, still),
        wait=MINUTE,
        severity="critical",
        summary="{{ $value }} requests at {{ $labels.instance }}, and not a token in " + still,
    )
    yield scope.alert(
        "VllmScrapeFailing",
        compare(scope.series.beside("up"), "==", 0),
        wait=max(5 * MINUTE, scope.startup_s),
        severity="critical",
        summary="{{ $labels.instance }} does not answer Prometheus: dead, starting for too long, "
        "or the scrape's token is refused",
    )
    yield scope.alert(
        "VllmAbsent",
        FunctionCall("absent", (scope.series.gauge("vllm:num_requests_running"),)),
        wait=max(10 * MINUTE, scope.startup_s),
        severity="critical",
        summary="no replica is seen: no other alert can fire",
    )
    restarts = over("changes", scope.series.beside("process_start_time_seconds"), hour)
    yield scope.alert(
        "VllmRestarting",
        compare(restarts, ">=", 3),
        wait=0,
        severity="critical",
        summary="{{ $labels.instance }} began anew {{ $value }} times within " + hour,
    )
    yield scope.alert(
        "VllmRequestsFailing",
        _ended(scope, "error"),
        wait=2 * MINUTE,
        severity="critical",
        summary="the engine gave up on {{ $value | humanizePercentage }} of requests",
    )
    yield scope.alert(
        "VllmRequestsAborted",
        _ended(scope, "abort"),
        wait=15 * MINUTE,
        severity="warning",
        summary="{{ $value | humanizePercentage }} of requests are given up by who sent them",
    )


def _hung(scope: Scope, still: str) -> Expression:
    """Requests there have been all the time, and nothing is computed: no prefill and no decode."""
    series = scope.series
    running, waiting = (
        total(over("min_over_time", series.gauge(name), still), "instance")
        for name in ("vllm:num_requests_running", "vllm:num_requests_waiting")
    )
    steps = series.observed("vllm:iteration_tokens_total", "sum")
    moved = total(over("increase", steps, still), "instance")
    return both(above(Arithmetic("+", running, waiting), 0), compare(moved, "==", 0))


def _ended(scope: Scope, reason: str) -> Expression:
    """More than a tenth of the requests that end, and more than five, which one user's test is."""
    span, why = scope.span(_ENDED), LabelMatcher("finished_reason", "=", reason)
    bad = scope.series.counter("vllm:request_success", why)
    every = scope.series.counter("vllm:request_success")
    share = ratio(total(rate(bad, span)), total(rate(every, span)))
    return both(above(share, 0.1), above(total(over("increase", bad, span)), 5))
