"""Objectives of availability and latency: how much of each is missed, and alerts on how fast the
budget burns.

Two windows an alert, as Google's SRE workbook has them (chapter 5, "Alerting on SLOs"): the long
one says that it matters, the short one that it goes on. The fastest is 2% of a month's budget
within an hour, the slowest 10% within three days. None fires on less than a floor of requests: one
failure of three at night is no outage.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from deployctl.promql import Arithmetic, Expression, LabelMatcher, Literal, Selector
from deployctl.promql.write import above, both, over, rate, ratio, total
from deployctl.render.alerting.scope import DAY, HOUR, MINUTE, Objectives, Scope, Severity

FLOOR = 30  # requests in the long window, below which nothing is said
FLOOR_TOKENS = 3000
_API = LabelMatcher("handler", "=~", "/v1/.*")
_ANSWERED = LabelMatcher("status", "!=", "5xx")


class _Pair(NamedTuple):
    """A long and a short window, and how many times faster than allowed the budget burns."""

    long: int
    short: int
    factor: float
    severity: Severity


PAIRS = (
    _Pair(HOUR, 5 * MINUTE, 14.4, "critical"),
    _Pair(6 * HOUR, 30 * MINUTE, 6, "critical"),
    _Pair(3 * DAY, 6 * HOUR, 1, "warning"),
)


class _Objective(NamedTuple):
    """What is counted: those that count against it, and all."""

    name: str  # of the recorded series
    alert: str
    budget: float  # share that may be missed
    said: str


def rules(scope: Scope, wanted: Objectives) -> Iterator[dict[str, Any]]:
    """What is recorded of every objective, and its alerts."""
    for objective in _promised(wanted):
        windows = sorted({w for pair in PAIRS for w in (pair.long, pair.short)})
        for window in windows:
            name = f"{objective.name}_missed:ratio_{scope.span(window)}"
            yield scope.record(name, _missed(scope, wanted, objective.name, window))
        for pair in PAIRS:
            yield _burning(scope, wanted, objective, pair)


def _promised(wanted: Objectives) -> Iterator[_Objective]:
    if wanted.availability is not None:
        yield _Objective(
            "availability", "VllmAvailabilityBurn", 1 - wanted.availability, "requests fail"
        )
    slow = 1 - wanted.share
    for name, limit, said in (
        ("ttft", wanted.ttft_s, "have their first token late"),
        ("itl", wanted.itl_s, "have gaps between tokens that are too long"),
        ("e2e", wanted.e2e_s, "take too long"),
    ):
        if limit is not None:
            what = "tokens" if name == "itl" else "requests"
            yield _Objective(name, f"Vllm{name.capitalize()}Burn", slow, f"{what} {said}")


def _missed(scope: Scope, wanted: Objectives, name: str, window: int) -> Expression:
    """The share that missed an objective in a window: no value without requests."""
    span = scope.span(window)
    every = total(rate(_counted(scope, wanted, name), span))
    if name == "availability":
        # What did not fail: of failures there is no series before the first one.
        within = scope.series.beside("http_requests_total", _API, _ANSWERED)
    else:
        metric, limit = _latency(wanted, name)
        bound = scope.series.bound(metric, limit)
        within = scope.series.buckets(metric, LabelMatcher("le", "=", repr(bound)))
    return Arithmetic("-", Literal("1"), ratio(total(rate(within, span)), every))


def _latency(wanted: Objectives, name: str) -> tuple[str, float]:
    metric, limit = {
        "ttft": ("vllm:time_to_first_token_seconds", wanted.ttft_s),
        "itl": ("vllm:inter_token_latency_seconds", wanted.itl_s),
        "e2e": ("vllm:e2e_request_latency_seconds", wanted.e2e_s),
    }[name]
    assert limit is not None
    return metric, limit


def _burning(
    scope: Scope, wanted: Objectives, objective: _Objective, pair: _Pair
) -> dict[str, Any]:
    """Both windows over the limit, and enough requests in the long one to say so."""
    limit = round(pair.factor * objective.budget, 6)
    long, short = (
        above(scope.recorded(f"{objective.name}_missed:ratio_{scope.span(window)}"), limit)
        for window in (pair.long, pair.short)
    )
    window = scope.span(pair.long)
    floor = FLOOR_TOKENS if objective.name == "itl" else FLOOR
    enough = above(total(over("increase", _counted(scope, wanted, objective.name), window)), floor)
    return scope.alert(
        objective.alert,
        both(both(long, short), enough, "on ()"),
        wait=2 * MINUTE,
        severity=pair.severity,
        labels={"window": window},
        summary=f"{{{{ $value | humanizePercentage }}}} of {objective.said}, over {window}: "
        f"{pair.factor:g} times what the objective allows ({objective.budget:.3g} of all)",
    )


def _counted(scope: Scope, wanted: Objectives, name: str) -> Selector:
    """All that an objective is about."""
    if name == "availability":
        return scope.series.beside("http_requests_total", _API)
    return scope.series.observed(_latency(wanted, name)[0], "count")
