"""One request of a check, and what a check says: what smoke.py and chats.py share."""

import time
from typing import Any, NamedTuple

import httpx

from deployctl import web
from deployctl.targets import strangers
from deployctl_loadtest import foreign


class SmokeCheck(NamedTuple):
    """One thing that was checked."""

    name: str  # stable
    ok: bool
    title: str
    detail: str
    seconds: float
    hint: str | None = None
    routes: tuple[strangers.Opened, ...] = ()  # that let a stranger in

    def document(self) -> dict[str, object]:
        """Its part of the JSON answer: routes where there are any."""
        found = {**self._asdict(), "seconds": round(self.seconds, 4)}
        del found["routes"]
        return {**found, **({"routes": [r._asdict() for r in self.routes]} if self.routes else {})}


def ask(
    client: httpx.Client, method: str, path: str, **options: Any
) -> tuple[int, str, float, Any]:
    """Returns (status or 0, what went wrong, seconds, the JSON document or None)."""
    started = time.perf_counter()
    try:
        response = client.request(method, path, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        seconds = time.perf_counter() - started
        return 0, web.problem(error, seconds), seconds, None
    seconds = time.perf_counter() - started
    try:
        document = foreign.document(response.content)
    except ValueError:
        document = None
    detail = "" if response.status_code == 200 else refusal(response)
    return response.status_code, detail, seconds, document


def refusal(response: httpx.Response) -> str:
    """What a server says that does not answer with 200, on one line."""
    body = response.content[: foreign.MAX_REFUSAL]
    try:
        said = _error(foreign.document(body))
    except ValueError:
        said = ""
    said = foreign.message(said or body.decode("utf-8", "replace"))
    return f"HTTP {response.status_code}: {said}".rstrip(": ")


def _error(document: Any) -> str:
    if not isinstance(document, dict):
        return ""
    error = document.get("error", document.get("detail", ""))
    if isinstance(error, dict):
        error = error.get("message", "")
    return str(error)
