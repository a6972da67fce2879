"""How a study ends: the JSON answer, the recommendation, the report, and the exit code."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployctl.cli.console import out, story
from deployctl.errors import EngineError, InterruptedByUserError, SloMissedError, StateError

if TYPE_CHECKING:
    from deployctl.operations.tune.setup import Material
    from deployctl.reports.tuning_view import StudyView
    from deployctl.tuning.bench import Answer, Standing
    from deployctl.tuning.problem import Parameter
    from deployctl.tuning.recommendation import Measured
    from deployctl.tuning.study import Study

DOCUMENT_VERSION = 1
REPORT, SUMMARY = "report.html", "summary.md"
_UNITS = {
    "goodput": "requests/s",
    "throughput": "tokens/s",
    "latency": "s",
    "cost": "USD per million output tokens",
}


def conclude(study: "Study", material: "Material", answer: "Answer") -> dict[str, Any]:
    """Writes recommendation and report into the study's folder, and returns the document.

    Raises:
        StateError: they cannot be written; the study itself is whole.
    """
    from deployctl.operations.measure.gate import job_summary
    from deployctl.reports import tuning_html, tuning_markdown
    from deployctl.tuning.recommendation import FILE, Recommendation

    found = measured(study, material, answer)
    Recommendation.from_answer(answer, found).write(study.folder / FILE)
    seen = view(study, answer, found)
    markdown = tuning_markdown.render(seen)
    _write(study.folder / REPORT, tuning_html.render(seen))
    _write(study.folder / SUMMARY, markdown)
    job_summary(markdown)
    return document(study, answer, study.folder / FILE)


def moved(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An answer given before, with the paths that it has now."""
    from deployctl.tuning.recommendation import FILE

    now = {"study": folder, "recommendation": folder / FILE, "report": folder / REPORT}
    return {**told, **{name: str(path) for name, path in now.items()}}


def document(study: "Study", answer: "Answer", recommendation: Path) -> dict[str, Any]:
    """The JSON answer."""
    from deployctl.tuning.events import Done, Restarted
    from deployctl.tuning.trial import Failure

    header = study.header
    done = [event for event in study.events if isinstance(event, Done | Restarted)]
    failed = {event.trial for event in done if isinstance(event.result, Failure)}
    skipped = sum(failure.kind == "refused_by_plan" for _, failure in answer.failures)
    ratio = answer.improvement
    return {
        "version": DOCUMENT_VERSION,
        "service": header.service,
        "target": header.spec.target,
        "objective": header.goal,
        "unit": _UNITS[header.goal],
        "slo": header.slo,
        "verdict": answer.verdict,
        "why": answer.why,
        "baseline": _standing(answer.baseline, header.parameters),
        "winner": _standing(answer.winner, ()),
        "improvement": {"ratio": ratio[0], "interval": list(ratio[1:])} if ratio else None,
        "trials": {"run": study.trials, "failed": len(failed), "skipped": skipped},
        "server_minutes": round(study.server_s / 60, 2),
        "budget_minutes": round(header.budget_s / 60, 2),
        "seed": header.seed,
        "notes": list(answer.notes),
        "study": str(study.folder),
        "recommendation": str(recommendation),
        "report": str(study.folder / REPORT),
    }


def _standing(
    standing: "Standing | None", parameters: "tuple[Parameter, ...]"
) -> dict[str, Any] | None:
    """A configuration's figures; of the baseline, with what the service has of each setting."""
    if standing is None:
        return None
    own = {p.name: p.current for p in parameters if p.current is not None}
    known = standing.low is not None and standing.high is not None
    return {
        "settings": {**own, **standing.configuration.settings},
        "objective": standing.objective,
        "interval": [standing.low, standing.high] if known else None,
        "slo_met": standing.slo_met,
        "load": str(standing.load) if standing.load else None,
    }


def measured(study: "Study", material: "Material", answer: "Answer") -> "Measured":
    """What a recommendation says of where it comes from."""
    from deployctl.tuning import overlay
    from deployctl.tuning.recommendation import Measured
    from deployctl.tuning.trial import Configuration

    header = study.header
    best = answer.winner.configuration if answer.winner else Configuration()
    plan = material.planned.plan(best)
    return Measured(
        objective=header.goal,
        slo=header.slo,
        model=plan.model,
        model_digest=overlay.model_digest(material.facts),
        revision=plan.revision,
        engine_version=plan.engine.version,
        target=header.spec.target or "process",
        hardware=header.fingerprint.hardware,
        args=plan.engine.args,
        workload=header.traffic.workload,
        seed=header.seed,
        study=study.folder.name,
        date=header.created,
        server_minutes=round(study.server_s / 60, 2),
    )


def view(study: "Study", answer: "Answer", found: "Measured") -> "StudyView":
    """What the reports show."""
    from deployctl.tuning.view import study_view

    header = study.header
    return study_view(
        answer,
        [(done.step, done.result) for done in study.done],
        found,
        title=header.service,
        parameters=header.parameters,
        budget_s=header.budget_s,
        usd_per_hour=header.usd_per_hour,
    )


def show(study: "Study", material: "Material", answer: "Answer", told: dict[str, Any]) -> None:
    """The answer for a person, on stdout."""
    from deployctl.reports import tuning_terminal

    for renderable in tuning_terminal.render(
        view(study, answer, measured(study, material, answer))
    ):
        out.print(renderable)
    out.print(f"\nReport     {told['report']}")
    out.print(f"Study      {told['study']}")
    out.print(f"Settings   {told['recommendation']}")
    if answer.verdict == "winner":
        out.print(f"Use them   deployctl up … --tuned {told['recommendation']}")


def show_again(told: dict[str, Any]) -> None:
    """The answer of a study that had ended before."""
    out.print(f"{told['verdict'].replace('_', ' ')}: {told['why']}")
    for name in ("report", "study", "recommendation"):
        out.print(f"{name.capitalize():<15} {told[name]}")


def enforce(told: dict[str, Any]) -> None:
    """Ends with the exit code that the answer has.

    Raises:
        InterruptedByUserError: Ctrl-C.
        SloMissedError: nothing that was measured holds the SLO.
        EngineError: no engine came up.
    """
    verdict, study = told["verdict"], told["study"]
    if verdict == "interrupted":
        story("everything that was measured is kept")
        raise InterruptedByUserError(
            "interrupted", hint=f"deployctl tune --resume --study {study} goes on"
        )
    if verdict != "nothing_feasible":
        return
    trials = told["trials"]
    if trials["run"] and trials["failed"] >= trials["run"]:
        raise EngineError(
            f"no configuration could be measured: {told['why']}",
            where=study,
            hint=f"the reasons are in {told['report']}; deployctl logs {told['service']}-tune "
            "shows the last engine's",
        )
    raise SloMissedError(
        f"nothing that was tried holds the SLO: {told['why']}",
        where=study,
        hint="ask for less (--slo), or for more hardware; deployctl plan --compare helps",
    )


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"the report could not be written: {error.strerror}", where=str(path)
        ) from error
