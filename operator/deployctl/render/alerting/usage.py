"""Who is refused at the door, by key."""

from collections.abc import Iterator
from typing import Any

from deployctl.promql import Expression, LabelMatcher
from deployctl.promql.write import above, both, over, rate, ratio, total
from deployctl.render.alerting.scope import MINUTE, NUMBER, SHARE, Scope

_REFUSALS, _REQUESTS = "deployctl_door_refusals_total", "deployctl_door_requests_total"
_WINDOW = 15 * MINUTE


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """Alerts on refusals; without a door there is no series, and none fires."""
    yield scope.alert(
        "VllmKeyOverLimit",
        _limited(scope),
        wait=5 * MINUTE,
        severity="warning",
        summary="the key {{ $labels.key }} meets its limit with " + SHARE + " of its requests",
    )
    strangers = scope.series.beside(
        _REFUSALS, LabelMatcher("reason", "=~", "no_key|no_operator_token")
    )
    yield scope.alert(
        "VllmStrangersAtTheDoor",
        above(total(over("increase", strangers, scope.window(_WINDOW))), 100),
        wait=0,
        severity="warning",
        summary=f"{NUMBER} requests without a valid key within {scope.window(_WINDOW)}",
    )


def _limited(scope: Scope) -> Expression:
    span = scope.window(_WINDOW)
    refused = scope.series.beside(_REFUSALS, LabelMatcher("reason", "=", "limit"))
    asked = scope.series.beside(_REQUESTS)
    share = ratio(total(rate(refused, span), "key"), total(rate(asked, span), "key"))
    return both(above(share, 0.5), above(total(over("increase", refused, span), "key"), 20))
