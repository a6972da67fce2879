"""The trials of a study in their order, as far as the plan can foresee them."""

from datetime import UTC, datetime
from typing import Any

from deployctl.operations.tune import inputs as studyinputs
from deployctl.operations.tune.request import TuneRequest
from deployctl.spec import ServiceSpec
from deployctl.tuning import search
from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Load,
    Observation,
    Prior,
    Problem,
    Start,
    Started,
    Strategy,
)

_MOST_STEPS = 2000  # a search that asks for more than this would never end
DOCUMENT_VERSION = 1
_START_S = 60.0
# Where the plan has no figure: a small model on a CPU.
_DECODE_TOKENS_S = 300.0
_EDGE_S = 6.0  # ramp, warm-up and end of a measurement
_KNEE = 0.8  # of what an engine can do, up to which an SLO is taken to hold
_SLOW_S = 1.0


def dry_run(spec: ServiceSpec, request: TuneRequest) -> dict[str, Any]:
    """Drives the search with what the plan expects, and returns the JSON answer. Starts nothing.

    Raises:
        InputError: a value of the request makes no sense.
        PlanRefusedError: the service does not fit.
    """
    inputs = studyinputs.new(spec, request, datetime.now(UTC))
    problem, header = inputs.problem, inputs.header
    strategy = search.strategy(problem)
    trials, spent = _trials(problem, strategy)
    answer = strategy.answer()
    return {
        "version": DOCUMENT_VERSION,
        "dry_run": True,
        "service": header.service,
        "target": header.spec.target,
        "objective": header.goal,
        "slo": header.slo,
        "seed": header.seed,
        "budget_minutes": round(header.budget_s / 60, 2),
        "server_minutes": round(spent / 60, 2),
        "space": {
            p.name: {"values": list(p.values), "current": p.current} for p in header.parameters
        },
        "baseline_args": list(inputs.plans.plan(Configuration()).engine.args),
        "trials": trials,
        "refused": [
            {"settings": c.settings, "reason": f.reason}
            for c, f in answer.failures
            if f.kind == "refused_by_plan"
        ],
        "notes": list(inputs.notes),
    }


def _trials(problem: Problem, strategy: Strategy) -> tuple[list[dict[str, Any]], float]:
    """The trials in their order, and the server seconds that they would take."""
    bench = PredictedBench(problem)
    trials: list[dict[str, Any]] = []
    spent = 0.0
    for _ in range(_MOST_STEPS):
        step = strategy.ask()
        if step is None:
            break
        if isinstance(step, Start):
            result = bench.start(step.configuration)
            spent += result.spent_s if isinstance(result, Failure) else result.seconds
            prior = problem.prior(step.configuration)
            trials.append(
                {
                    "trial": len(trials) + 1,
                    "settings": step.configuration.settings,
                    "phase": step.phase,
                    "why": step.why,
                    "concurrency": prior.concurrency and round(prior.concurrency, 1),
                    "loads": [],
                }
            )
            strategy.tell(step, result)
            continue
        seen = bench.measure(step.load, step.seconds, 0)
        spent += seen.spent_s
        load = {"load": str(step.load), "seconds": step.seconds, "phase": step.phase}
        trials[-1]["loads"].append({**load, "why": step.why})
        strategy.tell(step, seen)
    return trials, spent


class PredictedBench:
    """A bench on the prior. Its figures are the plan's, and the order of trials follows them."""

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._prior = Prior()

    def start(self, configuration: Configuration) -> Started | Failure:
        """Started as soon as the plan expects, or refused by it."""
        if (refused := self._problem.refused(configuration)) is not None:
            return refused
        self._prior = self._problem.prior(configuration)
        return Started(self._prior.startup_s or _START_S)

    def measure(self, load: Load, seconds: float, seed: int) -> Observation:
        """What the roofline allows at this load: what a search asks of it, no more."""
        del seed
        tokens = self._problem.output_tokens
        most = (self._prior.decode_tokens_s or _DECODE_TOKENS_S) / tokens  # requests a second
        alone = _SLOW_S
        if load.kind == "users":
            rate = min(load.value / alone, most)
            share = load.value / alone / most
        else:
            rate, share = min(load.value, most), load.value / most
        held = share <= _KNEE or not self._problem.has_slo
        late = alone * max(1.0, share)
        good = rate if held else rate * _KNEE / share
        return Observation(
            load=load,
            seconds=seconds,
            spent_s=seconds + _EDGE_S,
            held="yes" if held else "no",
            requests_per_s=rate,
            output_tokens_per_s=rate * tokens,
            goodput_per_s=good,
            goodput_low=good * 0.95,
            goodput_high=good * 1.05,
            ok=max(1, int(rate * seconds)),
            failed=0,
            incomplete=0,
            e2e_p50_s=late,
            e2e_p95_s=1.2 * late,
        )

    def stop(self) -> None:
        """Nothing runs."""
