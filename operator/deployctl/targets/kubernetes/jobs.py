"""What a Job of ours waits for, as events tell it."""

from collections.abc import Iterator, Sequence

from deployctl.errors import TargetError
from deployctl.targets.kubernetes import waits
from deployctl.targets.kubernetes.cluster import Cluster, Document


def events_of(cluster: Cluster) -> list[Document]:
    """The namespace's; none where we may not read them: they explain, and decide nothing."""
    try:
        return cluster.items(cluster.path("v1", "events"))
    except TargetError:
        return []


def refused(job: str, events: Sequence[Document]) -> Iterator[waits.Wait]:
    """Pods that the cluster refuses to make."""
    for event in reversed(events):
        if event["involvedObject"].get("name") == job and event.get("reason") == "FailedCreate":
            yield waits.refused_pod(str(event.get("message", "")), waits.first_seen(event))
            return
