"""The others: vLLM's auto_tune procedure, random search, Optuna's TPE. Each on a bench as ours.

They are given what they lack where that is to their advantage: the SLO itself in place of an
end-to-end limit, the baseline as first trial, a first load by the plan, a measurement again where
one was invalid.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from benchmarks.tuning.surface.bench import SurfaceBench
from benchmarks.tuning.surface.file import OBSERVED
from benchmarks.tuning.surface.truth import Truth

from deployctl.tuning.search import measures
from deployctl.tuning.trial import Configuration, Failure, Invalid, Load, Observation, Value

BASELINE = Configuration()
TRIALS, WINDOW_S, LOOKS = 50, 300.0, 5  # a trial of random and TPE: 300 s in five loads
_PROMPTS, _FIRST_PROMPTS, _SLEEP_S = 100, 1000, 5.0  # auto_tune.sh
_SERVED = 0.95


@dataclass
class Told:
    """What a search named over time, and in the end. None: the baseline stays."""

    named: list[tuple[float, Configuration]] = field(default_factory=list)  # (server seconds, …)
    winner: Configuration | None = None
    verdict: str = "winner"
    total_s: float = 0.0
    starts: int = 0


@dataclass
class Best:
    """The best score so far."""

    told: Told
    score: float = 0.0
    baseline: float | None = None

    def take(self, bench: SurfaceBench, configuration: Configuration, score: float) -> None:
        """A score, more is better; 0 is what a failed trial gets."""
        if configuration == BASELINE:
            self.baseline = score
        if score > self.score:
            self.score = score
            self.told.named.append((bench.clock_s, configuration))


def measure(bench: SurfaceBench, load: Load, seconds: float) -> Observation | Failure:
    """Again where it was invalid."""
    while True:
        result = bench.measure(load, seconds, 0)
        if not isinstance(result, Invalid):
            return result


def good(bench: SurfaceBench, seen: Observation) -> bool:
    """Whether one run's percentiles keep the SLO: no intervals."""
    slo = bench.surface.problem.slo or {}
    if seen.load.kind == "rate" and slo and seen.requests_per_s < 0.9 * seen.load.value:
        return False
    if any(name not in OBSERVED for name in slo) and seen.held == "no":
        return False  # what an observation has no figure for, it has judged
    return all((getattr(seen, name, None) or 0.0) <= limit for name, limit in slo.items())


def auto_tune(truth: Truth, seed: int) -> Told:
    """benchmarks/auto_tune/auto_tune.sh of vLLM: a grid over sequences and token budgets.

    The highest utilization that starts; one run at an infinite rate; where its latency is too
    high, lower by 1 request/s until it is not, 100 prompts each. Everything else stays.
    """
    bench = SurfaceBench(truth.surface, seed, truth)
    told = Told()
    best = Best(told)
    parameters = {p.name: p for p in truth.surface.problem.parameters}
    fixed: dict[str, Value] = {}
    seqs, tokens = (parameters.get(n) for n in ("max_num_seqs", "max_num_batched_tokens"))
    grid = [p for p in (seqs, tokens) if p is not None]
    if "gpu_memory_utilization" in parameters:
        values = sorted(parameters["gpu_memory_utilization"].values, reverse=True)
        for value in values:
            fixed = {"gpu_memory_utilization": value}
            top = {**fixed, **{p.name: p.values[-1] for p in grid}}
            if not isinstance(bench.start(_of(truth, top)), Failure):
                break
    for chosen in itertools.product(*(p.values for p in grid)):
        settings = {**fixed, **dict(zip((p.name for p in grid), chosen, strict=True))}
        configuration = _of(truth, settings)
        if not isinstance(bench.start(configuration), Failure):
            best.take(bench, configuration, _auto_tune_run(truth, bench, configuration))
    return _end(told, bench)


def _auto_tune_run(truth: Truth, bench: SurfaceBench, configuration: Configuration) -> float:
    means = truth.surface.problem
    problem = truth.problem(0)
    curve = truth.curve(configuration)
    assert curve is not None
    if means.goal == "latency":
        seen = measure(bench, problem.first, _PROMPTS / means.first.value)
        return 0.0 if isinstance(seen, Failure) else measures.worth(problem, seen)
    users = means.first.kind == "users"
    everything = 2048.0 if users else curve.capacity * 20
    seen = measure(bench, Load(means.first.kind, everything), _FIRST_PROMPTS / curve.capacity)
    if isinstance(seen, Failure):
        return 0.0
    if good(bench, seen):
        return measures.worth(problem, seen)
    load = everything * 0.8 if users else float(int(seen.requests_per_s) + 1)
    while load >= 1:
        bench.clock_s += _SLEEP_S
        rate = load if not users else curve.at(load)["requests_per_s"] or 1.0
        seen = measure(bench, Load(means.first.kind, float(int(load))), _PROMPTS / rate)
        if isinstance(seen, Failure):
            return 0.0
        if good(bench, seen):
            return measures.worth(problem, seen)
        load = load * 0.8 if users else load - 1
    return 0.0


def trial(truth: Truth, bench: SurfaceBench, configuration: Configuration) -> float:
    """A trial of fixed length: doubling, then bisection; the best load at which one run was good.
    A failure scores 0, as the wrappers have it."""
    means, problem = truth.surface.problem, truth.problem(0)
    if isinstance(bench.start(configuration), Failure):
        return 0.0
    load, low, high, best = first_load(truth), 0.0, math.inf, 0.0
    if means.goal == "latency":
        seen = measure(bench, problem.first, WINDOW_S)
        return 0.0 if isinstance(seen, Failure) else measures.worth(problem, seen)
    for _ in range(LOOKS):
        seen = measure(bench, measures.at(problem.first, load), WINDOW_S / LOOKS)
        if isinstance(seen, Failure):
            return 0.0
        if good(bench, seen):
            low, best = max(low, load), max(best, measures.worth(problem, seen))
        else:
            high = min(high, load)
        load = load * 2 if math.isinf(high) else (low + high) / 2
    return best


def first_load(truth: Truth) -> float:
    """Where a trial begins: half of what the plan expects, as ours does; else `first`."""
    means = truth.surface.problem
    tokens = truth.prior(BASELINE).decode_tokens_s
    if means.first.kind == "users" or not tokens:
        return means.first.value
    return max(means.first.value, tokens / means.output_tokens / 2)


def random_search(truth: Truth, seed: int) -> Told:
    """Configurations drawn at random, without repeats; the baseline first."""
    points = [Configuration.of(p.settings) for p in truth.surface.points]
    points = [_of(truth, c.settings) for c in points]
    rest = [c for c in points if c != BASELINE and truth.refused(c) is None]
    random.Random(seed).shuffle(rest)
    return _trials(truth, seed, iter([BASELINE, *rest]), lambda c, score: None)


def tpe(truth: Truth, seed: int) -> Told:
    """Optuna's TPE with 50 trials, the baseline first; a failed trial scores 0."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    parameters = truth.surface.problem.parameters
    known = {p.name: p.values.index(p.current) for p in parameters if p.current in p.values}
    study.enqueue_trial(known)
    asked: list[optuna.trial.Trial] = []

    def draws() -> Iterator[Configuration]:
        while True:
            asked.append(study.ask())
            yield _of(
                truth,
                {
                    p.name: p.values[asked[-1].suggest_int(p.name, 0, len(p.values) - 1)]
                    for p in parameters
                },
            )

    return _trials(truth, seed, draws(), lambda c, score: study.tell(asked[-1], score))


def _trials(
    truth: Truth,
    seed: int,
    draws: Iterator[Configuration],
    tell: Callable[[Configuration, float], object],
) -> Told:
    bench = SurfaceBench(truth.surface, seed, truth)
    told = Told()
    best = Best(told)
    for configuration in itertools.islice(draws, TRIALS):
        score = trial(truth, bench, configuration)
        best.take(bench, configuration, score)
        tell(configuration, score)
    return _end(told, bench)


def _of(truth: Truth, settings: dict[str, Value]) -> Configuration:
    current = {p.name: p.current for p in truth.surface.problem.parameters}
    return Configuration.of({k: v for k, v in settings.items() if v != current[k]})


def _end(told: Told, bench: SurfaceBench) -> Told:
    last = told.named[-1][1] if told.named else BASELINE
    told.winner = last if last != BASELINE else None
    told.verdict = "winner" if told.winner is not None else "baseline_best"
    told.total_s, told.starts = bench.clock_s, bench.starts
    return told
