"""One comment on a pull request of GitHub, written once and kept up to date.

It is found by its hidden header among the comments of our own author: anybody may write a comment
that begins so, and nobody's but ours is changed.
"""

import os
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import httpx
from pydantic import ValidationError

from deployctl import web
from deployctl.endpoint import Endpoint
from deployctl.errors import InputError, TargetError
from deployctl.given import one_word
from deployctl.reports.review import Review
from deployctl.spec.load import complaint
from deployctl_loadtest.foreign import message

MAX_REVIEW = 8 * 1024 * 1024  # bytes of a review's JSON
_WITHIN_S = 30.0
_A_PAGE = 100  # comments
_PAGES = 50
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")
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


def read_review(text: str, where: str) -> Review:
    """Reads a review's JSON, whoever wrote it.

    Raises:
        InputError: it is none.
    """
    try:
        return Review.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        path = "/".join(str(part) for part in first["loc"])
        raise InputError(
            f"this is no review: {message(complaint(first))}",
            where=f"{where}: {path}" if path else where,
            hint="give what deployctl review --output json wrote",
        ) from error


def comment(pull: PullRequest, header: str, body: str, author: str) -> Commented:
    """Writes the comment, or brings ours up to date. The same body changes nothing.

    `author`: the login that our token writes as. `GITHUB_TOKEN` is the token, `GITHUB_API_URL` the
    server, which is GitHub's own where it is not set.

    Raises:
        InputError: the pull request or the token is no such thing.
        TargetError: GitHub does not answer, or refuses.
    """
    _refuse_strange(pull)
    token = one_word(
        os.environ.get("GITHUB_TOKEN", ""),
        what="token",
        where="GITHUB_TOKEN",
        hint="set it: in a job, to github.token, with pull-requests: write",
    )
    url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
    more = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
    endpoint = Endpoint(url.rstrip("/"), None, token, headers={**more, "User-Agent": "deployctl"})
    with web.client(endpoint, _WITHIN_S) as client:
        number = pull.number or _number(client, pull)
        of_issue = f"/repos/{pull.repository}/issues/{number}/comments"
        for known in _all(client, of_issue):
            mine = (known.get("user") or {}).get("login") == author
            if mine and str(known.get("body", "")).startswith(header):
                if _same(known["body"], body):
                    return Commented("unchanged", number, str(known.get("html_url", "")))
                path = f"/repos/{pull.repository}/issues/comments/{int(known['id'])}"
                made = _ask(client, "PATCH", path, {"body": body})
                return Commented("updated", number, str(made.get("html_url", "")))
        made = _ask(client, "POST", of_issue, {"body": body})
        return Commented("written", number, str(made.get("html_url", "")))


def _same(known: str, body: str) -> bool:
    """GitHub may keep lines with another end, and none at the end of all."""
    return known.replace("\r\n", "\n").strip() == body.strip()


def _refuse_strange(pull: PullRequest) -> None:
    owner, _, branch = pull.head.partition(":")
    wrong = ""
    if not _REPOSITORY.fullmatch(pull.repository) or ".." in pull.repository:
        wrong = "--repository"
    elif pull.number is None and not (_OWNER.fullmatch(owner) and branch):
        wrong = "--head"
    elif pull.number is None and not _COMMIT.fullmatch(pull.commit):
        wrong = "--commit"
    if wrong:
        raise InputError(
            "it is not said which pull request",
            where=wrong,
            hint="give --pull N; of a fork's run --head OWNER:BRANCH --commit SHA",
        )


def _number(client: httpx.Client, pull: PullRequest) -> int:
    """The open pull request of a head.

    Raises:
        TargetError: there is none whose head is at that commit.
    """
    found = _ask(
        client,
        "GET",
        f"/repos/{pull.repository}/pulls",
        params={"head": pull.head, "state": "open", "per_page": str(_A_PAGE)},
    )
    for each in found if isinstance(found, list) else []:
        head = each.get("head") or {}
        if head.get("sha") == pull.commit and head.get("label") == pull.head:
            return int(each["number"])
    raise TargetError(
        f"no open pull request has its head at {pull.commit[:12]}",
        where=f"{pull.repository}: {message(pull.head)}",
        hint="it was closed, or somebody pushed since: the newer run writes the comment",
    )


def _all(client: httpx.Client, path: str) -> Iterator[dict[str, Any]]:
    for page in range(1, _PAGES + 1):
        params = {"per_page": str(_A_PAGE), "page": str(page)}
        found = _ask(client, "GET", path, params=params)
        if not isinstance(found, list):
            raise TargetError("this is no list of comments", where=path, hint="is it GitHub?")
        yield from (each for each in found if isinstance(each, dict))
        if len(found) < _A_PAGE:
            return


def _ask(
    client: httpx.Client,
    method: str,
    path: str,
    body: Any = None,
    params: dict[str, str] | None = None,
) -> Any:
    where = f"{method} {client.base_url}{path.lstrip('/')}"
    try:
        response = client.request(method, path, json=body, params=params)
        if response.is_success:
            return response.json()
    except httpx.RequestError as error:
        raise TargetError(
            f"GitHub does not answer: {web.problem(error, _WITHIN_S)}",
            where=where,
            hint="try again; GITHUB_API_URL names another server",
        ) from error
    except ValueError as error:
        raise TargetError("this is no JSON", where=where, hint="is it GitHub's API?") from error
    raise TargetError(
        f"GitHub refuses: HTTP {response.status_code}: {_why(response)}",
        where=where,
        hint=_HINTS.get(response.status_code, "see GitHub's status page, and try again"),
    )


_HINTS = {
    401: "the token is none, or is over",
    403: "give the job permissions: pull-requests: write; a fork's run has none",
    404: "there is no such pull request, or the token may not see it",
    422: "the body is refused: is it longer than GitHub takes?",
}


def _why(response: httpx.Response) -> str:
    try:
        return message(str(response.json()["message"]))
    except (ValueError, KeyError, TypeError):
        return message(response.text)
