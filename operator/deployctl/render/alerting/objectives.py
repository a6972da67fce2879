"""Objectives of availability and latency: how much of each is missed, and alerts on how fast the
budget burns.

Two windows an alert, as Google's SRE workbook has them (chapter 5, "Alerting on SLOs"): the long
one says that it matters, the short one that it goes on. The fastest is 2% of a month's budget
within an hour, the slowest 10% within three days. None fires below a floor of requests, and of
those that missed: one failure at night is no outage.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

from deployctl.promql import Arithmetic, Expression, LabelMatcher, Literal, Selector
from deployctl.promql.write import above, both, over, rate, ratio, times, total
from deployctl.render.alerting.scope import DAY, HOUR, MINUTE, SHARE, Objectives, Scope, Severity

FLOOR = 30  # requests in the long window, below which nothing is said
FLOOR_TOKENS = 3000
FEW = 1 / 6  # of the floor: so many may miss
_MOST = 0.9  # of the way from what is allowed to all: no objective is missed by more than all
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
        for called, span in {scope.called(w): scope.window(w) for w in windows}.items():
            name = f"{objective.name}_missed:ratio_{called}"
            yield scope.record(name, _missed(scope, wanted, objective.name, span))
        for pair in PAIRS:
            yield _burning(scope, wanted, objective, pair)


def _promised(wanted: Objectives) -> Iterator[_Objective]:
    if wanted.availability is not None:
        yield _Objective(
            "availability", "VllmAvailabilityBurn", 1 - wanted.availability, "requests fail"
        )
    slow = 1 - wanted.share
    for name, limit, said in (
        ("ttft", wanted.ttft_s, "wait for their first token for more than"),
        ("itl", wanted.itl_s, "come after the one before by more than"),
        ("e2e", wanted.e2e_s, "take more than"),
    ):
        if limit is not None:
            what = "tokens" if name == "itl" else "requests"
            yield _Objective(
                name, f"Vllm{name.capitalize()}Burn", slow, f"{what} {said} {limit:g} s"
            )


def _missed(scope: Scope, wanted: Objectives, name: str, span: str) -> Expression:
    """The share that missed an objective in a window: no value without requests."""
    every = total(rate(_counted(scope, wanted, name), span))
    if name == "availability":
        # What did not fail: of failures there is no series before the first one. Nor is there of
        # answers, where all have failed from the start.
        answered = total(rate(scope.series.beside("http_requests_total", _API, _ANSWERED), span))
        within: Expression = Arithmetic("or", answered, times(0, every))
    else:
        within = _soon_enough(scope, *_latency(wanted, name), span)
    return Arithmetic("-", Literal("1"), ratio(within, every))


def _soon_enough(scope: Scope, metric: str, limit: float, span: str) -> Expression:
    """How many a second kept within a limit: between two bounds of the histogram as many of those
    there as the limit is far, which is how histogram_quantile counts, too. Beyond the last bound
    nothing is known, and all there count as too late."""
    below, over_it = scope.series.bounds(metric, limit)

    def until(bound: float) -> Expression:
        le = LabelMatcher("le", "=", repr(bound))
        return total(rate(scope.series.buckets(metric, le), span))

    if over_it is None or below == over_it:
        assert below is not None
        return until(below)
    start = below or 0.0
    part = (limit - start) / (over_it - start)
    counted = times(part, until(over_it))
    return counted if below is None else Arithmetic("+", times(1 - part, until(below)), counted)


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
    budget = objective.budget
    limit = round(min(pair.factor * budget, budget + _MOST * (1 - budget)), 6)
    long, short = (
        scope.recorded(f"{objective.name}_missed:ratio_{scope.called(window)}")
        for window in (pair.long, pair.short)
    )
    window = scope.window(pair.long)
    floor = FLOOR_TOKENS if objective.name == "itl" else FLOOR
    every = total(over("increase", _counted(scope, wanted, objective.name), window))
    missed = Arithmetic("*", long, every, (), "on ()")
    enough = both(above(every, floor), above(missed, FEW * floor))
    return scope.alert(
        objective.alert,
        both(both(above(long, limit), above(short, limit)), enough, "on ()"),
        wait=2 * MINUTE,
        severity=pair.severity,
        labels={"window": scope.called(pair.long)},
        summary=f"{SHARE} of {objective.said}, over {window}: {limit / budget:.3g} times what the "
        f"objective allows ({budget * 100:.3g}% of all), or more",
    )


def _counted(scope: Scope, wanted: Objectives, name: str) -> Selector:
    """All that an objective is about."""
    if name == "availability":
        return scope.series.beside("http_requests_total", _API)
    return scope.series.observed(_latency(wanted, name)[0], "count")
