"""`deployctl review`: what a change of spec files comes to, for a pull request."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from deployctl.cli.console import Output, OutputOption, annotate, answer_json, say, tell
from deployctl.cli.options import FilesOption
from deployctl.errors import DeployctlError, InputError, PlanRefusedError, TargetError
from deployctl.files import write_text
from deployctl.operations.review import Against, review
from deployctl.operations.review import sarif as findings_as_sarif
from deployctl.reports.annotation import annotation
from deployctl.reports.hostpage import MOST_OF_A_COMMENT, MOST_OF_A_SUMMARY
from deployctl.reports.review import Review, markdown
from deployctl.spec.place import SpecPlace

_AgainstFileOption = Annotated[
    Path | None,
    typer.Option(
        "--against-file",
        metavar="FILE",
        help="Say what changes against this spec file, such as the main branch's.",
        show_default=False,
    ),
]
_RunningOption = Annotated[
    bool, typer.Option("--running", help="Say what changes against what runs; asks the target.")
]
_MarkdownOption = Annotated[
    Path | None,
    typer.Option(
        "--markdown",
        metavar="FILE",
        help="Also write the page, up to 1 MiB of it, to this file: $GITHUB_STEP_SUMMARY.",
    ),
]
_SarifOption = Annotated[
    Path | None, typer.Option("--sarif", metavar="FILE", help="Also write SARIF to this file.")
]
_LinkOption = Annotated[
    str,
    typer.Option(
        "--link", metavar="URL", help="Where the rest is of a page that is cut for its length."
    ),
]


def command(
    files: FilesOption = [],  # noqa: B006  typer copies it
    against_file: _AgainstFileOption = None,
    running: _RunningOption = False,
    markdown_file: _MarkdownOption = None,
    sarif: _SarifOption = None,
    link: _LinkOption = "",
    output: OutputOption = Output.text,
) -> None:
    """Plan, render, check and diff spec files in one go; the answer is a page of Markdown.

    Made for pull requests: verdict, memory and cost of each service, what restarts, and each
    problem with its line. The same input gives the same bytes, of at most 65,536, so that one
    comment can hold it and be kept up to date: deployctl comment does that on GitHub. Nothing is
    started; without --running nothing is asked but the Hub.

    deployctl review -f service.yaml

    deployctl review -f service.yaml --against-file main.yaml --sarif findings.sarif

    deployctl review -f service.yaml --running --output json > review.json

    Exit code 3 when a plan is refused or something rendered is wrong, 2 when a file is, 4 when the
    Hub or the target does not answer.
    """
    if not files:
        raise InputError("names no spec file", where="--file", hint="give -f service.yaml")
    if against_file is not None and running:
        raise InputError(
            "a spec is compared with one thing at a time",
            where="--against-file",
            hint="leave --running or --against-file out",
        )
    made, errors = review(files, Against(against_file, running), root=Path.cwd(), tell=tell)
    if markdown_file is not None:
        write_text(markdown_file, markdown(made, most=MOST_OF_A_SUMMARY, link=link))
    if sarif is not None:
        write_text(sarif, json.dumps(findings_as_sarif(made), indent=1) + "\n")
    if os.environ.get("DEPLOYCTL_ANNOTATIONS") == "github":
        _annotate(made)
    if output is Output.json:
        answer_json(made)
    else:
        say(markdown(made, most=MOST_OF_A_COMMENT, link=link).removesuffix("\n"))
    _refuse(made, errors)


def _annotate(made: Review) -> None:
    for finding in made.findings:
        place = SpecPlace(Path(finding.file), finding.line, finding.column)
        lines = [finding.message, *([f"fix: {finding.fix}"] if finding.fix else [])]
        annotate(annotation(finding.level, finding.code, "\n".join(lines), place, Path.cwd()))


def _refuse(made: Review, errors: tuple[DeployctlError, ...]) -> None:
    """Ends with the exit code of what is wrong: bad input before a target that failed before a
    refusal."""
    hint = "the page has each with its fix"
    for kind in (InputError, TargetError):
        if any(isinstance(error, kind) for error in errors):
            raise kind(made.summary, hint=hint)
    if errors or made.verdict != "good":
        raise PlanRefusedError(made.summary, hint=hint)
