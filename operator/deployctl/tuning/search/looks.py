"""Looks: the steps of a search, each affordable, and windows as long as they need be. Pure.

Generators yield a step and are sent what came of it.
"""

from collections.abc import Generator
from statistics import median

from deployctl.tuning.search import measures
from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.search.reading import Stance, stance, turning
from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Load,
    Measure,
    Observation,
    Phase,
    Result,
    Start,
    Started,
    Step,
)

Steps = Generator[Step, Result, None]
# Requests in a window: a short look tells 0.95 from 0.90; what is compared in the end gets more.
SHORT, LONG = 100, 130
_LEAST_S, _FIRST_S, _MOST_S = 6.0, 12.0, 150.0
_ANSWERS = 2  # a window is at least so many median answers long
_INVALID = 2  # further tries after an invalid measurement
_PATIENCE = 2.0


def window(
    ledger: Ledger, load: Load, requests: int, configuration: Configuration | None = None
) -> float:
    """Seconds in which about so many requests come to an end, within 6 s and 150 s. `configuration`
    serves them: what runs, where it is not said."""
    answers = [(o.held == "no", o.e2e_p50_s) for r in ledger.runs for o in r.seen if o.e2e_p50_s]
    held = [seconds for broke, seconds in answers if not broke]
    e2e = median(held) if held else min((seconds for _, seconds in answers), default=0.0)
    if load.kind == "rate":
        rate = load.value
    else:
        runs = ledger.runs
        if configuration is None and runs:
            configuration = runs[-1].configuration
        own = ledger.of(configuration) if configuration is not None else []
        seen = [o for r in own for o in r.seen if o.requests_per_s]
        seen = seen or [o for r in runs for o in r.seen if o.requests_per_s]
        if not seen:
            return _FIRST_S
        near = min(abs(o.load.value - load.value) for o in seen)
        # Of several at that load the most: one may have hung.
        rate = max(
            o.requests_per_s * load.value / o.load.value
            for o in seen
            if abs(o.load.value - load.value) == near
        )
    seconds = requests * ledger.patience / max(rate, 1e-9)
    return float(round(min(_MOST_S, max(_LEAST_S, _ANSWERS * e2e, seconds))))


def start(
    ledger: Ledger, configuration: Configuration, phase: Phase, why: str
) -> Generator[Step, Result, bool]:
    """Starts it; whether it runs. Raises SpentError where that is not affordable."""
    ledger.afford_start(configuration, _LEAST_S)
    result = yield Start(configuration, phase, why)
    return isinstance(result, Started)


def look(
    ledger: Ledger, load: Load, phase: Phase, requests: int, why: str
) -> Generator[Step, Result, Stance | None]:
    """Measures what runs at a load once, or again after an invalid measurement.

    None after a failure, or where the load was set aside because every measurement was invalid.
    """
    run = ledger.run
    seconds = window(ledger, load, requests)
    for _ in range(1 + _INVALID):
        ledger.afford_window(seconds)
        result = yield Measure(load, seconds, phase, why)
        if isinstance(result, Failure):
            return None
        if isinstance(result, Observation):
            found = stance(run.at(load), turning(ledger.problem.turns, ledger.runs))
            if result.held == "unclear" and measures.share(result) >= 0.99 and found == "yes":
                # Nearly every request was good, and the interval still too wide for a yes.
                ledger.patience = min(_PATIENCE, ledger.patience * 1.1)
            return found
    run.set_aside.append(load)
    return None


def set_aside(ledger: Ledger, configuration: Configuration) -> None:
    """Takes note of loads that could not be measured: with the baseline, nothing higher can."""
    run = ledger.run
    if not run.set_aside:
        return
    lowest = min(load.value for load in run.set_aside)
    text = f"{configuration}: {len(run.set_aside)} load(s) set aside, from {lowest:g} up: "
    ledger.notes.append(text + "every measurement was invalid")
    if configuration == BASELINE and run.seen:
        ledger.ceiling = min(lowest, ledger.ceiling or lowest)
