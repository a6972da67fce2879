"""Verdict: the answer that the evidence allows, and no more. Pure."""

import math

from deployctl.tuning.search import measures
from deployctl.tuning.search.compare import Pair, Readings, wins
from deployctl.tuning.search.ledger import BASELINE, Ledger
from deployctl.tuning.trial import Answer, Configuration, Standing, Verdict

_WORSE = math.log(1.03)  # what is so much worse than the baseline is beaten


def answer(ledger: Ledger, finalist: Configuration | None, over: bool) -> Answer:
    """What can be said now. `finalist` is what the finals left; `over`: nothing follows."""
    readings = Readings(ledger)
    standings = _standings(readings)
    base = next((s for s in standings if s.configuration == BASELINE), None)
    notes = [*dict.fromkeys(ledger.notes), *_drift_note(readings)]
    verdict, why, chosen, pair = _decide(readings, finalist, over)
    winner = next((s for s in standings if s.configuration == chosen), None)
    improvement = None
    if pair is not None:
        improvement = (math.exp(pair.value), math.exp(pair.low), math.exp(pair.high))
    return Answer(
        verdict=verdict,
        why=why,
        baseline=base,
        winner=winner,
        improvement=improvement,
        standings=standings,
        failures=(*ledger.failures(), *ledger.refused.items()),
        notes=tuple(notes + [f"{c} was not tried: {w}" for c, w in ledger.skipped.items()]),
    )


def _decide(
    readings: Readings, finalist: Configuration | None, over: bool
) -> tuple[Verdict, str, Configuration | None, Pair | None]:
    ledger = readings.ledger
    base = readings.estimate(BASELINE)
    others = {c: e for c, e in readings.feasible().items() if c != BASELINE}
    if not over:
        best = max(others, key=lambda c: others[c].value, default=None)
        if best is not None and base is not None and others[best].value <= base.value:
            best = None
        pair = readings.pair(best) if best is not None else None
        return "interrupted", "the best so far, not confirmed", best, pair
    if base is None and not others:
        if not any(run.seen or run.failure for run in ledger.runs) and not ledger.refused:
            return "no_clear_winner", "the budget does not reach for one measurement", None, None
        return "nothing_feasible", _nothing(ledger), None, None
    if base is None or ledger.failure(BASELINE) is not None:
        return _without_baseline(readings, finalist)
    if finalist is not None and (pair := readings.pair(finalist)) is not None:
        if ledger.failure(finalist) is None and wins(pair):
            rounds = f"{pair.rounds} round{'s' * (pair.rounds > 1)} of fresh starts"
            text = f"better than the baseline by {_percent(pair.value)} over {rounds}"
            return "winner", f"{finalist} is {text}", finalist, pair
        if pair.high < 0 and _all_worse(readings, {finalist}):
            why = f"the best of the rest, {finalist}, is worse: {_percent(pair.value)}"
            return "baseline_best", why, None, pair
        why = (
            f"{finalist} differs from the baseline by {_percent(pair.value)} "
            f"({_percent(pair.low)} to {_percent(pair.high)}): that may be noise"
        )
        return "no_clear_winner", why, None, pair
    tried = {run.configuration for run in ledger.runs} - {BASELINE}
    if not tried:
        return "no_clear_winner", "nothing but the baseline could be tried", None, None
    if _all_worse(readings, set()):
        return "baseline_best", f"all {len(tried)} others did worse or failed", None, None
    close = max(others, key=lambda c: others[c].value, default=None)
    text = "nothing was better than the baseline by more than noise"
    if close is not None:
        change = others[close].value - base.value
        text += f"; nearest is {close} ({_percent(change)})"
    return "no_clear_winner", text, None, None


def _without_baseline(
    readings: Readings, finalist: Configuration | None
) -> tuple[Verdict, str, Configuration | None, Pair | None]:
    """The baseline does not do: whatever does, twice from fresh starts, is better."""
    ledger = readings.ledger
    failure = ledger.failure(BASELINE)
    lack = f"the baseline failed ({failure.reason})" if failure else "the baseline misses the SLO"
    if finalist is None or ledger.failure(finalist) is not None:
        return "no_clear_winner", f"{lack}; nothing else was confirmed", None, None
    good = len(readings.values(finalist))
    again = len(ledger.of(BASELINE))  # one miss may be bad luck
    missed = sum(r.value is None for _, r in readings.of(finalist))
    if good < 2 or missed or (failure is None and ledger.of(BASELINE) and again < 2):
        return (
            "no_clear_winner",
            f"{lack}; {finalist} held {good} of {good + missed} times",
            None,
            None,
        )
    return "winner", f"{lack}; {finalist} held at each of {good} starts", finalist, None


def _all_worse(readings: Readings, known: set[Configuration]) -> bool:
    """Whether every other configuration was certainly worse than the baseline, or failed."""
    base = readings.estimate(BASELINE)
    assert base is not None
    for configuration in {run.configuration for run, _ in readings.all} - {BASELINE} - known:
        if readings.ledger.failure(configuration):
            continue
        for run, reading in readings.of(configuration):
            bound = reading.most
            if bound - readings.drift.at(run.at_s) > base.value - _WORSE:
                return False
    return True


def _nothing(ledger: Ledger) -> str:
    failed = len({c for c, _ in ledger.failures()})
    tried = len({run.configuration for run in ledger.runs})
    if not tried:
        return "the planner refuses the whole space"
    if failed == tried:
        return f"all {tried} configurations failed"
    return f"the SLO held at no load with any of {tried} configurations ({failed} failed)"


def _standings(readings: Readings) -> tuple[Standing, ...]:
    """Everything that was started, best first; what failed or never held last."""
    ledger = readings.ledger
    problem = ledger.problem
    found: list[tuple[float, Standing]] = []
    for configuration in dict.fromkeys(run.configuration for run in ledger.runs):
        estimate = readings.estimate(configuration)
        loads = [r.load for _, r in readings.of(configuration) if r.value is not None]
        held = [r.held for _, r in readings.of(configuration)]
        met = None
        if problem.has_slo and held:
            # It is met where most starts had a load at which it held for certain.
            met = True if held.count(True) * 2 > len(held) else None
            met = False if held.count(False) * 2 > len(held) else met
        if estimate is None or not math.isfinite(estimate.value):
            standing = Standing(configuration, None, None, None, met, None)
            found.append((-math.inf, standing))
            continue
        bounds = sorted(
            measures.objective(problem, math.exp(v)) for v in (estimate.low, estimate.high)
        )
        value = measures.objective(problem, math.exp(estimate.value))
        load = loads[-1] if loads else None
        standing = Standing(configuration, value, bounds[0], bounds[1], met, load)
        failed = ledger.failure(configuration) is not None
        found.append((-math.inf if failed else estimate.value, standing))
    return tuple(s for _, s in sorted(found, key=lambda pair: -pair[0]))


def _drift_note(readings: Readings) -> list[str]:
    drift = readings.drift
    if not drift.real:
        return []
    change = drift.points[-1][1]
    return [
        f"the baseline drifted by {_percent(change)} within the study: figures are as they would "
        "have been at its beginning, and the finals compare what ran side by side"
    ]


def _percent(change: float) -> str:
    return f"{math.expm1(change):+.1%}"
