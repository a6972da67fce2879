"""Cluster: the API server of one cluster, and one namespace of it. The only home of the client.

Objects are plain documents as the API gives them, by path, so that what judges them is pure.
"""

import base64
import json
import time
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from deployctl.errors import ClusterError
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import identity

if TYPE_CHECKING:
    from kubernetes.client import ApiClient
    from kubernetes.client.rest import RESTResponse
    from websocket import WebSocket

Document = dict[str, Any]
_IN_CLUSTER = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
OURS = {"app.kubernetes.io/managed-by": "deployctl"}  # a label of what we make
PATIENCE_S = 90.0
_RETRY_S = 1.0
_TIMEOUT_S = (5.0, 30.0)  # to connect, and for an answer
_CHUNK = 4096
_MERGE = "application/merge-patch+json"


class UnreachableError(ClusterError):
    """The API server did not answer; it may do so in a moment."""


class ConflictError(ClusterError):
    """Somebody else changed the object, or made it, in the meantime."""


class Cluster:
    """One namespace of the cluster that the settings or the kubeconfig name. Connects when asked.

    One that has answered, and does not any more, is asked again for PATIENCE_S: API servers are
    restarted.

    Raises, in every method:
        ClusterError: no kubeconfig, no right, or the API refuses.
        UnreachableError: no answer.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._as = identity.pairs(settings.impersonate, settings.impersonate_groups)
        self._connected: ApiClient | None = None
        self._context: str | None = None
        self._namespace: str | None = None
        self._answered = False

    @property
    def context(self) -> str:
        """The context's name; "" for the cluster that we are in."""
        self._client()
        return self._context or ""

    @property
    def namespace(self) -> str:
        """The namespace: as set, else the context's own."""
        self._client()
        return self._settings.namespace or self._namespace or "default"

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
        """All objects of a kind, in the API's order."""
        found: list[Document] = []
        more: dict[str, str] = {"limit": "500"}
        while True:
            page = self._call("GET", path, query={**query, **more}) or {}
            found += page.get("items") or []
            again = (page.get("metadata") or {}).get("continue")
            if not again:
                return found
            more["continue"] = again

    def create(self, path: str, document: Document) -> Document:
        """Makes an object.

        Raises:
            ConflictError: it is there already.
        """
        return self._call("POST", path, body=document) or {}

    def replace(self, path: str, document: Document) -> Document:
        """Writes an object over the one that it was read as.

        Raises:
            ConflictError: somebody else changed it since.
        """
        return self._call("PUT", path, body=document) or {}

    def patch(self, path: str, document: Document) -> Document | None:
        """Merges into an object (RFC 7386); None where there is none."""
        return self._call("PATCH", path, body=document)

    def put_secret(
        self,
        name: str,
        data: Mapping[str, bytes],
        *,
        kind: str = "Opaque",
        labels: Mapping[str, str] | None = None,
    ) -> None:
        """Lays entries over a Secret's, or makes it. `kind` is its type."""
        encoded = {entry: base64.b64encode(content).decode() for entry, content in data.items()}
        if self.patch(self.path("v1", "secrets", name), {"data": encoded}) is not None:
            return
        metadata = {"name": name, "labels": {**OURS, **(labels or {})}}
        document = {"apiVersion": "v1", "kind": "Secret", "type": kind, "metadata": metadata}
        self.create(self.path("v1", "secrets"), {**document, "data": encoded})

    def delete(self, path: str) -> bool:
        """Removes an object; False where there was none."""
        return self._call("DELETE", path) is not None

    def text(self, path: str, **query: str) -> str:
        """What a path gives as it is: a log."""
        answer = self._call("GET", path, query=query, raw=True)
        return str(answer["text"]) if answer else ""

    def follow(self, path: str, *, container: str, tail: int | None) -> Iterator[str]:
        """The lines of a pod's log as they come, until its container ends."""
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        query = {"container": container, "follow": "true"}
        query |= {"tailLines": str(tail)} if tail is not None else {}
        try:
            response = self._ask("GET", path, query, timeout_s=(_TIMEOUT_S[0], None))
            if response.status >= 400:
                raise _translated(response.status, response.read(), f"GET {path}")
            rest = b""
            for piece in response.response.stream(_CHUNK):
                *whole, rest = (rest + piece).split(b"\n")
                yield from (line.decode("utf-8", "replace") for line in whole)
            if rest:
                yield rest.decode("utf-8", "replace")
        except (HTTPError, ApiException, OSError) as error:
            raise UnreachableError(f"the log ends: {_short(error)}", where=path) from error

    def stream(self, path: str) -> "WebSocket":
        """Opens a stream to a path, as exec and port-forward are.

        Raises:
            ApiException: it cannot be opened.
        """
        from kubernetes.stream import ws_client

        api = self._client()
        _, url, headers, *_ = api.param_serialize("GET", path, auth_settings=["BearerToken"])
        address = ws_client.get_websocket_url(url)
        return identity.open_stream(api.configuration, address, headers, self._as)

    def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Document | None = None,
        timeout_s: tuple[float, float | None] = _TIMEOUT_S,
    ) -> "RESTResponse":
        """Asks once, as whom the settings say."""
        api = self._client()
        method, url, given, content, _ = api.param_serialize(
            method,
            path,
            query_params=list((query or {}).items()),
            header_params=dict(headers or {}),
            body=body,
            auth_settings=["BearerToken"],
        )
        with_identity = identity.headers(given, self._as)
        return api.call_api(method, url, with_identity, content, _request_timeout=timeout_s)

    def _client(self) -> "ApiClient":
        if self._connected is None:
            self._connected = self._connect()
        return self._connected

    def _connect(self) -> "ApiClient":
        from kubernetes import client, config

        settings, configuration = self._settings, client.Configuration()
        configuration.retries = False
        try:
            if settings.context is None and _IN_CLUSTER.is_file() and not _has_kubeconfig():
                config.load_incluster_config(client_configuration=configuration)
                self._namespace = _IN_CLUSTER.read_text(encoding="utf-8").strip()
            else:
                self._load(configuration)
        except (config.ConfigException, OSError, TypeError, ValueError) as error:
            raise ClusterError(
                f"there is no way to a cluster: {error}",
                where="kubeconfig",
                hint="name one with KUBECONFIG, and its context with --context; `kubectl config "
                "get-contexts` lists them",
            ) from error
        return client.ApiClient(configuration)

    def _load(self, configuration: Any) -> None:
        from kubernetes import config

        known, current = config.list_kube_config_contexts()
        names = [context["name"] for context in known]
        wanted = self._settings.context
        if wanted is not None and wanted not in names:
            raise ClusterError(
                f"there is no context {wanted!r}",
                where="--context",
                hint=f"the kubeconfig has {', '.join(names) or 'none'}",
            )
        chosen = next((c for c in known if c["name"] == wanted), current)
        config.load_kube_config(context=chosen["name"], client_configuration=configuration)
        self._context = chosen["name"]
        self._namespace = chosen["context"].get("namespace")

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Document | None = None,
        raw: bool = False,
    ) -> Document | None:
        from kubernetes.client import ApiException
        from urllib3.exceptions import HTTPError

        api = self._client()
        headers = {
            "Accept": "*/*" if raw else "application/json",
            "Content-Type": _MERGE if method == "PATCH" else "application/json",
        }
        deadline = time.monotonic() + (PATIENCE_S if self._answered and method != "POST" else 0)
        while True:
            try:
                response = self._ask(method, path, query, headers=headers, body=body)
                content = response.read()
                if response.status == 404 and method != "POST":
                    return None
                if response.status >= 400:
                    raise _translated(response.status, content, f"{method} {path}")
                self._answered = True
                break
            except (HTTPError, ApiException, OSError) as error:
                fault: Exception = error
                failure = UnreachableError(
                    f"the cluster's API server does not answer: {_short(error)}",
                    where=api.configuration.host,
                    hint="`kubectl get --raw /readyz` says whether it is there",
                )
            except UnreachableError as error:
                fault, failure = error, error
            if time.monotonic() >= deadline:
                raise failure from fault
            time.sleep(_RETRY_S)
        return {"text": content.decode("utf-8", "replace")} if raw else json.loads(content)


@cache
def cluster_of(settings: Settings) -> Cluster:
    """The one connection of a process: records and driver ask by it."""
    return Cluster(settings)


def _has_kubeconfig() -> bool:
    from kubernetes.config import kube_config

    named = str(kube_config.KUBE_CONFIG_DEFAULT_LOCATION)
    return any(Path(part).expanduser().is_file() for part in named.split(":"))


def _short(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).rpartition(": ")[2] or type(error).__name__


def _translated(status: int, body: bytes, where: str) -> ClusterError:
    try:
        said = str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        said = body.decode("utf-8", "replace").strip()[:200] or "no reason"
    if status == 409:
        return ConflictError(said, where=where)
    if status in (500, 502, 503, 504, 429):
        return UnreachableError(f"the API server is not ready: {said}", where=where)
    hint = None
    if status == 403:
        hint = "the verb and the resource that it names are missing in the user's Role"
    if status == 401:
        hint = "the kubeconfig's credential has expired, or is another cluster's"
    return ClusterError(f"the cluster refuses (HTTP {status}): {said}", where=where, hint=hint)
