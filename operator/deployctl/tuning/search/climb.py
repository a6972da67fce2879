"""Climb: what one start can tell of a limit, in as few windows as it takes. Pure."""

import math
from collections.abc import Generator
from dataclasses import dataclass

from deployctl.load.limit import above, below
from deployctl.tuning.search import measures
from deployctl.tuning.search.ledger import Ledger, Run
from deployctl.tuning.search.looks import SHORT, look, window
from deployctl.tuning.search.reading import (
    Belief,
    Bracket,
    Reading,
    believe,
    collapsed,
    edges,
    peaks,
    read,
    within,
)
from deployctl.tuning.trial import Load, Phase, Result, Step

_MOST_LOOKS = 16
_TOO_SLOW = 25  # a load so low that the longest window has fewer requests cannot be judged
_BEHIND = 0.06  # where the best is saturated, so much less will not become more
_RISES = 0.06  # of the rise in users, at least, has to come back as requests
_USERS_STEP = 1.9  # users do less to a closed loop than a rate does to an open one
_GREW = 0.03  # more users, and less than so much more served: saturated
_FINER = 0.7  # of what starts differ by: finer is no use
_WORTHWHILE = 0.03  # better by less is no reason to look longer
_LONGEST = 2.0  # windows grow to so many times their first length
# Windows once the bracket is so narrow, or in all: what is undecided then remains so, and another
# start tells more.
_NEAR, _NEAR_ENOUGH, _ENOUGH = 1.3, 3, 7


@dataclass(frozen=True)
class Aim:
    """How to look for a limit."""

    guess: float  # the first load
    step: float  # to the next one; grows to `widest`. 1: no other load (without an SLO)
    precision: float  # standard error of the limit, as a share, at which it is known
    beat: float | None = None  # logarithm of a worth: what is hardly better is left
    widest: float = 2.0
    requests: int = SHORT
    known: float = math.inf  # from this load on, an earlier start found no more


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
    whole = first.kind == "users"
    least = _USERS_STEP if whole else 1.0
    load, step, requests, near = measures.at(first, _under(ledger, aim.guess)), aim.step, 1.0, 0
    for number in range(_MOST_LOOKS):
        here = _phase(phase, number, load.value > aim.guess)
        count = round(aim.requests * requests)
        if (yield from look(ledger, load, here, count, why)) is None:
            return
        belief = believe(ledger.problem, ledger.runs)
        now, reading = (
            edges(ledger.problem, ledger.run, belief),
            read(ledger.problem, ledger.run, belief),
        )
        assert reading is not None
        if now.holds is not None and _lowest(ledger, now.holds) and peaks(ledger.problem, belief):
            lower = measures.at(first, now.holds.value / max(step, _USERS_STEP))
            if now.breaks is not None and number < _NEAR_ENOUGH and lower.value < now.holds.value:
                load, why = lower, f"most was good at {now.holds}: is there more below?"
                continue
        if _done(ledger.run, aim, now, reading, near, belief):
            return
        if now.breaks is None and now.holds is not None:
            if now.holds.value >= aim.known or _saturated(ledger, now.holds):
                return
            wanted = above(now.holds.value, max(step, least), whole=whole)
            higher = measures.at(first, _under(ledger, wanted))
            if higher.value <= now.holds.value * 1.001 or _is_above(ledger, higher):
                return  # the ceiling
            load, why = higher, f"the SLO held at {now.holds}"
            step = min(aim.widest, step**1.6)
        elif now.holds is None:
            assert now.breaks is not None
            lower = measures.at(first, below(now.breaks.value, max(step, least), whole=whole))
            if lower.value >= now.breaks.value or _too_low(ledger, lower):
                return
            load, why = lower, f"the SLO did not hold at {now.breaks}"
            step = min(2.5, step**1.6)
        else:
            assert now.breaks is not None
            load = _inside(first, now, reading)
            why = f"the limit is about {math.exp(reading.limit):.3g}, give or take "
            why += f"{reading.error:.0%}"
            if now.breaks.value <= now.holds.value * _NEAR:
                near, requests = near + 1, min(_LONGEST, requests * 1.4)


def _phase(phase: Phase, number: int, above: bool) -> Phase:
    if number == 0 or phase not in ("screen", "halving"):
        return phase
    return "limit" if above else "halving"


def _done(run: Run, aim: Aim, now: Bracket, reading: Reading, near: int, belief: Belief) -> bool:
    low, high = now.holds, now.breaks
    if high is None:
        return False
    if aim.beat is not None:
        fallen = low is None and any(collapsed(o) for o in run.seen)
        if fallen or reading.most + belief.usual < aim.beat + _WORTHWHILE:
            return True
    if low is None:
        return False
    if low.kind == "users" and within(run, now) < _WORTHWHILE:
        return True
    precision = max(aim.precision, _FINER * belief.usual)
    enough = near >= _NEAR_ENOUGH or len(run.seen) >= _ENOUGH
    return reading.error <= precision or enough


def _lowest(ledger: Ledger, load: Load) -> bool:
    return load.value > 1 and load.value <= min(o.load.value for o in ledger.run.seen)


def _saturated(ledger: Ledger, holds: Load) -> bool:
    """Whether more load hardly brings more: only a closed loop can hold its SLO then."""
    if holds.kind == "rate":
        return False
    lower = [o for o in ledger.run.seen if o.load.value <= holds.value / 1.1]
    if not lower:
        return False
    below = max(lower, key=lambda o: o.load.value)
    more = holds.value / below.load.value - 1
    grown = ledger.run.at(holds)[-1].requests_per_s / max(below.requests_per_s, 1e-9) - 1
    return grown < _RISES * more


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
        if aim.step <= 1 or (aim.beat is not None and value < aim.beat - _BEHIND):
            return
        higher = measures.at(problem.first, _under(ledger, load.value * 2))
        if higher.value <= load.value or _is_above(ledger, higher):
            return
        load, why = higher, f"more was served at {load} than before"


def _inside(first: Load, now: Bracket, reading: Reading) -> Load:
    assert now.holds is not None
    assert now.breaks is not None
    low, high = now.holds.value, now.breaks.value
    if high > low * _NEAR:  # a curve says little from afar: halve
        return measures.at(first, math.sqrt(low * high))
    if first.kind == "users":  # a whole number that was not measured yet
        low, high = low + 1, high - 1
    return measures.at(first, min(high, max(low, math.exp(reading.limit))))


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
