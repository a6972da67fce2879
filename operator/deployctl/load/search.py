"""Finds the highest load at which an SLO holds: doubling, then bisection. Pure.

Each measurement answers yes, no or unclear. What is unclear is measured again, longer, up to
a limit; what stays unclear ends the search there: between a load that certainly held and one
that certainly did not, there is then a gap, and the answer says so rather than guess.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

Held = Literal["yes", "no", "unclear", "client"]  # client: the client itself could not


class Found(NamedTuple):
    """Where a search ended. Loads as they were given to `measure`."""

    status: Literal["found", "unresolved", "never_held", "not_reached", "client_limited"]
    holds: float | None
    breaks: float | None


def find(
    measure: Callable[[float, int], Held],
    *,
    start: float,
    highest: float,
    precision: float = 0.1,
    whole: bool = False,
    attempts: int = 3,
) -> Found:
    """Searches from `start` up.

    Args:
        measure: measures a load; its second argument is the attempt, 1 and up: each further
            one should be longer than the one before.
        highest: never measures above it.
        precision: ends where `breaks` is at most this share above `holds`.
        whole: loads are whole numbers (users).
        attempts: how often an unclear load is measured.
    """

    def ask(load: float) -> Held:
        for attempt in range(1, attempts + 1):
            answer = measure(load, attempt)
            if answer != "unclear":
                return answer
        return "unclear"

    holds: float | None = None
    breaks: float | None = None
    load = min(start, highest)
    while breaks is None:
        answer = ask(load)
        if answer == "client":
            return Found("client_limited", holds, None)
        if answer == "unclear":
            return Found("unresolved", holds, None)
        if answer == "yes":
            holds = load
            if load >= highest:
                return Found("not_reached", holds, None)
            load = min(load * 2, highest)
        else:
            breaks = load
    if holds is None:
        return _downwards(ask, breaks, precision, whole)
    return _between(ask, holds, breaks, precision, whole)


def _downwards(ask: Callable[[float], Held], breaks: float, precision: float, whole: bool) -> Found:
    """The first load was too high already: halve until one holds, a thousandth at the least."""
    least = 1.0 if whole else breaks / 1024
    while True:
        load = max(1.0, float(int(breaks / 2))) if whole else breaks / 2
        if load >= breaks or load < least:
            return Found("never_held", None, breaks)
        answer = ask(load)
        if answer == "client":
            return Found("client_limited", None, breaks)
        if answer == "unclear":
            return Found("unresolved", None, breaks)
        if answer == "yes":
            return _between(ask, load, breaks, precision, whole)
        breaks = load


def _between(
    ask: Callable[[float], Held], holds: float, breaks: float, precision: float, whole: bool
) -> Found:
    while breaks > holds * (1 + precision) and not (whole and breaks - holds <= 1):
        middle = (holds + breaks) / 2
        if whole:
            middle = float(int(middle))
        answer = ask(middle)
        if answer == "client":
            return Found("client_limited", holds, breaks)
        if answer == "unclear":
            return Found("unresolved", holds, breaks)
        if answer == "yes":
            holds = middle
        else:
            breaks = middle
    return Found("found", holds, breaks)
