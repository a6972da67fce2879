"""Begins a study, or resumes one, and runs it to its answer."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from deployctl import host
from deployctl.doctor import machine
from deployctl.errors import InputError, NotFoundError
from deployctl.events import Event, Tell, silent
from deployctl.load.run import run
from deployctl.operations import upload
from deployctl.operations.announce.announcer import Announcer
from deployctl.operations.bundle import ChartOptions, render_alone
from deployctl.operations.deploy.services import open_store
from deployctl.operations.fetch import bring
from deployctl.operations.metricsport import place, shown
from deployctl.operations.prepare import Prepared
from deployctl.operations.tune import inputs as studyinputs
from deployctl.operations.tune import request as asked
from deployctl.operations.tune.answer import TuneOutcome, conclude, moved
from deployctl.operations.tune.inputs import StudyInputs, check_not_running, fingerprint
from deployctl.operations.tune.live import LiveStudy
from deployctl.operations.tune.progress import StudyProgress
from deployctl.operations.tune.request import TuneRequest
from deployctl.operations.tune.trials import Trials
from deployctl.spec import ServiceSpec
from deployctl.targets.guards import interruptible, shielded
from deployctl.tuning import enginebench, search
from deployctl.tuning import study as studies
from deployctl.tuning.events import Finished, StudyEvent
from deployctl.tuning.runner import Begun, Runner
from deployctl.tuning.study import Header, Study
from deployctl.tuning.trial import Answer

STUDIES = "studies"
WRITING = "writing the answer"


def begin(
    spec: ServiceSpec,
    request: TuneRequest,
    *,
    folder: Path | None = None,
    metrics: str | None = None,
    tell: Tell = silent,
) -> TuneOutcome:
    """A new study, in a folder of its own below `studies/` unless one is named. `metrics`: where
    its figures are shown to Prometheus while it runs, [ADDRESS:]PORT.

    An interrupted one has an outcome as well: `TuneOutcome.enforce` raises what it means.

    Raises:
        InputError: a value of the request makes no sense, or the folder has a study.
        PlanRefusedError: the service does not fit.
        TargetError: the service is running, no engine can run at all, the disk is full.
    """
    if metrics is not None:
        place(metrics)  # before anybody is asked for a checkpoint
    now = datetime.now(UTC)
    inputs = studyinputs.new(spec, request, now)
    service = inputs.header.service
    check_not_running(inputs.header.spec, tell)
    where = folder or Path(STUDIES) / f"{service}-{now:%Y%m%dT%H%M%SZ}"
    live = LiveStudy(inputs.header)
    with shown(metrics, live, tell), studies.held(where):
        return _to_the_end(studies.create(where, inputs.header), inputs, live, tell)


def resume(
    spec: ServiceSpec | None,
    request: TuneRequest,
    *,
    folder: Path | None = None,
    other_setup: bool = False,
    metrics: str | None = None,
    tell: Tell = silent,
) -> TuneOutcome:
    """Resumes a study, or gives the answer that it had: by default the newest.

    `spec` and `request` may say again what it is about; `other_setup` resumes it though they, or
    this machine, say otherwise; `metrics` is as for `begin`.

    Raises:
        NotFoundError: there is none.
        InputError: it is about something else.
        Otherwise as `begin`.
    """
    where = folder or newest(Path(STUDIES), spec.service if spec else None)
    studies.opened(where)  # that it is there, before a lock is made beside it
    with studies.held(where):
        study = studies.opened(where)
        inputs = studyinputs.again(study.header)
        other = study.header.fingerprint.differences(fingerprint(inputs.plans, inputs.baseline))
        other += differences(study.header, spec, request)
        if other and not other_setup:
            raise InputError(
                f"the study is about something else: {'; '.join(other)}",
                where=str(study.file),
                hint="begin a new one without --resume; or resume it as it is, and mix what was "
                "measured there and here: --allow-other-setup",
            )
        for line in other:
            tell(Event("warning", line))
        ended = next((e for e in study.events if isinstance(e, Finished)), None)
        if ended is not None:
            tell(Event("heading", f"{where} has ended; this was its answer"))
            return TuneOutcome(moved(ended.answer, where), None)
        check_not_running(study.header.spec, tell)
        live = LiveStudy(study.header)
        with shown(metrics, live, tell):
            return _to_the_end(study, inputs, live, tell)


def _to_the_end(study: Study, inputs: StudyInputs, live: LiveStudy, tell: Tell) -> TuneOutcome:
    """Runs until the search is over, or to a Ctrl-C; writes the answer either way."""
    with interruptible():
        answer = _search(study, inputs, live, tell)
    with shielded(lambda: tell(Event("heading", WRITING))):
        outcome = conclude(study, inputs, answer, tell)
        if answer.verdict == "interrupted":
            tell(Event("heading", "everything that was measured is kept"))
        else:
            study.record(Finished(outcome.document))
    return outcome


def _search(study: Study, inputs: StudyInputs, live: LiveStudy, tell: Tell) -> Answer:
    header, settings = study.header, open_store(study.header.spec)[0]
    for note in inputs.notes:
        tell(Event("heading", f"note: {note}"))
    strategy = search.strategy(inputs.problem)
    # No start is waited for longer than the whole search may take.
    longest_s = header.spec.startup_timeout or inputs.baseline.startup_budget_s
    longest_s = min(longest_s, max(60, int(header.budget_s)))
    base = inputs.plans.base.model_copy(update={"startup_timeout": longest_s})
    target = inputs.plans.target
    sent, taken = upload.digest_there(target, inputs.baseline, tell), machine.of(target).ports
    bench = enginebench.EngineBench(
        replace(inputs.plans, base=base, checkpoint=sent),
        port=None if taken is None else host.free_port(header.spec.port, taken=taken),
        setup=inputs.setup,
        slo=inputs.slo,
        folder=study.folder,
        settings=settings,
        bring=partial(bring, tell=tell),
        environment=_environment(inputs, tell)._replace(measure=partial(run, tell=live.load)),
    )
    under = f" under {header.slo}" if header.slo else ""
    text = f"{header.service}: {header.goal}{under} on {inputs.baseline.gpu}"
    tell(Event("heading", f"{text}, target {header.spec.target}; study {study.folder}"))
    with bench:
        progress = StudyProgress(header.goal, strategy, tell)
        trials = Trials(header.service, header.goal, Announcer(settings, tell).happened)

        def told(event: Begun | StudyEvent) -> None:
            live(event)
            progress(event)
            trials(event)

        runner = Runner(study, strategy, bench, told)
        runner.replay()
        progress.replayed(study.done)
        live.follow(study, strategy)
        try:
            return runner.run()
        finally:
            trials.end()


def _environment(inputs: StudyInputs, tell: Tell) -> enginebench.Environment:
    """The real things; on a cluster an engine is rendered as one that is tried by itself."""
    plans, header = inputs.plans, inputs.header
    if plans.target != "kubernetes":
        return enginebench.Environment()
    prepared = Prepared(plans.base, plans.facts, plans.profile, inputs.baseline)
    options = upload.for_a_folder(prepared, ChartOptions(overrides=header.values), tell)
    return enginebench.Environment(
        render=lambda _, plan, spec: render_alone(prepared, options, plan, spec, cached=True),
        tell=tell,
    )


def newest(folder: Path, service: str | None) -> Path:
    """The study that was begun last, of one service or of any.

    Raises:
        NotFoundError: there is none.
    """
    folders = [
        path.parent
        for path in folder.glob(f"*-*/{studies.FILE}")
        if service in (None, path.parent.name.rpartition("-")[0])
    ]
    if not folders:
        raise NotFoundError(
            "there is no study to resume" + (f" for {service}" if service else ""),
            where=str(folder.absolute()),
            hint="give --study DIR, or start one without --resume",
        )
    return max(folders, key=lambda path: path.name.rpartition("-")[2])


def differences(header: Header, spec: ServiceSpec | None, request: TuneRequest) -> list[str]:
    """What is asked for otherwise than the study that is to be resumed has it."""
    had, given = _request(header), request.model_dump(exclude_none=True)
    if spec is not None:
        whole = TuneRequest(**{**had.model_dump(), **given})
        now = studyinputs.new(spec, whole, datetime.fromisoformat(header.created)).header
        if request.space is None:
            now = replace(now, parameters=header.parameters)
        if request.values is None:
            now = replace(now, values=header.values)
        return header.differences(now)
    changes: list[str] = []
    for name, value in given.items():
        if name in ("space", "values"):
            changes.append(f"--{name}: a study keeps its own")
            continue
        read, was = _READ.get(name, lambda value: value), getattr(had, name)
        was, is_now = None if was is None else read(was), read(value)
        if is_now != was:
            changes.append(f"--{name.replace('_', '-')}: {was}, now {is_now}")
    return changes


_READ: dict[str, Callable[[Any], Any]] = {
    "slo": lambda text: text.replace(" ", ""),
    "budget": asked.budget,
    "workload": asked.absolute,
    "load": asked.load,
}


def _request(header: Header) -> TuneRequest:
    """The request that asks for what a study is about."""
    return TuneRequest(
        objective=header.goal,
        slo=header.slo,
        budget=f"{header.budget_s}",
        max_trials=header.max_trials,
        load=f"{header.first.kind}={header.first.value!r}",
        workload=header.traffic.workload,
        input_tokens=header.traffic.input_tokens,
        output_tokens=header.traffic.output_tokens,
        api=header.traffic.api,
        seed=header.seed,
    )
