"""Again: a fresh start of what was measured before, looked at around its own limit. Pure."""

import math
from collections.abc import Generator

from deployctl.tuning.search.climb import Aim, climb
from deployctl.tuning.search.compare import Readings
from deployctl.tuning.search.ledger import Ledger
from deployctl.tuning.search.looks import set_aside, start
from deployctl.tuning.trial import Configuration, Phase, Result, Step

_PRECISION = 0.025


def guess(readings: Readings, configuration: Configuration) -> float:
    """The load at which it has its limit, as far as known, with the drift until now."""
    ledger = readings.ledger
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
    load = guess(Readings(ledger), configuration)
    if not (yield from start(ledger, configuration, phase, why)):
        return
    step = 1.06 if ledger.problem.has_slo else 1.0
    yield from climb(ledger, phase, Aim(load, step, _PRECISION, requests=requests), why)
    set_aside(ledger, configuration)
