"""The highest load at which an SLO holds: a search by doubling, then bisection. Pure.

Each measurement answers yes, no or unclear. What is unclear is measured again, longer, up to
a limit; what stays unclear ends the search there: between a load that certainly held and one
that certainly did not, there is then a gap, and the answer says so rather than guess.
"""

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from deployctl.load.gate import tell
from deployctl.load.slo import Goodput
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.sample import Sample
from deployctl_loadtest.series import Limit, Point, Variable

Held = Literal["yes", "no", "unclear", "client"]  # client: the client itself could not
_Found = TypeVar("_Found")
Search = Generator[tuple[float, int], Held, _Found]  # yields a load and the attempt
_PRECISION = 0.1  # a search ends where `breaks` is at most this share above `holds`
_ATTEMPTS = 3  # how often a load is measured that stays unclear
# Where a search ends when a load neither certainly held nor certainly did not.
_ENDS: dict[Held, Literal["client_limited", "unresolved"]] = {
    "client": "client_limited",
    "unclear": "unresolved",
}
# A queue that grows: more under way at the end than at half time, by this share of what came in
# between, and by more than chance makes of it (three standard deviations of a Poisson count).
_GROWTH, _CHANCE = 0.05, 3.0
# Verdicts on the client after which nothing can be said of the service.
_CLIENT = (
    *("client_bottleneck", "client_died", "worker_died", "samples_lost"),
    *("sent_late", "rate_missed", "client_exhausted"),
)


class SearchResult(NamedTuple):
    """Where a search ended. Loads as they were yielded."""

    status: Literal["found", "unresolved", "never_held", "not_reached", "client_limited"]
    holds: float | None
    breaks: float | None


def above(holds: float, factor: float, *, whole: bool) -> float:
    """The load to try next above one that held: so many times as much, one user more at least."""
    return max(holds * factor, holds + 1) if whole else holds * factor


def below(breaks: float, factor: float, *, whole: bool) -> float:
    """The load to try next below one that did not hold: a fraction, one user less at least."""
    return min(breaks / factor, breaks - 1) if whole else breaks / factor


def find(*, start: float, highest: float, whole: bool = False) -> Search[SearchResult]:
    """Searches from `start` up, and never above `highest`.

    It yields the load to measure next and the attempt, 1 and up, and is sent what came of it: each
    further attempt at a load should be longer than the one before. It ends where `breaks` is close
    enough above `holds`. `whole`: loads are whole numbers (users).
    """
    holds: float | None = None
    load = min(start, highest)
    while (held := (yield from _ask(load))) == "yes":
        holds = load
        if load >= highest:
            return SearchResult("not_reached", holds, None)
        load = min(above(load, 2, whole=whole), highest)
    if held != "no":
        return SearchResult(_ENDS[held], holds, None)
    if holds is None:
        return (yield from _downwards(load, whole))
    return (yield from _between(holds, load, whole))


def _ask(load: float) -> Search[Held]:
    """What a load came to; what is unclear is asked again."""
    for attempt in range(1, _ATTEMPTS + 1):
        if (held := (yield load, attempt)) != "unclear":
            return held
    return "unclear"


def _downwards(breaks: float, whole: bool) -> Search[SearchResult]:
    """The first load was too high already: halve until one holds, a thousandth at the least."""
    least = 1.0 if whole else breaks / 1024
    while True:
        load = below(breaks, 2, whole=whole)
        if whole:
            load = max(1.0, float(int(load)))
        if load >= breaks or load < least:
            return SearchResult("never_held", None, breaks)
        held = yield from _ask(load)
        if held == "yes":
            return (yield from _between(load, breaks, whole))
        if held != "no":
            return SearchResult(_ENDS[held], None, breaks)
        breaks = load


def _between(holds: float, breaks: float, whole: bool) -> Search[SearchResult]:
    while breaks > holds * (1 + _PRECISION) and not (whole and breaks - holds <= 1):
        middle = (holds + breaks) / 2
        if whole:
            middle = float(int(middle))
        held = yield from _ask(middle)
        if held == "yes":
            holds = middle
        elif held == "no":
            breaks = middle
        else:
            return SearchResult(_ENDS[held], holds, breaks)
    return SearchResult("found", holds, breaks)


def decide(result: LoadResult, samples: Sequence[Sample]) -> tuple[Held, str]:
    """Whether the SLO held at this load, and why that is the answer.

    `unclear` is what its confidence intervals leave open; `client` is a client that could not
    send what was asked for, or not without distorting what it measured.
    """
    assert result.slo is not None
    for verdict in result.verdicts:
        if verdict.code in _CLIENT and verdict.level != "note":
            return "client", verdict.text
    if result.client.dropped:
        return "no", f"{result.client.dropped} requests were due while too many were in flight"
    missed = [o for o in result.slo.objectives if o.verdict == "missed"]
    if missed:
        return "no", "; ".join(tell(objective) for objective in missed)
    if result.setup.mode != "closed" and (grown := growth(samples, result.window_s)):
        return "no", f"the queue grew by {grown} requests: the rate is more than it can serve"
    if not result.requests.ok:
        return "no", "no request succeeded"
    unclear = [o for o in result.slo.objectives if o.verdict == "unresolved"]
    if unclear:
        return "unclear", "; ".join(tell(objective) for objective in unclear)
    return "yes", "every objective met"


def growth(samples: Sequence[Sample], window: tuple[float, float]) -> int:
    """By how many requests the queue grew in the window's second half, beyond chance; or 0.

    The first half is left out: it may begin with an empty service, which any load fills.
    """
    half, end = (window[0] + window[1]) / 2, window[1]
    middle = last = came = 0
    for sample in samples:
        ended = sample.started_at_s + sample.duration_s
        middle += sample.begun_at_s < half < ended
        last += sample.begun_at_s < end and (sample.outcome == "incomplete" or ended > end)
        came += half <= sample.begun_at_s < end
    grown = last - middle
    return grown if grown > max(_GROWTH * came, _CHANCE * math.sqrt((middle + last) / 2)) else 0


def answer(
    end: SearchResult | None,
    slo: str,
    variable: Variable,
    points: Sequence[Point],
    good: Mapping[float, Goodput],
) -> Limit:
    """The answer in figures and a sentence. `end` is None for a search that was interrupted.

    `good` has the goodput by load.
    """
    status: Literal[
        "found", "unresolved", "never_held", "not_reached", "client_limited", "interrupted"
    ] = "interrupted" if end is None else end.status
    held = [p.value for p in points if p.held == "yes"]
    failed = [p.value for p in points if p.held == "no"]
    holds = end.holds if end else max(held, default=None)
    breaks = end.breaks if end else min(failed, default=None)
    value, low, high = (None, None, None) if holds is None else good.get(holds, (None,) * 3)
    unit = "users" if variable == "users" else "requests/s"
    most = f"The SLO {slo} held at {holds:g} {unit}" if holds is not None else ""
    if value is not None:
        most += f" (goodput {value:.3g}/s, 95% interval {low:.3g} to {high:.3g})"
    last = points[-1] if points else None
    sentences = {
        "found": f"{most} and not at {breaks or 0:g}.",
        "unresolved": f"Unresolved: {most or 'no load clearly met the SLO'}"
        + (f", not at {breaks:g}" if breaks is not None else "")
        + (
            f"; at {last.value:g} the measurements are inconclusive ({last.why}). "
            "Measure longer (--duration)."
            if last
            else "."
        ),
        "never_held": f"The SLO {slo} did not hold at any load tried, down to "
        f"{breaks or 0:g} {unit}.",
        "not_reached": f"{most}, the highest load tried: the limit is beyond it.",
        "client_limited": f"{most or 'No load held'}; beyond, the client was the limit, not the "
        f"service ({last.why if last else ''})",
        "interrupted": f"Interrupted. {most or 'No load had met the SLO'} so far.",
    }
    return Limit(
        slo=slo,
        status=status,
        holds=holds,
        breaks=breaks,
        goodput_per_s=value,
        goodput_low=low,
        goodput_high=high,
        text=sentences[status],
    )
