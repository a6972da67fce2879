"""`deployctl tune`: finds the engine's settings by measuring, and says how sure it is."""

from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from deployctl.cli.console import Output, answer_json, story
from deployctl.cli.options import OutputOption, request_options, spec_options
from deployctl.errors import InputError
from deployctl.operations.tune.request import TuneRequest
from deployctl.spec import ServiceSpec
from deployctl.spec.option import option


class StudyOptions(BaseModel):
    """Which study, and whether it is begun, resumed, or only foreseen."""

    model_config = ConfigDict(frozen=True)

    study: Path | None = option(
        None,
        "The study's folder. [default: studies/NAME-TIME; with --resume, the newest]",
        "Tuning",
        metavar="DIR",
    )
    resume: bool = option(False, "Resume a study; nothing is measured twice.", "Tuning")
    allow_other_setup: bool = option(
        False,
        "Resume although hardware, driver, engine version or flags have changed. The "
        "study keeps its own flags.",
        "Tuning",
    )
    metrics_port: str | None = option(
        None,
        "Show the study's own figures to Prometheus while it runs, at /metrics of this port of "
        "127.0.0.1, or of ADDRESS:PORT; nobody needs a key for them.",
        "Tuning",
        metavar="PORT",
    )
    dry_run: bool = option(
        False, "Show which trials would run, in which order and why; start nothing.", "Tuning"
    )


@partial(spec_options, optional=True)
@request_options
def command(
    specs: list[ServiceSpec],
    *,
    request: TuneRequest,
    which: StudyOptions,
    output: OutputOption = Output.text,
) -> None:
    """Find the engine settings that serve best, by measuring.

    Starts the engine with one configuration after the other, under a name and a port of its
    own, and loads each: the service as it is (the baseline) first, then what may be better,
    and at the end the best against the baseline again, from fresh starts in random order. A
    difference within the noise is not a winner, and the answer may be to change nothing.

    deployctl tune -f service.yaml --slo ttft_p95=500ms,itl_p95=60ms --budget 30m

    deployctl tune --model ./my-awq-model --gpu l4 --objective throughput --workload chat

    deployctl tune -f service.yaml --slo ttft_p95=500ms --dry-run

    It writes a folder: study.jsonl (every fact), measurements/ (the raw load tests),
    recommendation.yaml for deployctl up --tuned, and report.html. Ctrl-C ends it with the best
    so far; a killed one continues where it was:

    deployctl tune --resume

    Exit codes: 0 an answer, including that nothing is better · 4 no engine came
    up · 5 no configuration meets the SLO · 130 interrupted.
    """
    _check(specs, which)
    if which.dry_run:
        from deployctl.cli.tune.text import show_dry_run
        from deployctl.operations.tune.dry_run import dry_run

        document = dry_run(specs[0], request)
        if output is Output.json:
            answer_json(document)
        else:
            show_dry_run(document)
        return
    from deployctl.cli.tune.text import TuneProgress, show
    from deployctl.operations.tune.run import WRITING, begin, resume
    from deployctl.targets.guards import shielded

    with TuneProgress() as tell:
        more: dict[str, Any] = {
            "folder": which.study, "metrics": which.metrics_port, "tell": tell
        }  # fmt: skip
        if which.resume:
            spec = specs[0] if specs else None
            outcome = resume(spec, request, other_setup=which.allow_other_setup, **more)
        else:
            outcome = begin(specs[0], request, **more)
    with shielded(lambda: story(WRITING)):
        if output is Output.json:
            answer_json(outcome.document)
        else:
            show(outcome)
    outcome.enforce()


def _check(specs: list[ServiceSpec], which: StudyOptions) -> None:
    if len(specs) > 1:
        raise InputError(
            f"a study is about one service, and {len(specs)} are given",
            where="-f",
            hint="give the service a file of its own",
        )
    if which.resume and which.dry_run:
        raise InputError("--dry-run does not go with --resume", hint="leave one of them out")
    if which.metrics_port is not None and which.dry_run:
        raise InputError(
            "--metrics-port does not go with --dry-run, which has ended at once",
            where="--metrics-port",
            hint="leave one of them out",
        )
    if which.allow_other_setup and not which.resume:
        raise InputError("--allow-other-setup goes with --resume")
    if not specs and not which.resume:
        raise InputError(
            "there is no service to tune",
            hint="give --model, or a file with -f; or --resume to continue a study",
        )
