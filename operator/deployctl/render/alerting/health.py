"""Whether the service is there and gets on: hung, dead, restarting, not scraped, giving up."""

from collections.abc import Iterator
from typing import Any

from deployctl.promql import Arithmetic, Expression, FunctionCall, LabelMatcher, Literal
from deployctl.promql.write import above, both, compare, greatest, over, past, rate, ratio, total
from deployctl.render.alerting.scope import HOUR, MINUTE, NUMBER, REPLICA, SHARE, WHICH, Scope

_STILL = 5 * MINUTE  # longer than any one step of an engine takes
_ENDED = 15 * MINUTE
_REPLICA = f"on ({', '.join(REPLICA)})"


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """Alerts of every replica, and of the service."""
    still, hour = scope.window(_STILL), scope.window(HOUR)
    yield scope.alert(
        "VllmEngineHung",
        _hung(scope, still),
        wait=MINUTE,
        severity="critical",
        summary=f"{NUMBER} requests at {WHICH}, and not a token in {still}",
    )
    yield scope.alert(
        "VllmScrapeFailing",
        compare(scope.series.beside("up"), "==", 0),
        wait=max(5 * MINUTE, scope.startup_s),
        severity="critical",
        summary=f"{WHICH} does not answer Prometheus: dead, starting for too long, "
        "or the scrape's token is refused",
    )
    if scope.replicas:
        yield scope.alert(
            "VllmAbsent",
            FunctionCall("absent", (scope.series.gauge("vllm:num_requests_running"),)),
            wait=max(10 * MINUTE, scope.startup_s),
            severity="critical",
            summary="no replica is seen: no other alert can fire",
        )
    yield scope.alert(
        "VllmRestarting",
        _restarting(scope, hour),
        wait=0,
        severity="critical",
        summary=f"{WHICH} began anew {NUMBER} times within {hour}",
    )
    yield scope.alert(
        "VllmRequestsFailing",
        _ended(scope, "error", *REPLICA),
        wait=2 * MINUTE,
        severity="critical",
        summary=f"the engine of {WHICH} gave up on {SHARE} of requests",
    )
    yield scope.alert(
        "VllmRequestsAborted",
        _ended(scope, "abort"),
        wait=15 * MINUTE,
        severity="warning",
        summary=f"{SHARE} of requests are given up by who sent them",
    )


def _hung(scope: Scope, still: str) -> Expression:
    """Requests there have been all the time, and nothing is computed: no prefill and no decode.

    Of each engine behind a page, as long as it has been there. One that hangs while it has nothing
    to do goes on saying so: of its requests the door alone knows.
    """
    series, engine = scope.series, (*REPLICA, "engine")
    gauges = [series.gauge(f"vllm:num_requests_{name}") for name in ("running", "waiting")]
    running, waiting = (total(over("min_over_time", gauge, still), *engine) for gauge in gauges)
    steps = over("increase", series.observed("vllm:iteration_tokens_total", "sum"), still)
    at_work = both(
        above(Arithmetic("+", running, waiting), 0), compare(total(steps, *engine), "==", 0)
    )
    since = series.beside("deployctl_door_oldest_unanswered_timestamp_seconds")
    age = Arithmetic("-", FunctionCall("time", ()), above(since, 0))
    late = Arithmetic(">", age, Literal(f"{scope.seconds(_STILL):g}"))
    unanswered = total(series.beside("deployctl_door_requests_unanswered"), *REPLICA)
    asked = both(
        both(unanswered, late, _REPLICA), compare(total(steps, *REPLICA), "==", 0), _REPLICA
    )
    was_there = total(past(gauges[0], still), *engine)
    return Arithmetic("or", both(at_work, was_there), asked, (), _REPLICA)


def _restarting(scope: Scope, hour: str) -> Expression:
    """As the process says, where it lives long enough to be scraped; as whoever starts it says: the
    watchdog, or Kubernetes."""
    series = scope.series
    began = over("changes", series.beside("process_start_time_seconds"), hour)
    started = over("increase", series.beside("deployctl_engine_restarts_total"), hour)
    often: Expression = compare(greatest(began, *REPLICA), ">=", 3)
    often = Arithmetic("or", often, compare(greatest(started, *REPLICA), ">=", 3), (), _REPLICA)
    if not scope.namespace:
        return often
    engine = LabelMatcher("container", "=", "engine")
    kubelet = series.around("kube_pod_container_status_restarts_total", engine)
    crashed = compare(greatest(over("increase", kubelet, hour), "pod"), ">=", 3)
    return Arithmetic("or", often, crashed, (), "on (pod)")


def _ended(scope: Scope, reason: str, *by: str) -> Expression:
    """More than a tenth of the requests that end, and more than five, which one user's test is."""
    span, why = scope.window(_ENDED), LabelMatcher("finished_reason", "=", reason)
    bad = scope.series.counter("vllm:request_success", why)
    every = scope.series.counter("vllm:request_success")
    share = ratio(total(rate(bad, span), *by), total(rate(every, span), *by))
    return both(above(share, 0.1), above(total(over("increase", bad, span), *by), 5))
