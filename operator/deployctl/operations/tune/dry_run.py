"""`deployctl tune --dry-run`: the trials in their order, as far as the plan can foresee them."""

from typing import TYPE_CHECKING, Any

from deployctl.cli.console import out
from deployctl.units import duration

if TYPE_CHECKING:
    from deployctl.operations.tune.setup import Material
    from deployctl.tuning.bench import Strategy

_MOST_STEPS = 2000  # a search that asks for more than this would never end
DOCUMENT_VERSION = 1


def foresee(material: "Material", strategy: "Strategy") -> dict[str, Any]:
    """Drives the search with what the plan expects, and returns the document. Starts nothing."""
    from deployctl.tuning.predicted import PredictedBench
    from deployctl.tuning.trial import Configuration, Failure, Start

    problem, header = material.problem, material.header
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
        "baseline_args": list(material.planned.plan(Configuration()).engine.args),
        "trials": trials,
        "refused": [
            {"settings": c.settings, "reason": f.reason}
            for c, f in answer.failures
            if f.kind == "refused_by_plan"
        ],
        "notes": list(material.notes),
    }


def show(document: dict[str, Any]) -> None:
    """The same for a person."""
    slo = f" under {document['slo']}" if document["slo"] else ""
    out.print(f"{document['service']}: {document['objective']}{slo}, nothing is started\n")
    for name, entry in document["space"].items():
        values = ", ".join(str(v) for v in entry["values"])
        now = "" if entry["current"] is None else f" (now {entry['current']})"
        out.print(f"  {name}: {values}{now}")
    out.print()
    for trial in document["trials"]:
        loads = ", ".join(load["load"] for load in trial["loads"]) or "none"
        out.print(f"trial {trial['trial']}: {_named(trial['settings'])}", style="bold")
        out.print(f"  {trial['phase']}: {trial['why']}")
        out.print(f"  loads: {loads}")
    for refused in document["refused"]:
        out.print(f"never started: {_named(refused['settings'])}: {refused['reason']}")
    minutes = duration(60 * document["server_minutes"])
    out.print(
        f"\nAbout {minutes} of the server, of {duration(60 * document['budget_minutes'])} allowed. "
        "What is measured decides how it really goes on: this is what the plan expects."
    )
    for note in document["notes"]:
        out.print(f"note: {note}")


def _named(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in settings.items()) or "baseline"
