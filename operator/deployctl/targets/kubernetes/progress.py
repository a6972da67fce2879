"""How far a rollout is, what it waits for, and what ends it: from the objects of a cluster. Pure.

What may pass (a node that is being added, a registry that is slow) is waited for, each for its
time; what does not pass by waiting ends the rollout at once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from deployctl.targets.kubernetes.cluster import Document

# Seconds that each is waited for.
NODE_S = 300.0  # a node for a pod; longer where an autoscaler has said that it brings one
IMAGE_S = 120.0  # an image that cannot be pulled for a reason that may pass
VOLUME_S = 300.0  # a volume to be made and mounted
SETUP_S = 60.0  # a Secret or ConfigMap that is missing; a quota that the former pods hold
_REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
_SCALES_UP = {"TriggeredScaleUp", "NominatedNode", "Nominated"}
_VOLUME_EVENTS = {"FailedMount", "FailedAttachVolume"}
_GONE_IMAGE = re.compile(r"not found|manifest unknown|does not exist|NotFound|invalid reference")
_NO_RIGHT = re.compile(r"unauthorized|authentication required|denied|forbidden", re.IGNORECASE)
_TOO_MANY = re.compile(r"toomanyrequests|rate limit|\b429\b", re.IGNORECASE)


class Obstacle(NamedTuple):
    """What ends a rollout. `code` is stable."""

    code: str
    message: str
    hint: str


class Wait(NamedTuple):
    """What a rollout waits for, and the problem that it is after `patience_s`."""

    text: str
    problem: Obstacle | None = None
    since: datetime | None = None
    patience_s: float = 0.0

    def over(self, now: datetime) -> bool:
        """Whether it was waited for long enough."""
        if self.problem is None:
            return False
        waited = (now - self.since).total_seconds() if self.since else 0.0
        return waited >= self.patience_s


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
    """Judges a Deployment by its own ReplicaSets, pods and their events. `cards`: why no node
    gives a pod the cards that it claims.
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
    deadline = _condition(deployment, "Progressing")
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
    failure = _condition(replica_set, "ReplicaFailure")
    if failure.get("status") != "True":
        return
    since = time_of(failure.get("lastTransitionTime"))
    yield refused_pod(str(failure.get("message", "")), since)


def refused_pod(said: str, since: datetime | None) -> Wait:
    """A pod that the cluster refuses to make, by what it says."""
    if "exceeded quota" in said:
        hint = "raise the quota, or ask for less: resources in --values"
        problem = Obstacle("quota", f"a quota of the namespace refuses the pod: {said}", hint)
    elif "violates PodSecurity" in said:
        hint = "the values under security and model.hostPath are what a pod security level forbids"
        problem = Obstacle("pod_security", f"pod security refuses the pod: {said}", hint)
    else:
        hint = "an admission webhook or the API server refuses it; its owner knows why"
        problem = Obstacle("pod_refused", f"the pod is refused: {said}", hint)
    return Wait(problem.message, problem, since, SETUP_S)


def waits_of(pod: Document, events: Sequence[Document], cards: str = "") -> Iterator[Wait]:
    """What one pod waits for; nothing, once it is being removed."""
    if pod["metadata"].get("deletionTimestamp"):
        return
    name, status = pod["metadata"]["name"], pod.get("status", {})
    own = [event for event in events if event["involvedObject"].get("name") == name]
    scheduled = _condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield _unscheduled(pod, scheduled, own, cards)
        return
    if status.get("reason") == "Evicted":
        yield Wait(f"{name} was evicted: {status.get('message', '')}".strip(": "))
        return
    since = time_of(scheduled.get("lastTransitionTime"))
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        yield from _of_a_container(name, container, own, since)


def _unscheduled(
    pod: Document, scheduled: Document, events: Sequence[Document], cards: str
) -> Wait:
    name = pod["metadata"]["name"]
    said = str(scheduled.get("message", "")).partition(" preemption:")[0].strip()
    since = time_of(pod["metadata"].get("creationTimestamp"))
    text = f"{name} waits for a node: {said or 'the scheduler has not looked yet'}"
    if any(event.get("reason") in _SCALES_UP for event in events):
        return Wait(f"{text} (a node is being added)")
    if "PersistentVolumeClaim" in said or "persistentvolumeclaim" in said:
        hint = "cache.storageClass and cache.accessMode must be such that the cluster can give"
        return Wait(text, Obstacle("claim", f"no volume for {name}: {said}", hint), since, VOLUME_S)
    if cards and "cannot allocate all claims" in said:
        hint = "deployctl plan shows what a card must have; --gpu any takes any that has it"
        problem = Obstacle("no_device", f"{name} gets no card: {cards}", hint)
        return Wait(f"{name} waits for a card: {cards}", problem, since, NODE_S)
    hint = "kubectl get nodes shows what there is; the plan's card is chosen by the nodes' labels"
    problem = Obstacle("no_node", f"no node takes {name}: {said}", hint)
    return Wait(text, problem, since, NODE_S)


def _of_a_container(
    pod: str, container: Document, events: Sequence[Document], since: datetime | None
) -> Iterator[Wait]:
    state = container.get("state", {})
    ended = container.get("lastState", {}).get("terminated") or state.get("terminated")
    waiting = state.get("waiting") or {}
    reason, said = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    if ended and (ended.get("exitCode") or container.get("restartCount")):
        yield Wait(f"{pod} ended", _ended(pod, container["name"], ended), None, 0.0)
    elif reason in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName"):
        yield _image(pod, str(container.get("image")), _pull_error(events, said), since)
    elif reason in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError"):
        hint = "kubectl describe pod names the Secret or ConfigMap; make it, and up again"
        problem = Obstacle("container", f"{pod} cannot be started: {said}", hint)
        yield Wait(problem.message, problem, since, SETUP_S)
    elif waiting:
        mount = next((e for e in reversed(events) if e.get("reason") in _VOLUME_EVENTS), None)
        if mount is None:
            yield Wait(f"{pod}: {_stage(reason, events)}")
            return
        hint = "the claim, its StorageClass and its driver; kubectl describe pod shows the events"
        problem = Obstacle("volume", f"{pod} cannot mount its volume: {mount['message']}", hint)
        yield Wait(problem.message, problem, since, VOLUME_S)
    elif state.get("running") and not container.get("ready"):
        yield Wait(f"{pod}: the engine starts")


def _stage(reason: str, events: Sequence[Document]) -> str:
    last = events[-1] if events else {}
    if last.get("reason") == "Pulling":
        return "the image is pulled"
    return "waits for its turn" if reason == "PodInitializing" else "the container is made"


def _pull_error(events: Sequence[Document], said: str) -> str:
    """What the registry said: the container's own words are "Back-off pulling" in the end."""
    failed = [str(event.get("message", "")) for event in events if event.get("reason") == "Failed"]
    return next((message for message in reversed(failed) if "pull" in message), said)


def _image(pod: str, image: str, said: str, since: datetime | None) -> Wait:
    short = said.rpartition(": ")[2] if len(said) > 200 else said
    if _TOO_MANY.search(said):
        problem = Obstacle(
            "image_rate",
            f"the registry limits how often the image {image} is pulled",
            "name a Secret with an account under engine.pullSecrets, or use a mirror with --image",
        )
        return Wait(problem.message, problem, since, NODE_S)
    if _GONE_IMAGE.search(said):
        hint = "check --image and its tag"
        problem = Obstacle("image_missing", f"there is no image {image}: {short}", hint)
        return Wait(problem.message, problem, None, 0.0)
    if _NO_RIGHT.search(said):
        hint = "name a Secret for the registry under engine.pullSecrets with --values"
        problem = Obstacle("image_denied", f"the registry refuses the image {image}: {short}", hint)
        return Wait(problem.message, problem, None, 0.0)
    hint = "the nodes must reach the registry; --image names another"
    problem = Obstacle("image", f"the image {image} cannot be pulled: {short}", hint)
    return Wait(f"{pod}: {problem.message}", problem, since, IMAGE_S)


def _ended(pod: str, container: str, ended: Document) -> Obstacle:
    code = ended.get("exitCode")
    if ended.get("reason") == "OOMKilled":
        hint = "raise resources.memoryLimit with --values: the kernel counts shared memory too"
        return Obstacle(
            "host_memory", f"{pod} was killed: it took more than its memory limit", hint
        )
    said = str(ended.get("message") or "").strip().splitlines()
    last = f": {said[-1][:300]}" if said else ""
    what = "the engine" if container == "engine" else f"its container {container}"
    hint = "the log below, or kubectl logs --previous, says why"
    return Obstacle("died", f"{pod}: {what} ended with exit code {code}{last}", hint)


def newest_hash(pods: Sequence[Document]) -> str | None:
    """The pod-template-hash of the pods that were made last."""
    made = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")] or pods
    last = max(made, key=lambda pod: str(pod["metadata"].get("creationTimestamp")), default=None)
    return _labels(last).get(HASH) if last else None


def ready(pod: Document) -> bool:
    """Whether a pod takes requests."""
    ends = pod["metadata"].get("deletionTimestamp")
    return not ends and _condition(pod, "Ready").get("status") == "True"


def _condition(document: Document, kind: str) -> Document:
    conditions = document.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def _labels(document: Document) -> dict[str, str]:
    labels: dict[str, str] = document["metadata"].get("labels") or {}
    return labels


def time_of(text: str | None) -> datetime | None:
    """A time of the API's; None where it says none."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
