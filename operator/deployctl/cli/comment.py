"""`deployctl comment`: a review, or a gate's report, as one comment on a pull request."""

from pathlib import Path
from typing import Annotated

import typer

from deployctl.cli.console import Output, OutputOption, answer_json, repository_option, say

DOCUMENT_VERSION = 1

_FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="REPORT.json",
        help="What deployctl review --output json wrote, or the gate.json of deployctl gate.",
        show_default=False,
    ),
]
_RepositoryOption = Annotated[str, repository_option("Whose pull request.")]
_PullOption = Annotated[
    int | None,
    typer.Option("--pull", metavar="N", min=1, help="Its number.", show_default=False),
]
_HeadOption = Annotated[
    str,
    typer.Option(
        "--head", metavar="OWNER:BRANCH", help="Its head, where the number is not known (a fork's)."
    ),
]
_CommitOption = Annotated[
    str, typer.Option("--commit", metavar="SHA", help="With --head: the commit reviewed.")
]
_AuthorOption = Annotated[
    str, typer.Option("--author", metavar="LOGIN", help="Who the token's comments are by.")
]
_LinkOption = Annotated[
    str, typer.Option("--link", metavar="URL", help="Where the rest is of a page that is cut.")
]


def command(
    file: _FileArgument,
    repository: _RepositoryOption = "",
    pull: _PullOption = None,
    head: _HeadOption = "",
    commit: _CommitOption = "",
    author: _AuthorOption = "github-actions[bot]",
    link: _LinkOption = "",
    output: OutputOption = Output.text,
) -> None:
    """Write a review or a gate's report on a pull request of GitHub, as one comment.

    The comment is found by a hidden header, written where there is none, changed where the report
    is another one, and left alone where it is the same. GITHUB_TOKEN is the token
    (pull-requests: write), GITHUB_API_URL another server than GitHub's own. The page is made here
    of the report's data: a review that a fork made can say nothing but what a review says.

    deployctl comment review.json --repository org/app --pull 7

    deployctl comment review.json --repository org/app --head fork:branch --commit SHA
    """
    from deployctl.given import read_text
    from deployctl.operations.github.comment import MAX_REPORT, PullRequest, read_report
    from deployctl.operations.github.comment import comment as write_comment

    report = read_report(read_text(file, MAX_REPORT), str(file))
    where = PullRequest(repository, pull, head, commit)
    done = write_comment(where, report, author, link=link)
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **done._asdict()})
    else:
        say(f"comment {done.done} on pull request {done.number}: {done.url}")
