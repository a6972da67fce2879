"""How far a rollout is, what it waits for, what ends it: from the objects of a cluster. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from deployctl.targets.kubernetes.cluster import Document
from deployctl.targets.kubernetes.waits import (
    Obstacle,
    Wait,
    condition,
    refused_pod,
    time_of,
    waits_of,
)

_REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"


class Seen(NamedTuple):
    """A look at a rollout."""

    done: bool
    waits: tuple[str, ...] = ()
    problem: Obstacle | None = None


def settled(deployment: Document) -> bool:
    """Whether all of a Deployment's pods are there and ready, and none is of a former revision."""
    status = deployment.get("status") or {}
    seen = status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
    wanted = deployment["spec"].get("replicas", 1)
    return seen and _counts(deployment) == [wanted] * 3


def look(
    deployment: Document,
    replica_sets: Sequence[Document],
    pods: Sequence[Document],
    events: Sequence[Document],
    now: datetime,
    *,
    cards: str = "",
) -> Seen:
    """Judges a Deployment by its own ReplicaSets, pods and their events. `cards`: what is to be
    said of cards to a pod without a node.
    """
    newest = _newest(deployment, replica_sets)
    if deployment["status"].get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return Seen(False, ("the cluster takes the new revision in",))
    if newest is None:
        return Seen(False, ("pods are being made",))
    own = [pod for pod in pods if _labels(pod).get(HASH) == _labels(newest).get(HASH)]
    waits = [*_of_the_set(newest), *(wait for pod in own for wait in waits_of(pod, events, cards))]
    for wait in waits:
        if wait.over(now):
            return Seen(False, (), wait.problem)
    deadline = condition(deployment, "Progressing")
    if deadline.get("status") == "False" and deadline.get("reason") == "ProgressDeadlineExceeded":
        last = f"; the last that it waited for: {waits[0].text}" if waits else ""
        hint = "give it more time with --startup-timeout SECONDS, or look at the pods' logs"
        return Seen(False, (), Obstacle("deadline", f"the rollout took too long{last}", hint))
    if settled(deployment):
        return Seen(True)
    wanted = deployment["spec"].get("replicas", 1)
    standing = _standing(_counts(deployment), wanted)
    return Seen(False, tuple(wait.text for wait in waits) or (standing,))


def _counts(deployment: Document) -> list[int]:
    status = deployment.get("status") or {}
    return [status.get(key, 0) for key in ("updatedReplicas", "availableReplicas", "replicas")]


def _standing(counts: Sequence[int], wanted: int) -> str:
    updated, available, there = counts
    if there > updated:
        return f"{there - updated} of the former pods to end"
    return f"{available} of {wanted} pods are ready"


def _newest(deployment: Document, replica_sets: Iterable[Document]) -> Document | None:
    number = deployment["metadata"].get("annotations", {}).get(_REVISION)
    for each in replica_sets:
        if each["metadata"].get("annotations", {}).get(_REVISION) == number:
            return each
    return None


def _of_the_set(replica_set: Document) -> Iterator[Wait]:
    """Pods that the cluster refuses to make."""
    failure = condition(replica_set, "ReplicaFailure")
    if failure.get("status") != "True":
        return
    since = time_of(failure.get("lastTransitionTime"))
    yield refused_pod(str(failure.get("message", "")), since)


def newest_hash(pods: Sequence[Document]) -> str | None:
    """The pod-template-hash of the pods that were made last."""
    made = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")] or pods
    last = max(made, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)
    return _labels(last).get(HASH) if last else None


def ready(pod: Document) -> bool:
    """Whether a pod takes requests."""
    ends = pod["metadata"].get("deletionTimestamp")
    return not ends and condition(pod, "Ready").get("status") == "True"


def _labels(document: Document) -> dict[str, str]:
    labels: dict[str, str] = document["metadata"].get("labels") or {}
    return labels
