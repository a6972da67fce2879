"""The trials of a study in their order, as far as the plan can foresee them."""

from datetime import UTC, datetime
from typing import Any

from deployctl.operations.tune import inputs as studyinputs
from deployctl.operations.tune.request import TuneRequest
from deployctl.spec import ServiceSpec
from deployctl.tuning import search
from deployctl.tuning.bench import Strategy
from deployctl.tuning.predicted import PredictedBench
from deployctl.tuning.problem import Problem
from deployctl.tuning.trial import Configuration, Failure, Start

_MOST_STEPS = 2000  # a search that asks for more than this would never end
DOCUMENT_VERSION = 1


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
        "baseline_args": list(inputs.planned.plan(Configuration()).engine.args),
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
