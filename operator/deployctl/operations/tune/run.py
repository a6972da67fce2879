"""Begins a study, or goes on with one, to its answer."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.cli.console import Output, answer_json, story
from deployctl.errors import InputError, NotFoundError
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from deployctl.operations.tune.request import Wishes
    from deployctl.operations.tune.setup import Material
    from deployctl.tuning.bench import Answer
    from deployctl.tuning.study import Study

STUDIES = "studies"


def begin(
    spec: ServiceSpec, wishes: "Wishes", folder: Path | None, output: Output, *, dry_run: bool
) -> None:
    """A new study; with `dry_run`, what it would do.

    Raises:
        InputError: a flag makes no sense.
        PlanRefusedError: the service does not fit.
        TargetError: no engine came up, the service is running, the disk is full.
        SloMissedError: nothing holds the SLO.
        InterruptedByUserError: Ctrl-C.
    """
    from deployctl.operations.tune import dry_run as tunedry
    from deployctl.operations.tune import host as tunehost
    from deployctl.operations.tune import setup as tunesetup
    from deployctl.tuning import study as studies
    from deployctl.tuning.search import strategy

    now = datetime.now(UTC)
    material = tunesetup.begin(spec, wishes, now)
    if dry_run:
        document = tunedry.foresee(material, strategy(material.problem))
        if output is Output.json:
            answer_json(document)
        else:
            tunedry.show(document)
        return
    tunehost.refuse_beside(material.header.service)
    where = folder or Path(STUDIES) / f"{material.header.service}-{now:%Y%m%dT%H%M%SZ}"
    with studies.held(where):
        _run(studies.create(where, material.header), material, output)


def resume(
    specs: list[ServiceSpec],
    wishes: "Wishes",
    folder: Path | None,
    output: Output,
    *,
    anyway: bool,
) -> None:
    """Goes on with a study, or gives the answer that it had. `anyway`: though things differ.

    Raises:
        NotFoundError: there is none.
        InputError: it is about something else.
        Otherwise as `begin`.
    """
    from deployctl.operations.tune import answer as tuneanswer
    from deployctl.operations.tune import host as tunehost
    from deployctl.operations.tune import resume as tuneagain
    from deployctl.operations.tune import setup as tunesetup
    from deployctl.tuning import study as studies
    from deployctl.tuning.events import Ended
    from deployctl.tuning.trial import Configuration

    where = folder or newest(Path(STUDIES), specs[0].service if specs else None)
    studies.opened(where)  # that it is there, before a lock is made beside it
    with studies.held(where):
        study = studies.opened(where)
        material = tunesetup.again(study.header)
        here = tunehost.fingerprint(material.planned, material.planned.plan(Configuration()))
        other = study.header.fingerprint.differences(here)
        other += tuneagain.differences(study.header, specs, wishes)
        if other and not anyway:
            raise InputError(
                f"the study is about something else: {'; '.join(other)}",
                where=str(study.file),
                hint="begin a new one without --resume; or go on with what it is about, and mix "
                "what was measured there and here: --allow-other-setup",
            )
        for line in other:
            story(f"warning: {line}", style="yellow", prefix=8)
        ended = next((e for e in study.events if isinstance(e, Ended)), None)
        if ended is None:
            tunehost.refuse_beside(study.header.service)
            _run(study, material, output)
            return
        story(f"{where} has ended; this was its answer")
        told = tuneanswer.moved(ended.answer, where)
        if output is Output.json:
            answer_json(told)
        else:
            tuneanswer.show_again(told)
        tuneanswer.enforce(told)


def newest(folder: Path, service: str | None) -> Path:
    """The study that was begun last, of one service or of any.

    Raises:
        NotFoundError: there is none.
    """
    from deployctl.tuning.study import FILE

    found = [
        path.parent
        for path in folder.glob(f"*-*/{FILE}")
        if service in (None, path.parent.name.rpartition("-")[0])
    ]
    if not found:
        raise NotFoundError(
            "there is no study to go on with" + (f" for {service}" if service else ""),
            where=str(folder.absolute()),
            hint="give --study DIR, or begin one without --resume",
        )
    return max(found, key=lambda path: path.name.rpartition("-")[2])


def _run(study: "Study", material: "Material", output: Output) -> None:
    from deployctl.operations.tune import answer as tuneanswer
    from deployctl.targets.guards import interruptible, shielded
    from deployctl.tuning.events import Ended

    with interruptible():
        answer = _search(study, material)
    with shielded(lambda: story("the answer is being written; a moment")):
        told = tuneanswer.conclude(study, material, answer)
        if answer.verdict != "interrupted":
            study.record(Ended(told))
        if output is Output.json:
            answer_json(told)
        else:
            tuneanswer.show(study, material, answer, told)
    tuneanswer.enforce(told)


def _search(study: "Study", material: "Material") -> "Answer":
    from deployctl.cli.tune.progress import TuneProgress
    from deployctl.operations.tune.load import QuietLoad
    from deployctl.spec import Settings
    from deployctl.tuning.enginebench import EngineBench
    from deployctl.tuning.runner import Runner
    from deployctl.tuning.search import strategy

    header = study.header
    for note in material.notes:
        story(f"note: {note}", style="cyan", prefix=5)
    search = strategy(material.problem)
    # No start is waited for longer than the whole search may take.
    patience = material.baseline.startup_budget_s
    patience = min(header.spec.startup_timeout or patience, max(60, int(header.budget_s)))
    bench = EngineBench(
        material.planned.base.model_copy(update={"startup_timeout": patience}),
        prepare=material.planned.carried,
        measure=QuietLoad(),
        setup=material.setup,
        slo=material.slo,
        folder=study.folder,
        settings=Settings(),
    )
    story(
        f"{header.service}: {header.goal}"
        + (f" under {header.slo}" if header.slo else "")
        + f" on {material.baseline.gpu}, target {header.spec.target}; study {study.folder}"
    )
    with bench, TuneProgress(header.goal, search) as progress:
        runner = Runner(study, search, bench, progress)
        runner.replay()
        progress.replayed(study.done)
        if study.done:
            known = len(study.done)
            story(f"{known} step{'s are' if known > 1 else ' is'} known already")
        return runner.run()
