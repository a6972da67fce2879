"""A race on one surface: ours and the others, over many seeds, judged by the true values."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from benchmarks.tuning.rivals import BASELINE, Told, auto_tune, random_search, tpe
from benchmarks.tuning.surface.bench import SurfaceBench
from benchmarks.tuning.surface.truth import Truth

from deployctl.tuning.search.stepwise import Stepwise
from deployctl.tuning.trial import Configuration, Start

WITHIN = 0.95  # of the best true value
BETTER = 1.01  # a true value so much above the baseline's is better


def ours(truth: Truth, seed: int) -> Told:
    """deployctl.tuning.search, to its own end."""
    bench = SurfaceBench(truth.surface, seed, truth)
    search = Stepwise(truth.problem(seed))
    told = Told()
    number = 0
    while (step := search.ask()) is not None:
        number += 1
        if isinstance(step, Start):
            search.tell(step, bench.start(step.configuration))
        else:
            search.tell(step, bench.measure(step.load, step.seconds, number))
        best = search.best()
        if best is not None and (not told.named or told.named[-1][1] != best):
            told.named.append((bench.clock_s, best))
    assert bench.refusals == 0, "started what the planner refuses"
    answer = search.answer()
    told.winner = answer.winner.configuration if answer.winner else None
    told.verdict = answer.verdict
    told.total_s, told.starts = bench.clock_s, bench.starts
    last = told.winner or BASELINE
    if not told.named or told.named[-1][1] != last:
        told.named.append((bench.clock_s, last))
    return told


SEARCHES: dict[str, Callable[[Truth, int], Told]] = {
    "deployctl": ours,
    "auto_tune": auto_tune,
    "random": random_search,
    "TPE": tpe,
}


@dataclass(frozen=True)
class Judged:
    """One run."""

    within_s: float | None  # from when on what it named was within 5% of the best; None: never
    total_s: float
    starts: int
    verdict: str
    wrong: bool  # a winner that is no better than the baseline, or infeasible
    short: bool  # a winner that is better, and yet more than 5% below the best


def quality(truth: Truth, configuration: Configuration) -> float:
    """True value as a share of the best: 0 where it is infeasible."""
    best, value = truth.best(), truth.score(configuration)
    if best is None or value is None:
        return 0.0
    lower = truth.surface.problem.goal in ("latency", "cost")
    return best / value if lower else value / best


def judge(truth: Truth, told: Told) -> Judged:
    """Against the true values."""
    within: float | None = None
    for at, configuration in told.named:
        if quality(truth, configuration) < WITHIN:
            within = None
        elif within is None:
            within = at
    wrong = short = False
    if told.winner is not None:
        mine, base = quality(truth, told.winner), quality(truth, BASELINE)
        wrong = mine < base * BETTER
        short = not wrong and mine < WITHIN
    return Judged(within, told.total_s, told.starts, told.verdict, wrong, short)


def summary(runs: Sequence[Judged]) -> dict[str, object]:
    """Over the seeds. Minutes are medians; a run that never came within 5% counts as the worst."""
    never = float("inf")
    within = sorted(never if r.within_s is None else r.within_s for r in runs)
    middle = statistics.median_high(within)
    return {
        "runs": len(runs),
        "minutes_to_5%": None if middle == never else round(middle / 60, 1),
        "reached": sum(r.within_s is not None for r in runs) / len(runs),
        "wrong": sum(r.wrong for r in runs) / len(runs),
        "short": sum(r.short for r in runs) / len(runs),
        "winner": sum(r.verdict == "winner" for r in runs) / len(runs),
        "no_clear_winner": sum(r.verdict == "no_clear_winner" for r in runs) / len(runs),
        "baseline_best": sum(r.verdict == "baseline_best" for r in runs) / len(runs),
        "minutes": round(statistics.median(r.total_s for r in runs) / 60, 1),
        "starts": statistics.median(r.starts for r in runs),
    }
