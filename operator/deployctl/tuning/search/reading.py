"""Reading: what one start of a configuration came to. Pure.

The limit lies between the highest load that held and the lowest that did not. Inside, it is put
where the share of good requests crosses the share at which the SLO turns: that is finer than the
bracket, and costs nothing.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from deployctl.tuning.problem import Problem
from deployctl.tuning.search import measures
from deployctl.tuning.search.ledger import Run
from deployctl.tuning.trial import Load, Observation

Stance = Literal["yes", "no", "near"]
_SURE = 1.5  # standard errors by which a share has to differ from where the SLO turns
TURNS = 0.95  # share of good requests at which an SLO on 95th percentiles turns


class Bracket(NamedTuple):
    """The highest load that held, the lowest above it that did not; where the limit is between."""

    holds: Load | None
    breaks: Load | None
    part: float  # 0 at `holds`, 1 at `breaks`


class Reading(NamedTuple):
    """What one start came to, as the logarithm of a worth."""

    value: float | None  # None where no load held
    most: float | None  # it is certainly not better; None where no load broke it
    load: Load | None  # that held
    held: bool | None  # the SLO at that load; None: no SLO, or undecided


def stance(seen: Sequence[Observation], turns: float) -> Stance:
    """Whether the SLO held at a load, by its intervals or, where these are silent, by the share
    of good requests; `near` where that does not tell either."""
    for observation in reversed(seen):
        if observation.held in ("yes", "no"):
            return "yes" if observation.held == "yes" else "no"
    count = sum(measures.requests(o) for o in seen)
    if not count:
        return "no"
    good = pooled(seen)
    margin = _SURE * math.sqrt(turns * (1 - turns) / count)
    if good >= min(turns + margin, 1 - 0.25 / count):
        return "yes"
    return "no" if good < turns - margin else "near"


def pooled(seen: Sequence[Observation]) -> float:
    """Share of good requests over several windows."""
    count = sum(measures.requests(o) for o in seen)
    if not count:
        return 0.0
    return sum(measures.share(o) * measures.requests(o) for o in seen) / count


def turning(runs: Sequence[Run]) -> float:
    """The share at which the SLO turns, from what was decided: a 99th percentile turns later."""
    yes = [measures.share(o) for r in runs for o in r.seen if o.held == "yes"]
    no = [measures.share(o) for r in runs for o in r.seen if o.held == "no"]
    least, most = min(yes, default=1.0), max(no, default=0.0)
    if least < TURNS - 0.04:  # it held with fewer: an SLO on a median, or a lax one
        return max(0.5, (least + min(most, least)) / 2)
    if most > TURNS + 0.03:
        return min(0.995, (most + max(least, most)) / 2)
    return TURNS


def bracket(run: Run, turns: float) -> Bracket:
    """Where the limit is, by what this start showed. `near` counts as either, by its share."""
    loads = sorted({o.load.value for o in run.seen})
    stances = {}
    for value in loads:
        seen = [o for o in run.seen if o.load.value == value]
        found = stance(seen, turns)
        if found == "near":
            found = "yes" if pooled(seen) >= turns else "no"
        stances[value] = found
    if run.failed_at is not None:
        stances[run.failed_at.value] = "no"
    broken = [v for v in stances if stances[v] == "no"]
    # A load that held above one that broke is chance: the higher yes is believed only where
    # it is the more frequent finding, so the bracket is the one with the fewest contradictions.
    held = [v for v in stances if stances[v] == "yes"]
    best: tuple[int, float] | None = None
    for edge in [0.0, *sorted(held)]:
        wrong = sum(v <= edge for v in broken) + sum(v > edge for v in held)
        if best is None or wrong <= best[0]:
            best = (wrong, edge)
    edge = best[1] if best else 0.0
    above = min((v for v in broken if v > edge), default=None)
    kind = run.seen[0].load.kind if run.seen else "rate"
    holds = Load(kind, edge) if edge else None
    breaks = Load(kind, above) if above is not None else None
    part = 0.5
    if holds and breaks and (low := run.at(holds)) and (high := run.at(breaks)):
        a = measures.logit(pooled(low), sum(map(measures.requests, low)))
        b = measures.logit(pooled(high), sum(map(measures.requests, high)))
        aim = measures.logit(turns, 10**6)
        if a > b:
            part = min(0.95, max(0.05, (a - aim) / (a - b)))
    return Bracket(holds, breaks, part)


def read(problem: Problem, run: Run, turns: float, tokens_each: float) -> Reading | None:
    """What a start came to; None where nothing was measured.

    `tokens_each` are output tokens of a request: with a rate they follow from the load.
    """
    if not run.seen:
        return None
    if problem.goal == "latency":
        return _latency(problem, run, turns)
    if not problem.has_slo:
        best = max(run.seen, key=lambda o: measures.worth(problem, o))
        worth = measures.worth(problem, best)
        return Reading(math.log(worth) if worth else None, None, best.load, None)
    found = bracket(run, turns)
    low, high = found.holds, found.breaks
    most = potential(problem, run, high, turns, tokens_each) if high else None
    if low is None:
        return Reading(None, most, None, False)
    value = potential(problem, run, low, turns, tokens_each)
    if problem.goal == "goodput":  # what was good there, where that is more than at the limit
        value = max(
            value, math.log(max(measures.rate(run.at(low)[-1]) * pooled(run.at(low)), 1e-12))
        )
    if most is not None and most > value:
        inside = potential(problem, run, low, turns, tokens_each)
        value = max(value, inside + (most - inside) * found.part)
    decided = any(o.held == "yes" for o in run.at(low))
    return Reading(value, most, low, True if decided else None)


def potential(problem: Problem, run: Run, load: Load, turns: float, tokens_each: float) -> float:
    """Logarithm of what a load would be worth, were the SLO's turning point there."""
    if load.kind == "rate":
        return math.log(load.value * (turns if problem.goal == "goodput" else tokens_each))
    seen = run.at(load)
    if not seen:
        return math.inf
    if problem.goal == "goodput":
        return math.log(max(measures.rate(seen[-1]) * turns, 1e-12))
    return math.log(max(seen[-1].output_tokens_per_s, 1e-12))


def _latency(problem: Problem, run: Run, turns: float) -> Reading:
    seen = run.at(problem.first) or run.seen
    worths = [math.log(w) for o in seen if (w := measures.worth(problem, o)) > 0]
    if not worths:
        return Reading(None, None, None, None)
    held = None
    if problem.has_slo:
        found = stance(seen, turns)
        held = None if found == "near" else found == "yes"
        if held is False:
            return Reading(None, None, seen[-1].load, False)
    return Reading(sum(worths) / len(worths), None, seen[-1].load, held)
