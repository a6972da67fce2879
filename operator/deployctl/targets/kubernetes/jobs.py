"""Jobs of ours: what their pods may do, and what events tell of them and of what waits."""

from collections.abc import Iterator, Sequence

from deployctl.errors import TargetError
from deployctl.targets.kubernetes import waits
from deployctl.targets.kubernetes.cluster import Cluster, Document


def pod_security(user: int, group: int) -> Document:
    """The securityContext of a pod, at the pod security level `restricted`."""
    return {
        "runAsNonRoot": True,
        "runAsUser": user,
        "runAsGroup": group,
        "fsGroup": group,
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def container_security() -> Document:
    """That of its containers."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }


def events_of(cluster: Cluster, *kinds: str) -> list[Document]:
    """Those of some kinds of object; none where we may not read them: they explain, and decide
    nothing. A busy namespace has tens of thousands of others."""
    path, found = cluster.path("v1", "events"), []
    try:
        for kind in kinds:
            found += cluster.items(path, fieldSelector=f"involvedObject.kind={kind}")
    except TargetError:
        return []
    return found


def refused(job: str, events: Sequence[Document]) -> Iterator[waits.Wait]:
    """Pods that the cluster refuses to make."""
    for event in reversed(events):
        if event["involvedObject"].get("name") == job and event.get("reason") == "FailedCreate":
            yield waits.refused_pod(str(event.get("message", "")), waits.first_seen(event))
            return
