"""A repository on the Hub as a shelf: its list of files, and spans of them."""

import json
import threading
from collections.abc import Mapping
from typing import Any, Self
from urllib.parse import quote

from deployctl.errors import HubError, ModelError
from deployctl.hub.client import HubClient
from deployctl.hub.jsonfile import too_large
from deployctl.hub.source import HubId

MAX_LISTING = 64 * 1024 * 1024
# The first request for a shard brings this much; most headers fit, so one request does.
HEAD = 64 * 1024


class RepositoryShelf:
    """One commit of a repository. Weights are never fetched: only headers, by range."""

    local = False

    def __init__(
        self,
        client: HubClient,
        source: str,
        revision: str,
        gated: bool,
        files: Mapping[str, int | None],
    ) -> None:
        self.source, self.gated, self.files = source, gated, files
        self.revision: str | None = revision
        self._commit = revision
        self._client = client
        self._heads: dict[str, bytes] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(cls, client: HubClient, wanted: HubId) -> Self:
        """Asks the Hub for the commit and its files.

        Raises:
            ModelError: no such repository or revision.
            HubError: the Hub refuses, fails, or answers nonsense.
        """
        path = f"api/models/{wanted.name}"
        if wanted.revision:
            path += f"/revision/{quote(wanted.revision, safe='')}"
        body = client.get(f"{path}?blobs=true", name=wanted.name, limit=MAX_LISTING)
        try:
            answer = json.loads(body)
            commit, siblings = answer["sha"], answer["siblings"]
            files = {_path(item): _size(item) for item in siblings}
            if not (isinstance(commit, str) and commit.isalnum() and len(commit) <= 64):
                raise ValueError("no commit")
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HubError(
                "the answer is not the Hub's: it lists no files",
                where=wanted.name,
                hint="check HF_ENDPOINT; a proxy may have answered in its place",
            ) from error
        gated = bool(answer.get("gated"))
        return cls(client, wanted.name, commit, gated, dict(sorted(files.items())))

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
