"""`deployctl propose`: what tune found, as a pull request with its evidence."""

from pathlib import Path
from typing import Annotated

import typer

from deployctl.cli.console import Output, OutputOption, answer_json, repository_option, say, tell

DOCUMENT_VERSION = 1

_FileArgument = Annotated[
    Path,
    typer.Argument(
        metavar="RECOMMENDATION", help="The file, or the study's folder.", show_default=False
    ),
]
_RepositoryOption = Annotated[str, repository_option("Where the pull request is opened.")]
_ServiceOption = Annotated[
    str, typer.Option("--service", metavar="NAME", help="The service that was tuned.")
]
_PathOption = Annotated[
    str, typer.Option("--path", metavar="FILE", help="The file there that it becomes.")
]
_BaseOption = Annotated[str, typer.Option("--base", metavar="BRANCH", help="What it changes.")]
_LinkOption = Annotated[
    str, typer.Option("--link", metavar="URL", help="The run that measured, for its report.")
]


def command(
    file: _FileArgument,
    service: _ServiceOption,
    repository: _RepositoryOption = "",
    path: _PathOption = "recommendation.yaml",
    base: _BaseOption = "main",
    link: _LinkOption = "",
    output: OutputOption = Output.text,
) -> None:
    """Open a pull request on GitHub with the settings that deployctl tune found, and its evidence.

    The recommendation becomes a file of the repository, for deployctl up --tuned. There is one pull
    request for a service: an open one is brought up to date, and left alone where nothing is new.
    Nothing is proposed where no setting was shown to be better, or the file is there already.
    GITHUB_TOKEN is the token (contents: write, pull-requests: write).

    deployctl propose studies/chat-20261124T101500Z --service chat --repository org/app
    """
    from deployctl.operations.github.propose import Proposal, propose
    from deployctl.tuning.recommendation import load

    done = propose(load(file), Proposal(repository, service, path, base, link), tell)
    if output is Output.json:
        answer_json({"version": DOCUMENT_VERSION, **done._asdict()})
    elif done.done == "nothing":
        say("nothing is proposed")
    else:
        say(f"pull request {done.number} {done.done}: {done.url}")
