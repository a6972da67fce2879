"""`deployctl tune`: finds the engine's settings by measuring, and says how sure it is."""

from functools import partial

from deployctl.cli.console import Output
from deployctl.cli.options import OutputOption, spec_options
from deployctl.cli.tune import options as tuneoptions
from deployctl.errors import InputError
from deployctl.operations.measure.gate import SloOption
from deployctl.spec import ServiceSpec


@partial(spec_options, optional=True)
def command(
    specs: list[ServiceSpec],
    objective: tuneoptions.ObjectiveOption = None,
    slo: SloOption = None,
    budget: tuneoptions.BudgetOption = None,
    max_trials: tuneoptions.MaxTrialsOption = None,
    space: tuneoptions.SpaceOption = None,
    load: tuneoptions.LoadOption = None,
    workload: tuneoptions.WorkloadOption = None,
    input_tokens: tuneoptions.InputTokensOption = None,
    output_tokens: tuneoptions.OutputTokensOption = None,
    api: tuneoptions.ApiOption = None,
    seed: tuneoptions.SeedOption = None,
    study: tuneoptions.StudyOption = None,
    resume: tuneoptions.ResumeOption = False,
    allow_other_setup: tuneoptions.AllowOtherSetupOption = False,
    dry_run: tuneoptions.DryRunOption = False,
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
    from deployctl.operations.tune import run as tunerun
    from deployctl.operations.tune.request import Wishes

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
        tunerun.resume(specs, wishes, study, output, anyway=allow_other_setup)
        return
    if allow_other_setup:
        raise InputError("--allow-other-setup goes with --resume")
    if not specs:
        raise InputError(
            "there is no service to tune",
            hint="give --model, or a file with -f; or --resume to go on with a study",
        )
    tunerun.begin(specs[0], wishes, study, output, dry_run=dry_run)
