"""One comment on a pull request of GitHub, written once and kept up to date.

It is found by its hidden header among the comments of our own author: anybody may write a comment
that begins so, and nobody's but ours is changed.
"""

import re
from typing import Any, Literal, NamedTuple

from pydantic import ValidationError

from deployctl.errors import InputError, TargetError
from deployctl.operations.github.api import GitHub
from deployctl.reports import gatepage
from deployctl.reports import review as reviews
from deployctl.reports.gatepage import GateReport
from deployctl.reports.review import Review
from deployctl.spec.load import complaint
from deployctl_loadtest.foreign import document, message

MAX_REPORT = 8 * 1024 * 1024  # bytes of a report's JSON
_PAGES = 50
_OWNER = re.compile(r"[A-Za-z0-9-]{1,39}")
_COMMIT = re.compile(r"[0-9a-f]{40}")

Done = Literal["written", "updated", "unchanged"]


class PullRequest(NamedTuple):
    """A pull request: by its number, or by its head where a run does not say the number (a fork's).

    What is told of a fork is the fork's: its head must be at `commit` in GitHub's own words.
    """

    repository: str  # OWNER/NAME
    number: int | None = None
    head: str = ""  # OWNER:BRANCH
    commit: str = ""


class Commented(NamedTuple):
    """What was done, and where it is."""

    done: Done
    number: int
    url: str


def read_report(text: str, where: str) -> Review | GateReport:
    """Reads the JSON of a review or of a gate, whoever wrote it.

    Raises:
        InputError: it is neither.
    """
    hint = "give what deployctl review or gate wrote with --output json"
    try:
        found = document(text.encode("utf-8", "replace"))
        is_gate = isinstance(found, dict) and found.get("kind") == "gate"
        model: type[Review] | type[GateReport] = GateReport if is_gate else Review
        return model.model_validate(found)
    except ValidationError as error:
        first = error.errors()[0]
        path = "/".join(str(part) for part in first["loc"])
        raise InputError(
            f"this is no report: {message(complaint(first))}",
            where=f"{where}: {path}" if path else where,
            hint=hint,
        ) from error
    except ValueError as error:
        raise InputError(f"this is no report: {error}", where=where, hint=hint) from error


def comment(
    pull: PullRequest, report: Review | GateReport, author: str, *, link: str = ""
) -> Commented:
    """Writes a report as a comment, or brings ours up to date. The same page changes nothing.

    `author`: the login that our token writes as; `link`: where the rest is of a page that is cut.

    Raises:
        InputError: the pull request or the token is no such thing.
        TargetError: GitHub does not answer, or refuses.
    """
    if isinstance(report, GateReport):
        if pull.number is None:
            raise InputError(
                "a fork's run has no gate to tell of",
                where="--head",
                hint="of a gate give --pull N, in the run that measured",
            )
        body = gatepage.markdown(report, link=link)
    else:
        body = reviews.markdown(report, link=link)
    github = GitHub(pull.repository, "pull-requests: write")
    _refuse_strange(pull)
    with github:
        number = pull.number or _number(github, pull)
        of_issue = f"/issues/{number}/comments"
        for known in github.every(of_issue, None, _PAGES):
            mine = (known.get("user") or {}).get("login") == author
            if mine and str(known.get("body", "")).startswith(report.header):
                if _same(known["body"], body):
                    return Commented("unchanged", number, _url(known))
                path = f"/issues/comments/{int(known['id'])}"
                return Commented("updated", number, _url(github.ask("PATCH", path, {"body": body})))
        return Commented("written", number, _url(github.ask("POST", of_issue, {"body": body})))


def _url(known: Any) -> str:
    return str(known.get("html_url", "")) if isinstance(known, dict) else ""


def _same(known: str, body: str) -> bool:
    """GitHub may keep lines with another end, and none at the end of all."""
    return known.replace("\r\n", "\n").strip() == body.strip()


def _refuse_strange(pull: PullRequest) -> None:
    owner, _, branch = pull.head.partition(":")
    wrong = ""
    if pull.number is None and not (_OWNER.fullmatch(owner) and branch):
        wrong = "--head"
    elif pull.number is None and not _COMMIT.fullmatch(pull.commit):
        wrong = "--commit"
    if wrong:
        raise InputError(
            "it is not said which pull request",
            where=wrong,
            hint="give --pull N; of a fork's run --head OWNER:BRANCH --commit SHA",
        )


def _number(github: GitHub, pull: PullRequest) -> int:
    """The open pull request of a head.

    Raises:
        TargetError: there is none whose head is at that commit.
    """
    found = github.every("/pulls", None, 1, head=pull.head, state="open")
    for each in found:
        head = each.get("head") or {}
        if head.get("sha") == pull.commit and head.get("label") == pull.head:
            return int(each["number"])
    raise TargetError(
        f"no open pull request has its head at {pull.commit[:12]}",
        where=f"{pull.repository}: {message(pull.head)}",
        hint="it was closed, or somebody pushed since: the newer run writes the comment",
    )
