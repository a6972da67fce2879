"""Again: a fresh start of what was measured before, looked at around its own limit. Pure.

Where users wait, the load at which it had the most is enough, if it holds there again: what is
beyond was seen before, and a start that is looked at once leaves time for another.
"""

import math
from collections.abc import Generator

from deployctl.tuning.search import measures
from deployctl.tuning.search.climb import Aim, climb
from deployctl.tuning.search.compare import Readings
from deployctl.tuning.search.ledger import Ledger, Run
from deployctl.tuning.search.looks import set_aside, start
from deployctl.tuning.search.reading import Belief, edges, stance
from deployctl.tuning.trial import Configuration, Phase, Result, Step

_PRECISION = 0.025


def guess(readings: Readings, configuration: Configuration) -> float:
    """The load at which it has its limit, as far as known, with the drift until now; where users
    wait, the one at which it had the most."""
    ledger = readings.ledger
    most = _most(readings, configuration)
    if most is not None:
        return most[1]
    limits = [
        (reading.limit - readings.drift.at(run.at_s), reading.error)
        for run, reading in readings.of(configuration)
        if reading.value is not None and math.isfinite(reading.limit)
    ]
    if limits:
        weights = [1 / (0.03**2 + error**2) for _, error in limits]
        mean = sum(v * w for (v, _), w in zip(limits, weights, strict=True)) / sum(weights)
        drift = readings.drift.at(ledger.elapsed) if ledger.problem.first.kind == "rate" else 0.0
        return math.exp(mean + drift)
    loads = [r.load for _, r in readings.of(configuration) if r.load is not None]
    if loads and not ledger.problem.has_slo:
        return loads[-1].value
    tried = [o.load.value for run in ledger.of(configuration) for o in run.seen]
    return min(tried, default=ledger.problem.first.value)


def again(
    ledger: Ledger, configuration: Configuration, phase: Phase, requests: int, why: str
) -> Generator[Step, Result, None]:
    """One more start, and its limit."""
    readings = Readings(ledger)
    load, known = guess(readings, configuration), math.inf
    most = _most(readings, configuration)
    if most is not None and _is_known(ledger, most[0], readings.belief):
        known = load
    if not (yield from start(ledger, configuration, phase, why)):
        return
    step = 1.06 if ledger.problem.has_slo else 1.0
    aim = Aim(load, step, _PRECISION, requests=requests, known=known)
    yield from climb(ledger, phase, aim, why)
    set_aside(ledger, configuration)


def _most(readings: Readings, configuration: Configuration) -> tuple[Run, float] | None:
    """The start that had the most, and the users with whom it did; None in an open loop."""
    found = [
        (reading.value, run, reading.load.value)
        for run, reading in readings.of(configuration)
        if reading.value is not None and reading.load is not None
    ]
    if not readings.belief.closed or not measures.seeks_limit(readings.ledger.problem) or not found:
        return None
    _, run, load = max(found, key=lambda f: f[0])
    return run, load


def _is_known(ledger: Ledger, run: Run, belief: Belief) -> bool:
    """Whether what is above was decided, not just on the other side by a request or two."""
    above = edges(ledger.problem, run, belief).breaks
    return above is None or above == run.failed_at or stance(run.at(above), belief.turns) != "near"
