"""`deployctl gate`: a load test against its SLO and the last good runs, for a pipeline."""

from pathlib import Path
from typing import Annotated

import typer

from deployctl.cli.console import Output, OutputOption, answer_json, repository_option, say, tell

_FolderArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RESULT",
        help="What deployctl loadtest --slo … --fail-on-breach wrote.",
        show_default=False,
    ),
]
_RepositoryOption = Annotated[str, repository_option("Whose runs are compared with.")]
_RunnerOption = Annotated[
    str, typer.Option("--runner", metavar="LABEL", help="The label of the runner.")
]
_EngineOption = Annotated[
    str | None,
    typer.Option(
        "--engine", metavar="TEXT", help="Of an address: what serves it, and its version."
    ),
]
_CardOption = Annotated[
    str | None, typer.Option("--card", metavar="TEXT", help="Of an address: what it runs on.")
]
_EnvironmentOption = Annotated[
    str,
    typer.Option(
        "--environment", metavar="NAME", help="Where it is deployed to: production, staging."
    ),
]
_BranchOption = Annotated[
    str, typer.Option("--branch", metavar="NAME", help="Whose green runs are compared with.")
]
_RunsOption = Annotated[
    int, typer.Option("--runs", metavar="N", min=1, max=10, help="How many of them, at most.")
]
_ThresholdOption = Annotated[
    str, typer.Option(metavar="PERCENT", help="Regression that still passes, in percent.")
]
_FirstOption = Annotated[
    bool,
    typer.Option("--first", help="Where there is no good run yet, pass by the SLO alone."),
]


def command(
    folder: _FolderArgument,
    runner: _RunnerOption,
    repository: _RepositoryOption = "",
    engine: _EngineOption = None,
    card: _CardOption = None,
    environment: _EnvironmentOption = "",
    branch: _BranchOption = "main",
    runs: _RunsOption = 3,
    threshold: _ThresholdOption = "5%",
    first: _FirstOption = False,
    output: OutputOption = Output.text,
) -> None:
    """Judge a load test by its SLO and by the last good runs of the default branch, on GitHub.

    Good runs are green ones, with an artefact of the same service, runner, engine, card and
    environment, at the same place (cluster and namespace, Docker host), of the same load. A figure
    that is clearly worse (99% interval) by more than --threshold fails the gate, and so does a
    missed SLO. Where there is no good run, that is said, and nothing is passed unless --first is
    given, as it is on the default branch itself.

    It writes gate.json, for deployctl comment, and gate.md beside the result. The result's folder
    is to be kept as an artefact of the name that the answer has. GITHUB_TOKEN is the token
    (actions: read), GITHUB_API_URL another server than GitHub's own.

    deployctl loadtest chat --slo ttft_p95=500ms --fail-on-breach --out result

    deployctl gate result --repository org/app --runner gpu

    Exit code 5 when the gate is not passed.
    """
    from deployctl.operations.github.gate import Baseline, MeasuredBy, enforce, judge
    from deployctl.reports.gatepage import markdown

    where = Baseline(repository, branch, runs, threshold)
    given = MeasuredBy(runner, environment, engine, card)
    report = judge(folder, where, given, tell)
    if output is Output.json:
        answer_json(report)
    else:
        say(markdown(report).removesuffix("\n"))
    enforce(report, first=first)
