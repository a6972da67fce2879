"""The Hub: HTTP that retries what passes; a repository's files, and spans of them."""

import json
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from deployctl.endpoint import without_credentials
from deployctl.errors import HubError, ModelError
from deployctl.hub import card
from deployctl.hub.jsonfile import too_large
from deployctl.hub.program.place import is_digest
from deployctl.hub.refusals import from_error, refusal, retry_after
from deployctl.hub.source import HubId

MAX_LISTING = 64 * 1024 * 1024
# The first request for a shard brings this much; most headers fit, so one request does.
HEAD = 64 * 1024
ATTEMPTS = 4
CONNECT_ATTEMPTS = 2  # whoever is offline should hear it soon
MAX_WAIT = 30.0  # seconds before one retry; a Hub that asks for more is reported instead
# Of a whole answer. What comes at SLOWEST bytes a second, or faster, may take its time: tokenizers
# have 10 to 30 MB, the largest header 100 MB, and eight of them share a link.
TIMEOUT = httpx.Timeout(30.0, connect=10.0)
SLOWEST = 8 * 1024
_PASSING = {429, 500, 502, 503, 504}


class HubClient:
    """GET with bounded retries. `sleep` and the httpx client are given, so tests need neither."""

    def __init__(
        self,
        client: httpx.Client,
        *,
        endpoint: str,
        token: str | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._endpoint, self._sleep = client, endpoint.rstrip("/"), sleep
        self._shown = without_credentials(self._endpoint)
        # identity: a compressed answer would make nonsense of byte ranges.
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "deployctl"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._token = token is not None

    def get(
        self, path: str, *, name: str, limit: int, span: tuple[int, int] | None = None
    ) -> bytes:
        """Fetches `path`, or `span` (start, length) of it; at most `limit` + 1 bytes are read.

        Raises:
            ModelError: there is no such repository, revision or file.
            HubError: the Hub refuses or cannot be reached.
        """
        headers = dict(self._headers)
        if span is not None:
            headers["Range"] = f"bytes={span[0]}-{span[0] + span[1] - 1}"
        url = f"{self._endpoint}/{path}"
        for attempt in range(1, ATTEMPTS + 1):
            most = ATTEMPTS
            try:
                with self._client.stream("GET", url, headers=headers) as response:
                    if response.is_success:
                        return _body(response, limit, span)
                    if span is not None and response.status_code == 416:
                        return b""  # the file ends before the span begins
                    wait = _wait(response, attempt)
                    problem = refusal(response, f"{self._shown}/{name}", with_token=self._token)
            except httpx.UnsupportedProtocol as error:  # no failure that passes
                raise from_error(error, self._shown) from error
            except httpx.TransportError as error:
                if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    most = CONNECT_ATTEMPTS
                wait, problem = 2.0 ** (attempt - 1), from_error(error, self._shown)
            except (httpx.HTTPError, httpx.InvalidURL) as error:
                raise from_error(error, self._shown) from error
            if wait is None or attempt == most:
                raise problem
            self._sleep(wait)
        raise AssertionError("unreachable")


class HubCheckpoint:
    """One commit of a repository. Weights are never fetched: only headers, by range."""

    local = False

    def __init__(self, client: HubClient, wanted: HubId) -> None:
        """Asks the Hub for the commit and its files.

        Raises:
            ModelError: no such repository or revision.
            HubError: the Hub refuses, fails, or answers something else.
        """
        path = f"api/models/{wanted.name}"
        if wanted.revision:
            path += f"/revision/{quote(wanted.revision, safe='')}"
        body = client.get(f"{path}?blobs=true", name=wanted.name, limit=MAX_LISTING)
        try:
            answer = json.loads(body)
            commit, siblings = answer["sha"], answer["siblings"]
            sizes = {_path(item): _size(item) for item in siblings}
            digests = {item["rfilename"]: _digest(item) for item in siblings}
            if not (isinstance(commit, str) and commit.isalnum() and len(commit) <= 64):
                raise ValueError("no commit")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HubError(
                "the answer is not the Hub's: it lists no files",
                where=wanted.name,
                hint="check HF_ENDPOINT; a proxy may have answered in its place",
            ) from error
        self.source, self.gated = wanted.name, bool(answer.get("gated"))
        self.files: Mapping[str, int | None] = dict(sorted(sizes.items()))
        self.digests: Mapping[str, str] = {name: text for name, text in digests.items() if text}
        self.revision: str | None = commit
        self._client, self._commit = client, commit
        self._base_models = card.base_models(answer.get("cardData"))
        self._heads: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def read(self, name: str, limit: int) -> bytes:
        """Returns a whole file.

        Raises:
            ModelError: more than `limit` bytes.
            HubError: the Hub failed.
        """
        known = self.files.get(name)
        if known is not None and known > limit:
            raise too_large(self.place(name), limit)
        data = self._client.get(self._path(name), name=self.source, limit=limit)
        if len(data) > limit:
            raise too_large(self.place(name), limit)
        return data

    def span(self, name: str, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start`, from the file's first HEAD bytes if there.

        Raises:
            HubError: the Hub failed.
        """
        with self._lock:
            head = self._heads.get(name)
        if head is None:
            head = self._get(name, 0, HEAD)
            with self._lock:
                self._heads[name] = head
        if start + length <= len(head) or len(head) < HEAD:
            return head[start : start + length]
        at = max(start, len(head))
        return head[start:] + self._get(name, at, start + length - at)

    def base_models(self) -> tuple[str, ...]:
        """The models that its card names as what it was made of."""
        return self._base_models

    def place(self, name: str) -> str:
        """Repository, commit and file."""
        return f"{self.source}@{self._commit[:12]}/{name}"

    def _get(self, name: str, start: int, length: int) -> bytes:
        known = self.files.get(name)
        if known is not None:
            length = min(length, known - start)
        if length <= 0:
            return b""
        path = self._path(name)
        return self._client.get(path, name=self.source, limit=length, span=(start, length))

    def _path(self, name: str) -> str:
        return f"{self.source}/resolve/{self._commit}/{quote(name)}"


def _path(item: Any) -> str:
    name = item["rfilename"]
    if not isinstance(name, str):
        raise TypeError("a file without a name")
    parts = name.split("/")
    if not name.isprintable() or len(name) > 1024 or any(p in ("", ".", "..") for p in parts):
        raise ModelError("the repository lists a file with an impossible name", where=ascii(name))
    return name


def _size(item: Any) -> int | None:
    size = item.get("size")
    return size if type(size) is int and size >= 0 else None


def _digest(item: Any) -> str:
    """SHA-256 of a file that git LFS keeps, git's own SHA-1 of another; else nothing."""
    large = item.get("lfs")
    text = large.get("sha256") if isinstance(large, dict) else item.get("blobId")
    return text if isinstance(text, str) and is_digest(text) else ""


def _body(response: httpx.Response, limit: int, span: tuple[int, int] | None) -> bytes:
    """Reads what was asked for and stops there, also when the server ignores the range."""
    skip, wanted = 0, limit + 1
    if span is not None:
        wanted = span[1]
        skip = 0 if response.status_code == 206 else span[0]
    data = bytearray()
    for chunk in response.iter_bytes():
        data += chunk
        if len(data) >= skip + wanted:
            break
    return bytes(data[skip : skip + wanted])


def _wait(response: httpx.Response, attempt: int) -> float | None:
    """Seconds before the next attempt; None when another would not help."""
    if response.status_code not in _PASSING:
        return None
    asked = retry_after(response.headers)
    wait = asked if asked is not None else 2.0 ** (attempt - 1)
    return wait if wait <= MAX_WAIT else None
