"""`deployctl tune`: finds the engine's settings by measuring, and says how sure it is."""

from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.loadgate import SloOption
from deployctl.cli.options import OutputOption, spec_options
from deployctl.errors import InputError, NotFoundError
from deployctl.spec import ServiceSpec

if TYPE_CHECKING:
    from deployctl.cli.tuneflags import Wishes
    from deployctl.cli.tunesetup import Material
    from deployctl.tuning.bench import Answer
    from deployctl.tuning.study import Study

STUDIES = "studies"
_PANEL, _LOAD_PANEL = "Tuning", "Load"


@partial(spec_options, optional=True)
def command(
    specs: list[ServiceSpec],
    objective: Annotated[
        Literal["goodput", "throughput", "latency", "cost"] | None,
        typer.Option(
            help="What is sought: goodput (requests/s that meet the SLO), throughput (tokens/s), "
            "latency (E2E p50 at --load) or cost (dollars a token within the SLO). "
            "\\[default: goodput with --slo, else throughput]",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    slo: SloOption = None,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Server time: starts and loads together. \\[default: 30m]",
            metavar="TIME",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    max_trials: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Engine starts at most.",
            metavar="N",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    space: Annotated[
        Path | None,
        typer.Option(
            help="What is tried: a YAML file, one setting a line, max_num_seqs: [32, 64, 128]. "
            "\\[default: max_num_seqs, max_num_batched_tokens, tensor_parallel_size]",
            metavar="FILE",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    load: Annotated[
        str | None,
        typer.Option(
            help="Where to begin: users=8 (closed loop) or rate=2 (requests/s); for latency, the "
            "load that it is measured at.",
            metavar="LOAD",
            rich_help_panel=_LOAD_PANEL,
            show_default=False,
        ),
    ] = None,
    workload: Annotated[
        str | None,
        typer.Option(
            help="What is asked, as for deployctl loadtest: a name or a file. \\[default: fixed]",
            metavar="NAME",
            rich_help_panel=_LOAD_PANEL,
            show_default=False,
        ),
    ] = None,
    input_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How long prompts are.",
            metavar="N",
            rich_help_panel=_LOAD_PANEL,
            show_default=False,
        ),
    ] = None,
    output_tokens: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How long answers are.",
            metavar="N",
            rich_help_panel=_LOAD_PANEL,
            show_default=False,
        ),
    ] = None,
    api: Annotated[
        Literal["chat", "completions"] | None,
        typer.Option(
            help="chat or completions. \\[default: chat]",
            rich_help_panel=_LOAD_PANEL,
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Fixes the search and its prompts. \\[default: a new one]",
            metavar="N",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option(
            help="The study's folder. \\[default: studies/NAME-TIME; with --resume, the newest]",
            metavar="DIR",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with a study; repeats nothing.", rich_help_panel=_PANEL
        ),
    ] = False,
    allow_other_setup: Annotated[
        bool,
        typer.Option(
            "--allow-other-setup",
            help="Go on though hardware, driver, engine version or flags are other ones now. The "
            "study keeps its own flags.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say which trials, in which order and why; start nothing.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    output: OutputOption = Output.text,
) -> None:
    """Find the engine settings that serve best, with evidence.

    Starts the engine with one configuration after the other, under a name and a port of its
    own, and loads each: the service as it is first, then what may be better, and at the end
    the best against the service as it is again, from fresh starts in random order. What is not
    more than noise is no winner, and the answer may be to change nothing.

    deployctl tune -f service.yaml --slo ttft_p95=500ms,itl_p95=60ms --budget 30m

    deployctl tune --model ./my-awq-model --gpu l4 --objective throughput --workload chat

    deployctl tune -f service.yaml --slo ttft_p95=500ms --dry-run

    It writes a folder: study.jsonl (every fact), measurements/ (the raw load tests),
    recommendation.yaml for deployctl up --tuned, and report.html. Ctrl-C ends it with the best
    so far; a killed one goes on where it was:

    deployctl tune --resume

    Exit codes: 0 an answer, also that nothing is better · 4 no engine came up · 5 nothing holds
    the SLO · 130 interrupted.
    """
    from deployctl.cli.tuneflags import Wishes

    if len(specs) > 1:
        raise InputError(
            f"a study is about one service, and {len(specs)} are given",
            where="-f",
            hint="give the service a file of its own",
        )
    wishes = Wishes(
        objective, slo, budget, max_trials, space, workload, input_tokens, output_tokens, api,
        load, seed,
    )  # fmt: skip
    if resume:
        if dry_run:
            raise InputError("--dry-run does not go with --resume", hint="leave one of them out")
        _resume(specs, wishes, study, output, anyway=allow_other_setup)
        return
    if allow_other_setup:
        raise InputError("--allow-other-setup goes with --resume")
    if not specs:
        raise InputError(
            "there is no service to tune",
            hint="give --model, or a file with -f; or --resume to go on with a study",
        )
    _begin(specs[0], wishes, study, output, dry_run=dry_run)


def _begin(
    spec: ServiceSpec, wishes: "Wishes", folder: Path | None, output: Output, *, dry_run: bool
) -> None:
    from deployctl.cli import tunedry, tunesetup
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
    where = folder or Path(STUDIES) / f"{material.header.service}-{now:%Y%m%dT%H%M%SZ}"
    with studies.held(where):
        _run(studies.create(where, material.header), material, output)


def _resume(
    specs: list[ServiceSpec],
    wishes: "Wishes",
    folder: Path | None,
    output: Output,
    *,
    anyway: bool,
) -> None:
    from deployctl.cli import tuneagain, tuneanswer, tunehost, tunesetup
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
            _run(study, material, output)
            return
        story(f"{where} has ended; this was its answer")
        if output is Output.json:
            answer_json(ended.answer)
        else:
            tuneanswer.show_again(ended.answer)
        tuneanswer.enforce(ended.answer)


def newest(folder: Path, service: str | None) -> Path:
    """The study that was begun last, of one service or of any.

    Raises:
        NotFoundError: there is none.
    """
    from deployctl.tuning.study import FILE

    found = [path.parent for path in folder.glob(f"{service or '*'}-*/{FILE}")]
    if not found:
        raise NotFoundError(
            "there is no study to go on with" + (f" for {service}" if service else ""),
            where=str(folder.absolute()),
            hint="give --study DIR, or begin one without --resume",
        )
    return max(found, key=lambda path: path.name.rpartition("-")[2])


def _run(study: "Study", material: "Material", output: Output) -> None:
    from deployctl.cli import tuneanswer
    from deployctl.targets.interrupts import interruptible
    from deployctl.tuning.events import Ended

    with interruptible():
        answer = _search(study, material)
    told = tuneanswer.conclude(study, material, answer)
    if answer.verdict != "interrupted":
        study.record(Ended(told))
    if output is Output.json:
        answer_json(told)
    else:
        tuneanswer.show(study, material, answer, told)
    tuneanswer.enforce(told)


def _search(study: "Study", material: "Material") -> "Answer":
    from deployctl.cli import tunehost
    from deployctl.cli.services import open_store
    from deployctl.cli.tuneload import QuietLoad
    from deployctl.cli.tuneprogress import TuneProgress
    from deployctl.tuning.enginebench import EngineBench
    from deployctl.tuning.runner import Runner
    from deployctl.tuning.search import strategy

    header = study.header
    settings, store = open_store()
    tunehost.refuse_beside(store, settings, header.service)
    for note in material.notes:
        story(f"note: {note}", style="cyan", prefix=5)
    search = strategy(material.problem)
    bench = EngineBench(
        material.planned.base,
        prepare=material.planned.carried,
        measure=QuietLoad(),
        setup=material.setup,
        slo=material.slo,
        folder=study.folder,
        settings=settings,
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
            story(f"{len(study.done)} steps are known already")
        return runner.run()
