"""GitHub's REST API: asked with the job's token, by the environment's proxies, within bounds.

`GITHUB_TOKEN` is the token, `GITHUB_API_URL` the server, which is GitHub's own where it is not set.
"""

import os
import re
from collections.abc import Iterator
from typing import Any, Self

import httpx

from deployctl import web
from deployctl.errors import InputError, TargetError
from deployctl.given import one_word
from deployctl_loadtest.foreign import MAX_DOCUMENT, document, message

_WITHIN_S = 30.0
_A_PAGE = 100
_REPOSITORY = re.compile(r"[A-Za-z0-9._-]{1,100}/[A-Za-z0-9._-]{1,100}")


class GitHubRefusedError(TargetError):
    """GitHub answers, and refuses. `status` is HTTP's."""

    status = 0


class GitHub:
    """One repository, while it is entered."""

    def __init__(self, repository: str, permissions: str) -> None:
        """`permissions`: what a job must have for this, for the hint where it has not.

        Raises:
            InputError: the repository or the token is no such thing.
        """
        if not _REPOSITORY.fullmatch(repository) or ".." in repository:
            raise InputError(
                "it is not said which repository",
                where="--repository",
                hint="give OWNER/NAME; in a job GITHUB_REPOSITORY has it",
            )
        self.repository, self._permissions = repository, permissions
        self._token = one_word(
            os.environ.get("GITHUB_TOKEN", ""),
            what="token",
            where="GITHUB_TOKEN",
            hint=f"set it: in a job, to github.token, with {permissions}",
        )
        url = os.environ.get("GITHUB_API_URL") or "https://api.github.com"
        self._base = f"{url.rstrip('/')}/repos/{repository}"

    def __enter__(self) -> Self:
        self._client = web.roaming(_WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def ask(
        self, method: str, path: str, body: Any = None, params: dict[str, str] | None = None
    ) -> Any:
        """The JSON answer to one request below the repository.

        Raises:
            GitHubRefusedError: GitHub refuses.
            TargetError: it does not answer, or with no JSON.
        """
        content = self._read(method, path, MAX_DOCUMENT, body, params)
        try:
            return document(content)
        except ValueError as error:
            where = f"{method} {self._base}{path}"
            raise TargetError("this is no JSON", where=where, hint="is it GitHub's API?") from error

    def download(self, path: str, most: int) -> bytes:
        """A file of at most `most` bytes, wherever GitHub keeps it: there the token is not shown.

        Raises:
            As `ask`; a longer one is a TargetError.
        """
        return self._read("GET", path, most)

    def every(self, path: str, within: str | None, pages: int, **params: str) -> Iterator[Any]:
        """The entries of a list, page by page. `within`: the key that holds it."""
        for page in range(1, pages + 1):
            asked = {**params, "per_page": str(_A_PAGE), "page": str(page)}
            found = self.ask("GET", path, params=asked)
            if within is not None and isinstance(found, dict):
                found = found.get(within)
            if not isinstance(found, list):
                raise TargetError("this is no list", where=path, hint="is it GitHub's API?")
            yield from (each for each in found if isinstance(each, dict))
            if len(found) < _A_PAGE:
                return

    def _read(
        self,
        method: str,
        path: str,
        most: int,
        body: Any = None,
        params: dict[str, str] | None = None,
    ) -> bytes:
        where = f"{method} {self._base}{path}"
        headers = {
            "Accept": "application/vnd.github+json",
            "X-GitHub-Api-Version": "2022-11-28",
            "User-Agent": "deployctl",
            "Authorization": f"Bearer {self._token}",
        }
        more: dict[str, Any] = {"json": body} if body is not None else {}
        try:
            with self._client.stream(
                method, f"{self._base}{path}", params=params, headers=headers, **more
            ) as response:
                content = bytearray()
                for chunk in response.iter_bytes():
                    content += chunk
                    if len(content) > most:
                        raise TargetError(
                            f"GitHub's answer is longer than {most // 1024:,} KiB", where=where
                        )
        except httpx.RequestError as error:
            raise TargetError(
                f"GitHub does not answer: {web.problem(error, _WITHIN_S)}",
                where=where,
                hint="try again; GITHUB_API_URL names another server",
            ) from error
        if not response.is_success:
            raise self._refused(response, bytes(content), where)
        return bytes(content)

    def _refused(self, response: httpx.Response, content: bytes, where: str) -> GitHubRefusedError:
        status = response.status_code
        hints = {
            401: "the token is none, or is over",
            403: f"give the job permissions: {self._permissions}; a fork's run has none",
            404: "there is no such thing, or the token may not see it",
            422: "what is asked for makes no sense to GitHub, or is there already",
        }
        hint = hints.get(status, "see GitHub's status page, and try again")
        limited = response.headers.get("x-ratelimit-remaining") == "0"
        if status == 429 or (status == 403 and (limited or "retry-after" in response.headers)):
            hint = "too much was asked with this token: run the job again later"
        error = GitHubRefusedError(
            f"GitHub refuses: HTTP {status}: {_why(content)}", where=where, hint=hint
        )
        error.status = status
        return error


def _why(content: bytes) -> str:
    try:
        return message(str(document(content)["message"]))
    except (ValueError, KeyError, TypeError):
        return message(content[:4096].decode("utf-8", "replace"))
