"""Reading: what one start of a configuration came to. Pure.

The limit lies between the highest load that held and the lowest that did not; where it is put
there, and how sure that is, `fit` says.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

from deployctl.tuning.search import measures
from deployctl.tuning.search.fit import LEARNED_SPREAD, STEEP, STEEP_SPREAD, broken, fit, shares
from deployctl.tuning.search.ledger import Run
from deployctl.tuning.trial import EARLIEST, LATEST, Load, Observation, Problem

Stance = Literal["yes", "no", "near"]
_SURE = 1.5  # standard errors by which a share has to differ from where the SLO turns
_SPEEDS = 0.02
_PEAKS = 0.9  # the SLO turns at so small a share of good requests that goodput peaks before
_RATES = 0.02  # standard error of a rate, besides that of the share
_WITHIN = 0.2  # of a bracket's width: the least standard error inside it
_FALLEN = 0.4  # share of good requests
_HARDLY = 1.0  # standard errors above the limit that it hardly is


class Bracket(NamedTuple):
    """The highest load that held, and the lowest above it that did not."""

    holds: Load | None
    breaks: Load | None

    @property
    def whole(self) -> bool:
        """Whether no load is between them: users are whole."""
        low, high = self
        if low is None or high is None:
            return False
        return low.kind == "users" and high.value - low.value <= 1


class Reading(NamedTuple):
    """What one start came to, as the logarithm of a worth."""

    value: float | None  # None where no load held
    error: float  # standard error of what was sampled; that between starts is not in it
    most: float  # it is hardly better; infinite where nothing says so
    load: Load | None  # that held
    held: bool | None  # the SLO at that load; None: no SLO, or undecided
    limit: float  # logarithm of the load at which the SLO turns; nan without one


class Belief(NamedTuple):
    """What every reading is made with: of the whole study so far."""

    turns: float  # share of good requests at which the SLO turns
    tokens_each: float  # output tokens of a request: with a rate they follow from the load
    steep: float  # logarithm of the steepness of shares, and how sure that is
    spread: float
    closed: bool = False  # users who wait: near saturation what they get hardly depends on them

    @property
    def usual(self) -> float:
        """Standard deviation of a worth between starts, before it was seen.

        Servers differ by 2% in speed. Where latencies hardly grow with load, a limit moves by
        more: shares turn by 6 to 10 a factor e of latency (a spread of 35% to 20%), by `steep` a
        factor e of load.
        """
        most = 1.0 if self.closed else 6.0
        return _SPEEDS * (1 + min(most, 10 / math.exp(self.steep)))


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


def turning(expected: float, runs: Sequence[Run]) -> float:
    """The share at which the SLO turns: as expected, unless what was decided contradicts it."""
    yes = [measures.share(o) for r in runs for o in r.seen if o.held == "yes"]
    no = [measures.share(o) for r in runs for o in r.seen if o.held == "no"]
    least, most = min(yes, default=1.0), max(no, default=0.0)
    if least < expected - 0.04:  # it held with fewer: one of gaps, where many share a few bad ones
        return max(EARLIEST, (least + min(most, least)) / 2)
    if most > expected + 0.03:
        return min(LATEST, (most + max(least, most)) / 2)
    return expected


def believe(problem: Problem, runs: Sequence[Run]) -> Belief:
    """From everything seen so far."""
    turns, closed = turning(problem.turns, runs), problem.first.kind == "users"
    seen = [o for r in runs[:1] for o in r.seen if o.requests_per_s > 0]
    tokens, done = sum(o.output_tokens_per_s for o in seen), sum(o.requests_per_s for o in seen)
    each = tokens / done if tokens else problem.output_tokens
    known = []
    if measures.seeks_limit(problem):
        for run in runs[:4]:
            if len(run.seen) >= 3:
                found = fit(shares(run.seen, turns), turns, STEEP, STEEP_SPREAD)
                if found.steep_error < 0.8 * STEEP_SPREAD:
                    known.append(found.steep)
    if not known:
        # Without a limit to seek, nothing moves by more than the speeds do.
        steep = STEEP if measures.seeks_limit(problem) else math.log(1e3)
        return Belief(turns, each, steep, STEEP_SPREAD, closed)
    return Belief(turns, each, round(sum(known) / len(known), 1), LEARNED_SPREAD, closed)


def bracket(run: Run, turns: float) -> Bracket:
    """Where the limit is, by what this start showed. `near` counts as either, by its share."""
    stances: dict[float, Stance] = {}
    for value in sorted({o.load.value for o in run.seen}):
        seen = [o for o in run.seen if o.load.value == value]
        found = stance(seen, turns)
        if found == "near":
            found = "yes" if pooled(seen) >= turns else "no"
        stances[value] = found
    if run.failed_at is not None:
        stances[run.failed_at.value] = "no"
    broken = [v for v in stances if stances[v] == "no"]
    held = [v for v in stances if stances[v] == "yes"]
    # A load that held above one that broke is chance: the edge is where the fewest findings
    # contradict it, and the higher one of several.
    edge = min(sorted([0.0, *held], reverse=True), key=lambda e: _wrong(e, held, broken))
    above = min((v for v in broken if v > edge), default=None)
    kind = run.seen[0].load.kind if run.seen else "rate"
    return Bracket(
        Load(kind, edge) if edge else None, Load(kind, above) if above is not None else None
    )


def collapsed(o: Observation) -> bool:
    """Whether a rate is so far beyond the limit that this start's limit is certainly below."""
    return o.load.kind == "rate" and measures.share(o) < _FALLEN


def peaks(problem: Problem, belief: Belief) -> bool:
    """Whether goodput is highest below the limit: where an SLO on percentiles of all tokens still
    holds while many requests miss it for themselves, more load brings less of what is good."""
    return problem.goal == "goodput" and belief.turns < _PEAKS


def edges(problem: Problem, run: Run, belief: Belief) -> Bracket:
    """What a climb works with: around the limit or, where more was good below it, around that.

    Users who wait bring no more once the engine is saturated, and may hold the SLO all the same.
    """
    between = bracket(run, belief.turns)
    if peaks(problem, belief):
        held = [o for o in run.seen if stance(run.at(o.load), belief.turns) != "no"]
    elif belief.closed and between.holds is not None:
        held = [o for o in run.seen if o.load.value <= between.holds.value]
    else:
        return between
    if not held:
        return between
    top = max(held, key=lambda o: measures.worth(problem, o)).load
    above = min((o.load.value for o in run.seen if o.load.value > top.value), default=None)
    if run.failed_at is not None:
        above = min(above or math.inf, run.failed_at.value)
    return Bracket(top, Load(top.kind, above) if above is not None else None)


def _peak(problem: Problem, run: Run, belief: Belief) -> Reading:
    low, high = edges(problem, run, belief)
    if low is None:
        most = max(measures.rate(o) for o in run.seen)  # fewer users are not served more
        return Reading(None, 0.1, math.log(max(most, 1e-12)) + 0.05, None, False, math.nan)
    return _of_load(problem, run, Bracket(low, high))


def _of_load(problem: Problem, run: Run, between: Bracket) -> Reading:
    """What was had at the load that held, where the limit is there or little beyond."""
    low, high = between
    assert low is not None
    seen = run.at(low)
    good, count = pooled(seen), sum(measures.requests(o) for o in seen)
    if problem.goal == "goodput":  # the share from all windows together
        had = good * sum(measures.rate(o) for o in seen)
    else:
        had = sum(measures.worth(problem, o) for o in seen)
    value = math.log(max(had / len(seen), 1e-12))
    error = math.hypot(_RATES, math.sqrt((1 - good + 1 / count) / (max(good, 0.01) * count)))
    inside = within(run, between)
    most = value + max(inside, _HARDLY * error) if high else math.inf
    held = True if any(o.held == "yes" for o in seen) else None
    return Reading(value, math.hypot(error, _WITHIN * inside), most, low, held, math.log(low.value))


def within(run: Run, between: Bracket) -> float:
    """How much more users inside a bracket can bring at most, as a logarithm: they are not served
    more than those at its end, good or not."""
    low, high = between
    if low is None or high is None or between.whole or low.kind != "users":
        return 0.0
    here, above = ([o.requests_per_s for o in run.at(load)] for load in (low, high))
    if not above:  # it failed there
        return math.log(high.value / low.value)
    more = sum(above) / len(above) / max(sum(here) / len(here), 1e-12)
    return max(0.0, math.log(max(more, 1e-12)))


def _wrong(edge: float, held: Sequence[float], broken: Sequence[float]) -> int:
    return sum(v <= edge for v in broken) + sum(v > edge for v in held)


def read(problem: Problem, run: Run, belief: Belief) -> Reading | None:
    """What a start came to; None where nothing was measured."""
    if not run.seen:
        return None
    if problem.goal == "latency":
        return _latency(problem, run, belief.turns)
    if not problem.has_slo:
        best = max(run.seen, key=lambda o: measures.worth(problem, o))
        value = math.log(max(measures.worth(problem, best), 1e-12))
        error = 0.3 / math.sqrt(max(1, measures.requests(best)))
        return Reading(value, error, value + 2 * error, best.load, None, math.nan)
    if peaks(problem, belief):
        return _peak(problem, run, belief)
    between = low, high = edges(problem, run, belief)
    if belief.closed and low is not None:
        return _of_load(problem, run, between)
    data = shares(run.seen, belief.turns)
    if run.failed_at is not None:
        data = (*data, broken(run.failed_at, belief.turns))
    found = fit(data, belief.turns, belief.steep, belief.spread)
    limit, error = found.limit, found.error
    if low is not None and high is None:  # nothing broke: it is this, or more
        limit, error = math.log(low.value), 0.02
    elif low is not None and high is not None:
        # Inside a wide bracket a curve says more than it can know, and what is certain of an end
        # it may not contradict.
        error = math.hypot(error, _WITHIN * math.log(high.value / low.value))
        if stance(run.at(low), belief.turns) == "yes":
            limit = max(limit, math.log(low.value))
        if high == run.failed_at or stance(run.at(high), belief.turns) == "no":
            limit = min(limit, math.log(high.value))
    value = log_worth(problem, run, limit, belief)
    highest = limit + _HARDLY * error
    fallen = [o.load.value for o in run.seen if collapsed(o)]
    if fallen:
        highest = min(highest, math.log(min(fallen)))
    most = log_worth(problem, run, highest, belief) if high else math.inf
    if low is None:
        return Reading(None, error, most, None, False, limit)
    decided = any(o.held == "yes" for o in run.seen if o.load.value <= low.value)
    return Reading(value, error, most, low, True if decided else None, limit)


def log_worth(problem: Problem, run: Run, limit: float, belief: Belief) -> float:
    """Logarithm of what this start would be worth, were its SLO to turn at this load (logarithm).

    In an open loop that follows from the rate. In a closed loop rates are interpolated between
    the loads that were measured.
    """
    goodput = problem.goal == "goodput"
    part = math.log(belief.turns if goodput else belief.tokens_each)
    if run.seen[0].load.kind == "rate":
        return limit + part
    points: dict[float, float] = {}
    for o in run.seen:
        rate = o.requests_per_s if goodput else o.output_tokens_per_s
        points[math.log(o.load.value)] = math.log(max(rate, 1e-12))
    at = sorted(points)
    if len(at) == 1:
        value = points[at[0]] + min(0.0, limit - at[0])
    else:
        i = min(len(at) - 2, max(0, sum(x <= limit for x in at) - 1))
        slope = (points[at[i + 1]] - points[at[i]]) / (at[i + 1] - at[i])
        slope = min(1.0, max(0.0, slope))
        base = at[i + 1] if limit >= at[i + 1] else at[i]
        value = points[base] + slope * (min(limit, at[-1] + 0.3) - base)
    return value + (part if goodput else 0.0)


def _latency(problem: Problem, run: Run, turns: float) -> Reading:
    seen = run.at(problem.first) or run.seen
    worths = [math.log(w) for o in seen if (w := measures.worth(problem, o)) > 0]
    load = seen[-1].load
    if not worths:
        return Reading(None, 0.0, math.inf, None, None, math.nan)
    held = None
    if problem.has_slo:
        found = stance(seen, turns)
        held = None if found == "near" else found == "yes"
    value, count = sum(worths) / len(worths), sum(measures.requests(o) for o in seen)
    error = 0.8 / math.sqrt(max(1, count))  # a 95th percentile of requests that vary by 40%
    if held is False:
        return Reading(None, error, -math.inf, load, False, math.nan)
    return Reading(value, error, value + 2 * error, load, held, math.nan)
