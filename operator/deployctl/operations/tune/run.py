"""Runs a study, new or begun before, to its answer."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from deployctl.events import Event, Tell, silent
from deployctl.operations.tune import inputs as studyinputs
from deployctl.operations.tune.answer import TuneOutcome, conclude
from deployctl.operations.tune.host import check_not_running
from deployctl.operations.tune.inputs import StudyInputs
from deployctl.operations.tune.progress import StudyProgress
from deployctl.operations.tune.request import TuneRequest
from deployctl.spec import ServiceSpec, Settings
from deployctl.targets.guards import interruptible, shielded
from deployctl.tuning import enginebench, search
from deployctl.tuning import study as studies
from deployctl.tuning.bench import Answer
from deployctl.tuning.events import Finished
from deployctl.tuning.runner import Runner
from deployctl.tuning.study import Study

STUDIES = "studies"
WRITING = "the answer is being written; a moment"


def begin(
    spec: ServiceSpec, request: TuneRequest, *, folder: Path | None = None, tell: Tell = silent
) -> TuneOutcome:
    """A new study, in a folder of its own below `studies/` unless one is named.

    An interrupted one has an outcome as well: `TuneOutcome.enforce` raises what it means.

    Raises:
        InputError: a value of the request makes no sense, or the folder has a study.
        PlanRefusedError: the service does not fit.
        TargetError: the service is running, no engine can run at all, the disk is full.
    """
    now = datetime.now(UTC)
    inputs = studyinputs.new(spec, request, now)
    service = inputs.header.service
    check_not_running(service, tell)
    where = folder or Path(STUDIES) / f"{service}-{now:%Y%m%dT%H%M%SZ}"
    with studies.held(where):
        return to_the_end(studies.create(where, inputs.header), inputs, tell)


def to_the_end(study: Study, inputs: StudyInputs, tell: Tell) -> TuneOutcome:
    """Runs until the search is over, or to a Ctrl-C; writes the answer either way."""
    with interruptible():
        answer = _search(study, inputs, tell)
    with shielded(lambda: tell(Event("heading", WRITING))):
        outcome = conclude(study, inputs, answer, tell)
        if answer.verdict == "interrupted":
            tell(Event("heading", "everything that was measured is kept"))
        else:
            study.record(Finished(outcome.document))
    return outcome


def _search(study: Study, inputs: StudyInputs, tell: Tell) -> Answer:
    header = study.header
    for note in inputs.notes:
        tell(Event("heading", f"note: {note}"))
    strategy = search.strategy(inputs.problem)
    # No start is waited for longer than the whole search may take.
    longest_s = header.spec.startup_timeout or inputs.baseline.startup_budget_s
    longest_s = min(longest_s, max(60, int(header.budget_s)))
    base = inputs.plans.base.model_copy(update={"startup_timeout": longest_s})
    bench = enginebench.EngineBench(
        replace(inputs.plans, base=base),
        setup=inputs.setup,
        slo=inputs.slo,
        folder=study.folder,
        settings=Settings(),
    )
    under = f" under {header.slo}" if header.slo else ""
    text = f"{header.service}: {header.goal}{under} on {inputs.baseline.gpu}"
    tell(Event("heading", f"{text}, target {header.spec.target}; study {study.folder}"))
    with bench:
        progress = StudyProgress(header.goal, strategy, tell)
        runner = Runner(study, strategy, bench, progress)
        runner.replay()
        progress.replayed(study.done)
        return runner.run()
