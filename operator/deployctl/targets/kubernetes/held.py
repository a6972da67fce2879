"""What a cluster holds of a release's objects, and what Helm would make of them: by the API
server's own dry run, so that its defaults and what others own are on both sides.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from deployctl.targets.kubernetes.cluster import Cluster, ConflictError, Document, InvalidError

HELM = "helm"  # as which Helm owns the fields that it sets
_AT_ONCE = 8
_RELEASE, _POLICY = "meta.helm.sh/release-name", "helm.sh/resource-policy"
# What the cluster writes by itself.
_OWN_ANNOTATIONS = {"deployment.kubernetes.io/revision"}


class HeldObject(NamedTuple):
    """One object: as it is, as it would be (None: not there; the same, where that is refused), and
    who else set fields of it that would be set otherwise."""

    now: Document | None
    then: Document | None
    others: tuple[str, ...] = ()
    refused: str | None = None  # why it would not be made

    @property
    def title(self) -> str:
        """`Deployment/chat`."""
        document = self.now or self.then or {}
        return f"{document['kind']}/{document['metadata']['name']}"


def look(
    cluster: Cluster, service: str, objects: Sequence[Document], former: Sequence[Document]
) -> list[HeldObject]:
    """Those of a service's objects that would change. `former` are those of its release, of which
    Helm removes what is not among `objects`.

    Raises:
        ClusterError: an object cannot be read, or would be refused.
    """
    kept = {path_of(cluster, document) for document in objects}
    gone = [document for document in former if path_of(cluster, document) not in kept]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        changed = pool.map(lambda document: _changed(cluster, service, document), objects)
        removed = pool.map(lambda document: cluster.get(path_of(cluster, document)), gone)
        found = [each for each in changed if each.refused or each.now != each.then]
        return found + [HeldObject(_plain(now), None) for now in removed if now is not None]


def _changed(cluster: Cluster, service: str, document: Document) -> HeldObject:
    path, wanted = path_of(cluster, document), _as_helm_makes_it(cluster, service, document)
    now = cluster.get(path)
    try:
        then = cluster.apply(path, wanted, manager=HELM, dry_run=True)
    except InvalidError as error:
        is_there = _plain(now or wanted)
        return HeldObject(is_there, is_there, refused=error.message)
    if now is None:
        return HeldObject(None, _plain(then))
    found = HeldObject(_plain(now), _plain(then))
    return found if found.now == found.then else found._replace(others=_others(cluster, wanted))


def _others(cluster: Cluster, wanted: Document) -> tuple[str, ...]:
    try:
        path = path_of(cluster, wanted)
        cluster.apply(path, wanted, manager=HELM, dry_run=True, force=False)
    except ConflictError as error:
        return tuple(dict.fromkeys(error.managers))
    return ()


def remove(cluster: Cluster, service: str, objects: Iterable[Document]) -> None:
    """Removes those that are there and of the service's Helm release, but for what outlives it.

    Raises:
        ClusterError: one may not be removed.
    """
    for document in objects:
        path = path_of(cluster, document)
        found = cluster.get(path)
        noted = (found or {}).get("metadata", {}).get("annotations") or {}
        if noted.get(_RELEASE) == service and noted.get(_POLICY) != "keep":
            cluster.delete(path)


def path_of(cluster: Cluster, document: Document) -> str:
    """The path of an object of the chart: all of them are of the namespace."""
    kind = str(document["kind"]).lower()
    if kind.endswith("y"):
        plural = f"{kind[:-1]}ies"
    else:
        plural = f"{kind}es" if kind.endswith("s") else f"{kind}s"
    return cluster.path(document["apiVersion"], plural, document["metadata"]["name"])


def _as_helm_makes_it(cluster: Cluster, service: str, document: Document) -> Document:
    """With what Helm adds to every object of a release."""
    metadata = document["metadata"]
    marks = {
        _RELEASE: service,
        "meta.helm.sh/release-namespace": cluster.namespace,
    }
    annotations = {**(metadata.get("annotations") or {}), **marks}
    return {**document, "metadata": {**metadata, "annotations": annotations}}


def _plain(document: Document) -> Document:
    """What of an object is somebody's will."""
    metadata = document["metadata"]
    kept = {key: metadata[key] for key in ("name", "namespace", "labels") if key in metadata}
    annotations = dict(_annotations(metadata))
    if annotations:
        kept["annotations"] = annotations
    rest = {k: v for k, v in document.items() if k not in ("metadata", "status")}
    return {**rest, "metadata": kept}


def _annotations(metadata: Document) -> Iterator[tuple[str, str]]:
    for name, value in (metadata.get("annotations") or {}).items():
        if name not in _OWN_ANNOTATIONS:
            yield name, value
