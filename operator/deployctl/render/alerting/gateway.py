"""Whether the gateway of a host is there, and requests get through it: by the ports that it has
(`server`). What clients are told as 503, since no engine took it, Caddy counts as 502."""

from collections.abc import Iterator
from functools import partial
from typing import Any

from deployctl.promql import Arithmetic, Expression, FunctionCall, LabelMatcher, Literal
from deployctl.promql.write import above, both, compare, over, ratio, total
from deployctl.render.alerting.scope import MINUTE, NUMBER, SHARE, Scope

JOB = "deployctl_gateway"  # the job that scrapes gateways; no service's
PORTS = LabelMatcher("server", "=~", "port-.*")  # where clients are served: not the monitor
ASKED = LabelMatcher("method", "=", "POST")  # what takes long, and nobody polls
_FAILED = LabelMatcher("code", "=~", "502|503")  # 504: the client's body stopped coming in
_ANSWERED = LabelMatcher("code", "!=", "499")  # of who went away Caddy counts an answer, too
BEHIND = "gateway"  # a label of services: INSTANCE/SERVER of what they are behind
_WHERE = "{{ $labels.server }} of the gateway at {{ $labels.instance }}"


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """All of them."""
    series, span, of = scope.series, scope.window(5 * MINUTE), LabelMatcher("job", "=", JOB)
    down = compare(series.beside("up", of), "==", 0)
    said = "the gateway at {{ $labels.instance }} does not answer: nobody is served by it"
    yield scope.alert("GatewayDown", down, wait=2 * MINUTE, severity="critical", summary=said)

    def past(function: str, name: str, *more: LabelMatcher) -> Expression:
        found = series.around(f"caddy_http_{name}", of, PORTS, *more)
        return total(over(function, found, span), "instance", "server")

    unanswered = partial(scope.alert, "GatewayUnanswered", wait=5 * MINUTE)
    ended = "request_duration_seconds_count"
    share = ratio(past("rate", ended, ASKED, _FAILED), past("rate", ended, ASKED))
    failing = both(above(share, 0.1), above(past("increase", ended, ASKED, _FAILED), 2))
    said = f"{SHARE} of requests at {_WHERE} fail: no engine takes them, or it ends with them"
    yield unanswered(failing, severity="critical", summary=said)
    # Some have been there all the time, and no answer began; nor have the doors behind it one that
    # takes long.
    proxied = LabelMatcher("handler", "=", "subroute")
    answers = "response_duration_seconds_count"
    stuck = above(past("min_over_time", "requests_in_flight", proxied), 0)
    begun = above(past("increase", answers, proxied, ASKED, _ANSWERED), 0)
    under_way = series.beside("deployctl_door_requests_under_way")
    at_doors = above(total(over("min_over_time", under_way, span), BEHIND), 0)
    silent = _named(Arithmetic("unless", stuck, begun))
    waiting = Arithmetic("unless", silent, at_doors, (), f"on ({BEHIND})")
    said = f"{NUMBER} or more requests wait at {_WHERE}, and none was answered for {span}"
    yield unanswered(waiting, severity="warning", summary=said)


def _named(waits: Expression) -> Expression:
    """By the label that services behind it have."""
    words = (BEHIND, "/", "instance", "server")
    return FunctionCall("label_join", (waits, *(Literal(each, quoted=True) for each in words)))
