"""The claim that holds a checkpoint: made, found whole, used by services, removed with the last."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deployctl.events import Event, Tell
from deployctl.render import modelclaim
from deployctl.targets.driver import ModelFile
from deployctl.targets.kubernetes.cluster import OURS, Cluster, ConflictError, Document

if TYPE_CHECKING:
    from deployctl.render.values import Values


LABEL = "deployctl.io/checkpoint"  # on the claim, its Job and its pods
DIGEST, MODEL, WHOLE = "deployctl.io/digest", "deployctl.io/model", "deployctl.io/whole"
_USED = "used-by.deployctl.io/"  # and a service's name: its newest revision that does
_FETCHED = "true"  # in the place of a revision: whoever brought it there wants it later
_KIND = "persistentvolumeclaims"


class Cargo(NamedTuple):
    """A checkpoint of this machine."""

    folder: Path
    digest: str
    files: Sequence[ModelFile]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.size for file in self.files)


def document(name: str, values: "Values", cargo: Cargo) -> Document:
    """The claim for a checkpoint."""
    upload = values.model.upload
    spec: Document = {
        "accessModes": [modelclaim.access_mode(values)],
        "resources": {"requests": {"storage": modelclaim.claim_size(values, cargo.size)}},
    }
    if upload.storage_class:
        spec["storageClassName"] = upload.storage_class
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": name,
            "labels": {**values.labels, **OURS, LABEL: name},
            "annotations": {DIGEST: cargo.digest, MODEL: cargo.folder.name},
        },
        "spec": spec,
    }


def find(cluster: Cluster, name: str) -> Document | None:
    """The claim; None where there is none, or it is being removed."""
    found = cluster.get(cluster.path("v1", _KIND, name))
    return None if found is None or found["metadata"].get("deletionTimestamp") else found


def is_whole(claim: Document | None, digest: str) -> bool:
    """Whether all of a checkpoint was found on its claim."""
    noted = _annotations(claim) if claim else {}
    return noted.get(WHOLE) == "true" and noted.get(DIGEST) == digest


def mark_whole(cluster: Cluster, name: str) -> None:
    """Notes that all of it is there."""
    cluster.patch(cluster.path("v1", _KIND, name), {"metadata": {"annotations": {WHOLE: "true"}}})


def make(cluster: Cluster, claim: Document) -> bool:
    """Makes a claim; False where it is there."""
    if find(cluster, claim["metadata"]["name"]) is not None:
        return False
    cluster.create(cluster.path("v1", _KIND), claim)
    return True


def use(cluster: Cluster, name: str, service: str, revision: int) -> list[str]:
    """Notes that a revision of a service uses it (0: one that is to come); returns the others."""
    note = {"metadata": {"annotations": {_USED + service: _as_noted(revision)}}}
    claim = cluster.patch(cluster.path("v1", _KIND, name), note)
    return [user for user in users(claim or {}) if user != service]


def users(claim: Document) -> list[str]:
    """The services that use a claim."""
    noted = _annotations(claim)
    return sorted(key.removeprefix(_USED) for key in noted if key.startswith(_USED))


def of_one_node(claim: Document) -> bool:
    """Whether only the pods of one node can have it."""
    return "ReadWriteOnce" in claim["spec"]["accessModes"]


def release(cluster: Cluster, service: str, tell: Tell) -> None:
    """Removes the claims that no other service and no pod uses; of others, notes that this service
    does not any more."""
    for claim in used_by(cluster, service):
        _let_go(cluster, claim["metadata"]["name"], service, tell)


def release_of_old(cluster: Cluster, service: str, kept: Collection[int], tell: Tell) -> None:
    """The same of the claims that no revision uses any more to which the service can go back:
    those in `kept`."""
    for claim in used_by(cluster, service):
        noted = _annotations(claim)[_USED + service]
        if noted.isdigit() and int(noted) not in kept:
            _let_go(cluster, claim["metadata"]["name"], service, tell)


def hand_over(cluster: Cluster, service: str, heir: str, revision: int, tell: Tell) -> None:
    """Notes that another service uses this one's claims in its stead, as long as it has that
    revision: none is removed. Says where one stays that the other did not use before."""
    for claim in used_by(cluster, service):
        name = claim["metadata"]["name"]
        noted = _annotations(claim).get(_USED + heir, _as_noted(revision))
        notes = {_USED + service: None, _USED + heir: noted}
        cluster.patch(cluster.path("v1", _KIND, name), {"metadata": {"annotations": notes}})
        if heir not in users(claim):
            hint = f"`kubectl delete pvc {name}` removes it"
            tell(Event("note", f"kept {title(claim)}, for the next up of {heir}; {hint}"))


def used_by(cluster: Cluster, service: str) -> list[Document]:
    """The claims of checkpoints that a service uses."""
    claims = cluster.items(cluster.path("v1", _KIND), labelSelector=LABEL)
    return [claim for claim in claims if service in users(claim)]


def title(claim: Document) -> str:
    """`claim NAME (MODEL)`, for a person."""
    return f"claim {claim['metadata']['name']} ({_annotations(claim).get(MODEL, '')})"


def _let_go(cluster: Cluster, name: str, service: str, tell: Tell) -> None:
    path = cluster.path("v1", _KIND, name)
    claim = cluster.patch(path, {"metadata": {"annotations": {_USED + service: None}}})
    if claim is None:
        return
    left = users(claim) or [f"pod {pod}" for pod in _pods_with(cluster, name)]
    if left:
        tell(Event("note", f"kept {title(claim)}: used by {', '.join(left)}"))
        return
    try:  # as it was seen: somebody may begin to use it now
        if cluster.delete(path, version=claim["metadata"]["resourceVersion"]):
            tell(Event("note", f"removed {title(claim)}"))
    except ConflictError:
        tell(Event("note", f"kept {title(claim)}: somebody begins to use it"))


def _pods_with(cluster: Cluster, name: str) -> list[str]:
    """The pods that have it mounted, but for those that end."""
    return [
        pod["metadata"]["name"]
        for pod in cluster.items(cluster.path("v1", "pods"))
        if pod.get("status", {}).get("phase") not in ("Succeeded", "Failed")
        and not pod["metadata"].get("deletionTimestamp")
        and any(
            (volume.get("persistentVolumeClaim") or {}).get("claimName") == name
            for volume in pod["spec"].get("volumes") or ()
        )
    ]


def _as_noted(revision: int) -> str:
    return str(revision) if revision else _FETCHED


def _annotations(claim: Document) -> dict[str, str]:
    found: dict[str, str] = claim.get("metadata", {}).get("annotations") or {}
    return found
