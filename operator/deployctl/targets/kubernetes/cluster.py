"""Cluster: the API server of one cluster, and one namespace of it.

Objects are plain documents as the API gives them, by path, so that what judges them is pure.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from deployctl.events import Event, Tell, silent
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes.connection import Connection, connect
from deployctl.targets.kubernetes.refusals import (
    ConflictError,
    ForbiddenError,
    InvalidError,
    UnreachableError,
    in_words,
    translated,
)

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse
    from websocket import WebSocket

__all__ = [
    "OURS",
    "PATIENCE_S",
    "Cluster",
    "ConflictError",
    "Document",
    "ForbiddenError",
    "InvalidError",
    "UnreachableError",
    "cluster_of",
]

Document = dict[str, Any]
OURS = {"app.kubernetes.io/managed-by": "deployctl"}  # a label of what we make
PATIENCE_S = 90.0
_RETRY_S = 1.0
_TIMEOUT_S = (5.0, 30.0)  # to connect, and for an answer
_CHUNK = 4096
_TEXT = "*/*"  # as it is
_MERGE, _APPLY = "application/merge-patch+json", "application/apply-patch+yaml"  # JSON is YAML


class Cluster:
    """One namespace of the cluster that the settings or the kubeconfig name. Connects when asked.

    One that has answered, and does not any more, is asked again for `patience_s`: API servers are
    restarted.

    Raises, in every method:
        ClusterError: no kubeconfig, no right, or the API refuses.
        UnreachableError: no answer.
    """

    def __init__(self, settings: Settings, *, patience_s: float = PATIENCE_S) -> None:
        self._settings = settings
        self._patience_s = patience_s
        self._connected: Connection | None = None
        self._answered = False
        self._ahead_s = 0.0  # our clock of the API server's
        self._lock = threading.Lock()
        self.tell: Tell = silent  # who hears that it is waited for

    @property
    def context(self) -> str:
        """The context's name; "" for the cluster that we are in."""
        return self._connection().context

    @property
    def server(self) -> str:
        """The API server: `https://10.0.0.1:6443`."""
        return self._connection().api.host

    @property
    def namespace(self) -> str:
        """The namespace: as set, else the context's own."""
        return self._settings.namespace or self._connection().namespace or "default"

    def path(self, group: str, kind: str, name: str = "") -> str:
        """The path of an object of the namespace, or of all of a kind. `group` is the API's:
        `v1`, `apps/v1`; `kind` is its plural."""
        root = "/api" if "/" not in group else "/apis"
        end = f"/{quote(name, safe='')}" if name else ""
        return f"{root}/{group}/namespaces/{self.namespace}/{kind}{end}"

    def get(self, path: str, **query: str) -> Document | None:
        """An object, or None where there is none."""
        return self._call("GET", path, query=query)

    def items(self, path: str, **query: str) -> list[Document]:
        """All objects of a kind, whole, in the API's order."""
        return self._listed(path, "application/json", query)

    def metadata(self, path: str, **query: str) -> list[Document]:
        """The same, but of each its metadata alone: names, labels, annotations."""
        accept = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
        return self._listed(path, accept, query)

    def _listed(self, path: str, accept: str, query: Mapping[str, str]) -> list[Document]:
        found: list[Document] = []
        more: dict[str, str] = {"limit": "500"}
        while True:
            page = self._call("GET", path, query={**query, **more}, accept=accept) or {}
            found += page.get("items") or []
            again = (page.get("metadata") or {}).get("continue")
            if not again:
                return found
            more["continue"] = again

    def create(self, path: str, document: Document, **query: str) -> Document:
        """Makes an object.

        Raises:
            ConflictError: it is there already.
        """
        return self._call("POST", path, query=query, body=document) or {}

    def replace(self, path: str, document: Document) -> Document:
        """Writes an object over the one that it was read as.

        Raises:
            ConflictError: somebody else changed it since.
        """
        return self._call("PUT", path, body=document) or {}

    def patch(self, path: str, document: Document) -> Document | None:
        """Merges into an object (RFC 7386); None where there is none."""
        return self._call("PATCH", path, body=document, content=_MERGE)

    def apply(
        self,
        path: str,
        document: Document,
        *,
        manager: str,
        force: bool = True,
        dry_run: bool = False,
    ) -> Document:
        """Has the API server make an object what a document says (server-side apply), as the
        `manager` that owns the fields in it. Returns what comes of it; with `dry_run`, would come.

        Raises:
            ConflictError: not with `force`: others own fields that would be changed.
        """
        query = {"fieldManager": manager, "force": "true" if force else "false"}
        query |= {"dryRun": "All"} if dry_run else {}
        return self._call("PATCH", path, query=query, body=document, content=_APPLY) or {}

    def put_secret(
        self,
        name: str,
        data: Mapping[str, bytes],
        *,
        kind: str = "Opaque",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        """Lays entries, labels and annotations over a Secret's, or makes it. `kind` is its type."""
        encoded = {entry: base64.b64encode(content).decode() for entry, content in data.items()}
        metadata: Document = {"labels": {**OURS, **(labels or {})}}
        if annotations:
            metadata["annotations"] = dict(annotations)
        changes = {"metadata": metadata, "data": encoded}
        if self.patch(self.path("v1", "secrets", name), changes) is not None:
            return
        document = {"apiVersion": "v1", "kind": "Secret", "type": kind, "data": encoded}
        self.create(
            self.path("v1", "secrets"), {**document, "metadata": {"name": name, **metadata}}
        )

    def delete(self, path: str, *, version: str = "", **query: str) -> bool:
        """Removes an object, of that resource version if one is named; False where there was none.

        Raises:
            ConflictError: it is of another version.
        """
        body = {"preconditions": {"resourceVersion": version}} if version else None
        return self._call("DELETE", path, query=query, body=body) is not None

    def clock_skew_s(self) -> float | None:
        """Seconds that our clock is before the API server's, to about one; None where it does not
        say what its own is.
        """
        return _ahead_s(self._ask("GET", "/version"))

    def now(self) -> datetime:
        """The time in the cluster, by its last answer: it is what times of objects are held to."""
        return datetime.now(UTC) - timedelta(seconds=self._ahead_s)

    def text(self, path: str, **query: str) -> str:
        """What a path gives as it is: a log."""
        answer = self._call("GET", path, query=query, accept=_TEXT)
        return str(answer["text"]) if answer else ""

    def follow(self, path: str, *, container: str, tail: int | None) -> Iterator[str]:
        """The lines of a pod's log as they come, until its container ends."""
        from urllib3.exceptions import HTTPError

        query = {"container": container, "follow": "true"}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        try:
            response = self._ask("GET", path, query, timeout_s=(_TIMEOUT_S[0], None), whole=False)
            if response.status >= 400:
                raise translated(response.status, response.data, f"GET {path}")
            rest = b""
            for piece in response.stream(_CHUNK):
                *whole, rest = (rest + piece).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if rest:
                yield rest.decode("utf-8", "replace")
        except (HTTPError, OSError) as error:
            raise UnreachableError(f"the log ends: {in_words(error)}", where=path) from error

    def stream(self, path: str) -> "WebSocket":
        """Opens a stream to a path, as exec and port-forward are."""
        from websocket import WebSocketBadStatusException, WebSocketException

        try:
            return self._connection().api.stream(path)
        except WebSocketBadStatusException as error:
            body = error.resp_body or b""
            raise translated(error.status_code, body, f"GET {path}") from error
        except (WebSocketException, OSError) as error:
            raise UnreachableError(f"no stream: {in_words(error)}", where=path) from error

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Document | None = None,
        timeout_s: tuple[float, float | None] = _TIMEOUT_S,
        whole: bool = True,
    ) -> "BaseHTTPResponse":
        """Asks once."""
        api = self._connection().api
        return api.ask(
            method, path, query or {}, headers or {}, body, timeout_s=timeout_s, whole=whole
        )

    def _connection(self) -> Connection:
        with self._lock:
            if self._connected is None:
                self._connected = connect(self._settings)
            return self._connected

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        accept: str = "application/json",
        content: str = "application/json",
    ) -> Document | None:
        from urllib3.exceptions import HTTPError, NewConnectionError

        headers = {"Accept": accept, "Content-Type": content}
        deadline = time.monotonic() + (self._patience_s if self._answered else 0)
        told = False
        while True:
            try:
                response = self._ask(method, path, query, headers=headers, body=body)
                said = response.data
                self._ahead_s = _ahead_s(response) or 0.0
                if response.status == 404 and method != "POST":
                    return None
                if response.status >= 400:
                    raise translated(response.status, said, f"{method} {path}")
                self._answered = True
                break
            except (HTTPError, OSError) as error:
                fault: Exception = error
                failure = UnreachableError(
                    f"the cluster's API server does not answer: {in_words(error)}",
                    where=self._connection().api.host,
                    hint="`kubectl get --raw /readyz` says whether it is there",
                )
            except UnreachableError as error:
                fault, failure = error, error
            # What a POST asks for may have been made, though its answer was lost.
            lost = method == "POST" and not isinstance(
                getattr(fault, "reason", fault), NewConnectionError
            )
            if lost or time.monotonic() >= deadline:
                raise failure from fault
            if not told:
                self.tell(Event("phase", f"waiting: {failure.message}"))
                told = True
            time.sleep(_RETRY_S)
        return {"text": said.decode("utf-8", "replace")} if accept == _TEXT else json.loads(said)


@cache
def cluster_of(settings: Settings) -> Cluster:
    """The one connection of a process: records and driver ask by it."""
    return Cluster(settings)


def _ahead_s(response: "BaseHTTPResponse") -> float | None:
    said = response.headers.get("date")
    return time.time() - parsedate_to_datetime(said).timestamp() - 0.5 if said else None
