"""Keys: who is refused at the door, and which are about to expire."""

from collections.abc import Iterator
from typing import Any

from deployctl.promql import Aggregation, Arithmetic, Expression, FunctionCall, LabelMatcher
from deployctl.promql.write import above, both, compare, greatest, over, past, rate, ratio, total
from deployctl.render.alerting.scope import DAY, MINUTE, NUMBER, REPLICA, SHARE, WHICH, Scope

_REFUSALS, _REQUESTS = "deployctl_door_refusals_total", "deployctl_door_requests_total"
_WINDOW = 15 * MINUTE
_AHEAD = 7 * DAY  # of a key's end, that it is said


def rules(scope: Scope) -> Iterator[dict[str, Any]]:
    """Alerts on refusals and keys; without a door there is no series, and none fires."""
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

    yield from _keys(scope)


def _keys(scope: Scope) -> Iterator[dict[str, Any]]:
    expires = scope.series.beside("deployctl_door_key_expires_timestamp_seconds")
    left = Arithmetic("-", Aggregation("min", (expires,), ("key",)), FunctionCall("time", ()))
    # A key that is younger than the warning was made for days: who made it knows.
    week = scope.span(_AHEAD)
    older = greatest(over("count_over_time", past(expires, week), scope.window(DAY)), "key")
    soon = compare(compare(left, "<", scope.seconds(_AHEAD)), ">", -scope.seconds(DAY))
    yield scope.alert(
        "VllmKeyExpiring",
        both(soon, older),
        wait=15 * MINUTE,
        severity="warning",
        summary="the key {{ $labels.key }} expires in {{ $value | humanizeDuration }}, and lets "
        "nobody in then",
    )
    stale = greatest(scope.series.beside("deployctl_door_keys_stale"), *REPLICA)
    yield scope.alert(
        "VllmKeysUnreadable",
        above(stale, 0),
        wait=5 * MINUTE,
        severity="critical",
        summary=f"the door of {WHICH} cannot read the files of its keys: one that was revoked "
        "since may still be let in",
    )


def _limited(scope: Scope) -> Expression:
    span = scope.window(_WINDOW)
    refused = scope.series.beside(_REFUSALS, LabelMatcher("reason", "=", "limit"))
    asked = scope.series.beside(_REQUESTS)
    share = ratio(total(rate(refused, span), "key"), total(rate(asked, span), "key"))
    return both(above(share, 0.5), above(total(over("increase", refused, span), "key"), 20))
