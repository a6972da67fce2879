"""How a study ends: the JSON answer, the recommendation, the reports, and the error it is."""

from pathlib import Path
from typing import Any, NamedTuple

from deployctl.errors import EngineError, InterruptedByUserError, SloMissedError
from deployctl.events import Tell
from deployctl.files import write_text
from deployctl.operations.measure.reports import job_summary, kept_in
from deployctl.operations.tune.inputs import StudyInputs
from deployctl.tuning import overlay, report
from deployctl.tuning.events import Done, Restarted
from deployctl.tuning.recommendation import FILE, Measured, Recommendation
from deployctl.tuning.report.view import StudyView, study_view
from deployctl.tuning.study import Study
from deployctl.tuning.trial import Answer, Configuration, Failure

DOCUMENT_VERSION = 1
REPORT, SUMMARY = "report.html", "summary.md"
_UNITS = {
    "goodput": "requests/s",
    "throughput": "tokens/s",
    "latency": "s",
    "cost": "USD per million output tokens",
}


class TuneOutcome(NamedTuple):
    """What a study came to. Recommendation and reports are where the document says."""

    document: dict[str, Any]  # the JSON answer
    view: StudyView | None  # what the reports show; None of a study that had ended before

    def enforce(self) -> None:
        """Raises what the answer means for whoever asked for settings that serve.

        Raises:
            InterruptedByUserError: Ctrl-C.
            SloMissedError: nothing that was measured holds the SLO.
            EngineError: no engine came up.
        """
        verdict, study, why = (self.document[key] for key in ("verdict", "study", "why"))
        if verdict == "interrupted":
            raise InterruptedByUserError(
                "interrupted", hint=f"deployctl tune --resume --study {study} goes on"
            )
        if verdict != "nothing_feasible":
            return
        trials = self.document["trials"]
        if trials["run"] and trials["failed"] >= trials["run"]:
            report, service = self.document["report"], self.document["service"]
            raise EngineError(
                f"no configuration could be measured: {why}",
                where=study,
                hint=f"the reasons are in {report}; deployctl logs {service}-tune shows the last "
                "engine's",
            )
        raise SloMissedError(
            f"no configuration meets the SLO: {why}",
            where=study,
            hint="relax the SLO (--slo) or use more hardware; deployctl plan --compare helps",
        )


def conclude(study: Study, inputs: StudyInputs, answer: Answer, tell: Tell) -> TuneOutcome:
    """Writes recommendation and reports into the study's folder.

    Raises:
        StateError: they cannot be written; the study itself is whole.
    """
    evidence = measured(study, inputs, answer)
    kept = {name: getattr(study.header.spec, name) for name in study.header.chosen}
    recommendation = Recommendation.from_answer(answer, evidence, kept)
    recommendation.write(study.folder / FILE)
    view = study_view(
        answer,
        [(done.step, done.result) for done in study.done],
        evidence,
        inputs.problem,
        title=study.header.service,
    )
    markdown = report.markdown(view)
    write_text(study.folder / REPORT, report.html(view))
    write_text(study.folder / SUMMARY, markdown)
    job_summary(markdown, tell, whole=kept_in(study.folder / SUMMARY))
    return TuneOutcome(document(study, answer, recommendation), view)


def moved(told: dict[str, Any], folder: Path) -> dict[str, Any]:
    """An answer given before, with the paths that it has now."""
    return {**told, **_paths(folder)}


def _paths(folder: Path) -> dict[str, str]:
    paths = {"study": folder, "recommendation": folder / FILE, "report": folder / REPORT}
    return {name: str(path) for name, path in paths.items()}


def document(study: Study, answer: Answer, recommendation: Recommendation) -> dict[str, Any]:
    """The JSON answer."""
    header = study.header
    done = [event for event in study.events if isinstance(event, Done | Restarted)]
    failed = {event.trial for event in done if isinstance(event.result, Failure)}
    skipped = sum(failure.kind == "refused_by_plan" for _, failure in answer.failures)
    told = recommendation.model_dump(mode="json")
    if told["baseline"] is not None:  # with what the service has of each setting
        own = {p.name: p.current for p in header.parameters if p.current is not None}
        told["baseline"]["settings"] = {**own, **told["baseline"]["settings"]}
    return {
        "version": DOCUMENT_VERSION,
        "service": header.service,
        "target": header.spec.target,
        "objective": header.goal,
        "unit": _UNITS[header.goal],
        "slo": header.slo,
        **{name: told[name] for name in ("verdict", "why", "baseline", "winner", "improvement")},
        "trials": {"run": study.trials, "failed": len(failed), "skipped": skipped},
        "server_minutes": round(study.server_s / 60, 2),
        "budget_minutes": round(header.budget_s / 60, 2),
        "seed": header.seed,
        "notes": told["notes"],
        **_paths(study.folder),
    }


def measured(study: Study, inputs: StudyInputs, answer: Answer) -> Measured:
    """What a recommendation says of where it comes from."""
    header = study.header
    best = answer.winner.configuration if answer.winner else Configuration()
    plan = inputs.plans.plan(best)
    return Measured(
        objective=header.goal,
        slo=header.slo,
        model=plan.model,
        model_digest=overlay.model_digest(inputs.plans.facts),
        revision=plan.revision,
        engine_version=plan.engine.version,
        target=inputs.plans.target,
        hardware=header.fingerprint.hardware,
        args=plan.engine.args,
        workload=header.traffic.workload,
        seed=header.seed,
        study=study.folder.name,
        date=header.created,
        server_minutes=round(study.server_s / 60, 2),
    )
