"""A pull request with what a study found: the recommendation as a file, its evidence as the text.

There is one for a service: it is opened where there is none, and brought up to date where there is.
Nothing is proposed that the study did not show to be better.
"""

import base64
import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple
from urllib.parse import quote

from deployctl.errors import InputError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.operations.github.api import GitHub, GitHubRefusedError
from deployctl.reports.hostpage import MOST_OF_A_COMMENT, code, header, joined, listed, words
from deployctl.tuning.recommendation import ConfigurationResult, Recommendation

_PERMISSIONS = "contents: write, pull-requests: write"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Proposed(NamedTuple):
    """What was done, and where it is."""

    done: Literal["opened", "updated", "unchanged", "nothing"]
    number: int | None
    url: str
    branch: str


class Proposal(NamedTuple):
    """Where a recommendation is to go."""

    repository: str
    service: str
    path: str  # of the file, from the repository's root
    base: str = "main"
    link: str = ""  # the run that measured, where its report is


def propose(found: Recommendation, where: Proposal, tell: Tell = silent) -> Proposed:
    """Opens the pull request, or brings the open one up to date.

    Raises:
        InputError: service, path or token are no such thing.
        TargetError: GitHub does not answer, or refuses.
    """
    _refuse_strange(where)
    branch = f"deployctl/tuned-{where.service}"
    if found.verdict != "winner":
        verdict = found.verdict.replace("_", " ")
        tell(Event("note", f"nothing is proposed: {verdict}: {found.why}"))
        return Proposed("nothing", None, "", branch)
    text = found.to_yaml()
    with GitHub(where.repository, _PERMISSIONS) as github:
        if _file(github, where.path, where.base)[0] == text:
            tell(Event("note", f"nothing is proposed: {where.base} has these settings already"))
            return Proposed("nothing", None, "", branch)
        owner = where.repository.partition("/")[0]
        head = f"{owner}:{branch}"
        opened = next(github.every("/pulls", None, 1, head=head, state="open"), None)
        if opened is None:
            _branch(github, branch, where.base)
        changed = _put(github, where, branch, text)
        body = page(found, where)
        title = f"Settings of {where.service}, as measured"
        if opened is None:
            asked = {"title": title, "head": branch, "base": where.base, "body": body}
            return _done("opened", github.ask("POST", "/pulls", asked), branch)
        if str(opened.get("body", "")).replace("\r\n", "\n").strip() != body.strip():
            asked = {"title": title, "body": body}
            opened = github.ask("PATCH", f"/pulls/{int(opened['number'])}", asked)
            changed = True
        return _done("updated" if changed else "unchanged", opened, branch)


def page(found: Recommendation, where: Proposal) -> str:
    """The text of the pull request: the same bytes for the same recommendation."""
    return joined(_parts(found, where), MOST_OF_A_COMMENT, where.link)


def _parts(found: Recommendation, where: Proposal) -> Iterator[str]:
    measured = found.measured
    yield f"{header('proposal', (where.service,))}\n### Settings of {code(where.service)}\n"
    yield f"\n{words(found.why)}\n"
    yield "\n" + listed(f"{code(name)}: {code(str(v))}" for name, v in found.settings.items())
    lines = ["| | settings | result | 95% interval | load | SLO |", "|---|---|--:|---|---|---|"]
    for name, one in (("as it is", found.baseline), ("proposed", found.winner)):
        if one is not None:
            lines.append(f"| {name} | " + " | ".join(_cells(one)) + " |")
    yield "\n" + "\n".join(lines) + "\n"
    if found.improvement is not None:
        low, high = found.improvement.interval
        yield (
            f"\nProposed ÷ as it is: **{found.improvement.ratio:.3f}** "
            f"(95% interval {low:.3f} to {high:.3f}; above 1 is better).\n"
        )
    told = {
        "objective": measured.objective,
        "SLO": measured.slo or "none",
        "workload": measured.workload,
        "hardware": str(measured.hardware),
        "engine": measured.engine_version,
        "model": measured.model,
        "study": f"{measured.study}, {measured.date}",
    }
    yield "\n" + listed(f"{name}: {code(value)}" for name, value in told.items())
    if found.notes:
        yield "\n" + listed(map(words, found.notes))
    if where.link:
        yield f"\n[The run that measured]({where.link}) has the whole report as an artefact.\n"
    yield (
        f"\nAfter the merge {code(f'deployctl up --tuned {where.path} --verify')} uses these "
        "settings, and keeps them only if they hold.\n"
    )


def _cells(one: ConfigurationResult) -> Iterator[str]:
    settings = ", ".join(f"{name}={value}" for name, value in one.settings.items())
    yield code(settings or "the service's own", in_table=True)
    yield "–" if one.objective is None else f"{one.objective:.4g}"
    yield "–" if one.interval is None else f"{one.interval[0]:.4g} to {one.interval[1]:.4g}"
    yield code(one.load or "–", in_table=True)
    yield {True: "met", False: "missed", None: "–"}[one.slo_met]


def _refuse_strange(where: Proposal) -> None:
    if not _NAME.fullmatch(where.service):
        raise InputError("this is no service", where="--service", hint="give its name in the spec")
    parts = where.path.split("/")
    if not where.path or any(part in ("", ".", "..", ".git", ".github") for part in parts):
        raise InputError(
            "this is no place for a recommendation",
            where="--path",
            hint="give a path below the repository's root, such as recommendation.yaml",
        )


def _file(github: GitHub, path: str, branch: str) -> tuple[str | None, str | None]:
    """The text of a file on a branch, and its blob; None where it is not there."""
    try:
        found = github.ask("GET", f"/contents/{quote(path)}", params={"ref": branch})
    except GitHubRefusedError as error:
        if error.status == 404:
            return None, None
        raise
    if not isinstance(found, dict) or found.get("type", "file") != "file":
        raise TargetError("it is no file", where=path, hint="give --path another one")
    content = base64.b64decode(str(found.get("content", "")))
    return content.decode("utf-8", "replace"), str(found["sha"])


def _branch(github: GitHub, branch: str, base: str) -> None:
    """The branch at the base's newest commit: what an earlier, closed proposal left is gone."""
    sha = github.ask("GET", f"/git/ref/heads/{quote(base)}")["object"]["sha"]
    try:
        github.ask("POST", "/git/refs", {"ref": f"refs/heads/{branch}", "sha": sha})
    except GitHubRefusedError as error:
        if error.status != 422:  # it is there
            raise
        github.ask("PATCH", f"/git/refs/heads/{branch}", {"sha": sha, "force": True})


def _put(github: GitHub, where: Proposal, branch: str, text: str) -> bool:
    """Writes the file on the branch. Whether it was another one."""
    known, blob = _file(github, where.path, branch)
    if known == text:
        return False
    asked: dict[str, Any] = {
        "message": f"Settings of {where.service}, as measured",
        "content": base64.b64encode(text.encode()).decode(),
        "branch": branch,
    }
    github.ask("PUT", f"/contents/{quote(where.path)}", asked | ({"sha": blob} if blob else {}))
    return True


def _done(done: Literal["opened", "updated", "unchanged"], pull: Any, branch: str) -> Proposed:
    return Proposed(done, int(pull["number"]), str(pull.get("html_url", "")), branch)
