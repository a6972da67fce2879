"""Climb: what one start can tell of a limit, in as few windows as it takes. Pure."""

import math
from collections.abc import Generator
from dataclasses import dataclass

from deployctl.tuning.search import measures
from deployctl.tuning.search.ledger import Ledger
from deployctl.tuning.search.looks import SHORT, look, window
from deployctl.tuning.search.reading import Bracket, bracket, pooled, potential, turning
from deployctl.tuning.trial import Load, Phase, Result, Step

_MOST_LOOKS = 16
_TOO_SLOW = 25  # a load so low that the longest window has fewer requests cannot be judged
_GREW = 0.03  # more users, and less than so much more served: saturated
_COLLAPSED = 0.3  # share of good requests; so few are not a matter of a few per cent of load


@dataclass(frozen=True)
class Aim:
    """How to look for a limit."""

    guess: float  # the first load
    step: float  # to the next one; grows to `widest`
    precision: float  # ends where the bracket is at most this ratio wide
    floor: float | None = None  # logarithm of a worth: what is certainly not better is left
    widest: float = 2.0
    requests: int = SHORT


def climb(ledger: Ledger, phase: Phase, aim: Aim, why: str) -> Generator[Step, Result, None]:
    """Measures what runs, as its goal wants it."""
    if ledger.problem.goal == "latency":
        yield from look(ledger, ledger.problem.first, phase, aim.requests, why)
    elif ledger.problem.has_slo:
        yield from _limit(ledger, phase, aim, why)
    else:
        yield from _saturate(ledger, phase, aim, why)


def _limit(ledger: Ledger, phase: Phase, aim: Aim, why: str) -> Generator[Step, Result, None]:
    first = ledger.problem.first
    load, step = measures.at(first, _under(ledger, aim.guess)), aim.step
    for number in range(_MOST_LOOKS):
        here = phase if number == 0 or phase not in ("screen", "halving") else "limit"
        found = yield from look(ledger, load, here, aim.requests, why)
        if found is None:
            return
        turns = turning(ledger.runs)
        now = bracket(ledger.run, turns)
        if _done(ledger, aim, now, turns):
            return
        if now.breaks is None and now.holds is not None:
            if _saturated(ledger, now.holds):
                return
            wanted = now.holds.value * step
            higher = measures.at(first, _under(ledger, wanted))
            if first.kind == "users" and higher.value <= now.holds.value:
                higher = Load("users", now.holds.value + 1)
            if higher.value <= now.holds.value * 1.001 or _is_above(ledger, higher):
                return  # the ceiling
            load, why = higher, f"the SLO held at {now.holds}"
            step = min(aim.widest, step**1.6)
        elif now.holds is None:
            assert now.breaks is not None
            lower = measures.at(first, now.breaks.value / step)
            if lower.value >= now.breaks.value or _too_low(ledger, lower):
                return
            load, why = lower, f"the SLO did not hold at {now.breaks}"
            step = min(2.5, step**1.6)
        else:
            assert now.breaks is not None
            load = _inside(first, now)
            if load.value in (now.holds.value, now.breaks.value):
                return
            why = f"the limit is between {now.holds.value:g} and {now.breaks.value:g}"


def _done(ledger: Ledger, aim: Aim, now: Bracket, turns: float) -> bool:
    low, high = now.holds, now.breaks
    if high is None:
        return False
    if low is not None:
        whole = high.kind == "users" and high.value - low.value <= 1
        if whole or high.value <= low.value * aim.precision:
            return True
    if aim.floor is None:
        return False
    if potential(ledger.problem, ledger.run, high, turns, tokens_each(ledger)) < aim.floor:
        return True
    # An open loop collapses within a few per cent of load: so few good requests are far beyond.
    seen = ledger.run.at(high)
    return bool(low is None and high.kind == "rate" and seen and pooled(seen) < _COLLAPSED)


def _saturated(ledger: Ledger, holds: Load) -> bool:
    """Whether more load no longer brings more: only a closed loop can hold its SLO then."""
    if holds.kind == "rate":
        return False
    lower = [o for o in ledger.run.seen if o.load.value <= holds.value / 1.3]
    if not lower:
        return False
    best = max(o.requests_per_s for o in lower)
    return measures.rate(ledger.run.at(holds)[-1]) < best * (1 + _GREW)


def _saturate(ledger: Ledger, phase: Phase, aim: Aim, why: str) -> Generator[Step, Result, None]:
    """Without an SLO: more load until it brings no more."""
    problem = ledger.problem
    load = measures.at(problem.first, _under(ledger, aim.guess))
    best = -math.inf
    for number in range(_MOST_LOOKS):
        here = phase if number == 0 or phase not in ("screen", "halving") else "limit"
        if (yield from look(ledger, load, here, aim.requests, why)) is None:
            return
        seen = ledger.run.at(load)[-1]
        value = math.log(max(measures.worth(problem, seen), 1e-12))
        if value < best + _GREW:
            return
        best = value
        if load.kind == "rate" and seen.requests_per_s < measures.SERVED * load.value:
            return
        if aim.floor is not None and value < aim.floor and number:
            return
        higher = measures.at(problem.first, _under(ledger, load.value * 2))
        if higher.value <= load.value or _is_above(ledger, higher):
            return
        load, why = higher, f"more was served at {load} than before"


def _inside(first: Load, now: Bracket) -> Load:
    assert now.holds is not None
    assert now.breaks is not None
    low, high = math.log(now.holds.value), math.log(now.breaks.value)
    part = now.part if high - low < math.log(1.3) else 0.5  # shares say little from afar
    part = min(0.7, max(0.3, part))
    middle = math.exp(low + (high - low) * part)
    if first.kind == "users":
        whole = min(now.breaks.value - 1, max(now.holds.value + 1, round(middle)))
        return Load("users", float(whole))
    return measures.at(first, middle)


def _under(ledger: Ledger, value: float) -> float:
    ceiling = ledger.ceiling
    return value if ceiling is None or value < ceiling else ceiling * 0.97


def _is_above(ledger: Ledger, load: Load) -> bool:
    return ledger.ceiling is not None and load.value >= ledger.ceiling


def _too_low(ledger: Ledger, load: Load) -> bool:
    least = ledger.problem.first.value / 256
    if load.kind == "users":
        return load.value < 1
    return load.value < least or load.value * window(ledger, load, SHORT) < _TOO_SLOW


def tokens_each(ledger: Ledger) -> float:
    """Output tokens of a request, as the first windows had them."""
    seen = [o for r in ledger.runs[:1] for o in r.seen if o.requests_per_s > 0]
    given = ledger.problem.output_tokens
    if not seen:
        return given
    tokens, done = sum(o.output_tokens_per_s for o in seen), sum(o.requests_per_s for o in seen)
    return tokens / done if tokens else given
