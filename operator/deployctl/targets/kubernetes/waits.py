"""What a pod waits for, and what ends a rollout because of it: by its status and its events. Pure.

What may pass (a node that is being added, a registry that is slow) is waited for, each for its
time; what does not pass by waiting ends a rollout at once.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from deployctl.targets import webhooks
from deployctl.targets.kubernetes.cluster import Document
from deployctl.units import duration, quantity

# Seconds that each is waited for.
NODE_S = 300.0  # a node for a pod; longer where an autoscaler has said that it brings one
IMAGE_S = 120.0  # an image that cannot be pulled for a reason that may pass
VOLUME_S = 300.0  # a volume to be made and mounted
SETUP_S = 60.0  # a Secret or ConfigMap that is missing; a quota that the former pods hold
NAME_S = 20.0  # a host that no name server knows: most likely there is none
_EVICTED_S = 300  # from a node's silence until its pods are replaced, where they say nothing else
_SCALES_UP = {"TriggeredScaleUp", "NominatedNode", "Nominated"}
_CLAIM = "PersistentVolumeClaim"
_VOLUME_EVENTS = {"FailedMount", "FailedAttachVolume"}
_CLAIM_EVENTS = {
    "ProvisioningFailed": SETUP_S,
    "FailedBinding": SETUP_S,
    "ExternalProvisioning": VOLUME_S,  # another makes it, and nobody knows whether there is one
}
_NO_PULL = {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
_GONE_IMAGE = re.compile(
    r"not found|manifest unknown|does not exist|NotFound|invalid reference|not present with pull"
)
_NO_RIGHT = re.compile(r"unauthorized|authentication required|denied|forbidden", re.IGNORECASE)
_TOO_MANY = re.compile(r"toomanyrequests|rate limit|too many requests|\b429\b", re.IGNORECASE)
_NO_HOST = re.compile(r"no such host", re.IGNORECASE)
# Of a pod that the cluster refuses: no waiting helps, unless somebody changes the rule.
_FOR_GOOD = re.compile(
    r"violates PodSecurity|denied (?:the )?request|must specify|"
    r"(?:maximum|minimum|ratio) .*per (?:Pod|Container)"
)
_QUOTA = re.compile(r"requested: (?P<asked>.+), used: .+, limited: (?P<most>.+)$")


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


def refused_pod(said: str, since: datetime | None) -> Wait:
    """A pod that the cluster refuses to make, by what it says."""
    patience = 0.0 if _FOR_GOOD.search(said) else SETUP_S
    if "exceeded quota" in said or "failed quota" in said:
        hint = "raise the quota, or ask for less: resources in --values"
        problem = Obstacle("quota", f"a quota of the namespace refuses the pod: {said}", hint)
        patience = 0.0 if _more_than_all(said) else patience
    elif "violates PodSecurity" in said:
        hint = "the values under security and model.hostPath are what a pod security level forbids"
        problem = Obstacle("pod_security", f"pod security refuses the pod: {said}", hint)
    else:
        hint = webhooks.hint(said) or "a policy or the API server refuses it; its owner knows why"
        problem = Obstacle("pod_refused", f"the pod is refused: {said}", hint)
    return Wait(problem.message, problem, since, patience)


def _more_than_all(said: str) -> bool:
    """Whether a pod alone asks for more than a quota allows to all."""
    found = _QUOTA.search(said)
    if found is None:
        return False
    asked, most = (_amounts(found[name]) for name in ("asked", "most"))
    return any(amount > most[name] for name, amount in asked.items() if name in most)


def _amounts(listed: str) -> dict[str, float]:
    """Of `requests.memory=64Mi,pods=1`."""
    pairs = (each.partition("=") for each in listed.split(","))
    return {name.strip(): quantity(value.strip()) or 0.0 for name, _, value in pairs}


def waits_of(pod: Document, events: Sequence[Document], cards: str = "") -> Iterator[Wait]:
    """What one pod waits for; nothing, once it is being removed. `events`: of pods, and of claims;
    `cards`: why no node gives it the cards that it claims, or which cards there are.
    """
    if pod["metadata"].get("deletionTimestamp"):
        return
    name, status = pod["metadata"]["name"], pod.get("status", {})
    scheduled = condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        yield _unscheduled(pod, scheduled, events, cards)
        return
    if status.get("phase") == "Failed" and status.get("reason"):  # another is made in its place
        ended = "was evicted" if status["reason"] == "Evicted" else f"ended: {status['reason']}"
        yield Wait(f"{name} {ended}: {status.get('message', '')}".strip(": "))
        return
    if is_lost(pod):
        yield Wait(_lost(pod))
        return
    own = _events_of(name, events)
    since = time_of(scheduled.get("lastTransitionTime"))
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    for container in containers:
        yield from _of_a_container(name, container, own, since)
    if scheduled and not containers:
        yield Wait(f"{name}: its node {_spec(pod).get('nodeName')} has not begun it")


def _events_of(name: str, events: Sequence[Document]) -> list[Document]:
    return [event for event in events if event["involvedObject"].get("name") == name]


def _spec(pod: Document) -> Document:
    return pod.get("spec") or {}


def is_lost(pod: Document) -> bool:
    """Whether its node does not report any more: the cluster takes the pod for not ready then,
    though its containers are as they were.
    """
    ready, inside = condition(pod, "Ready"), condition(pod, "ContainersReady")
    gated = _spec(pod).get("readinessGates")
    return ready.get("status") == "False" and inside.get("status") == "True" and not gated


def _lost(pod: Document) -> str:
    stays = next(
        (
            toleration.get("tolerationSeconds")
            for toleration in _spec(pod).get("tolerations") or ()
            if toleration.get("key") == "node.kubernetes.io/unreachable"
        ),
        _EVICTED_S,
    )
    after = f"after {duration(stays)} of that" if stays is not None else "never"
    name, node = pod["metadata"]["name"], _spec(pod).get("nodeName")
    return f"{name}: its node {node} does not report (NotReady); the cluster replaces it {after}"


def _unscheduled(
    pod: Document, scheduled: Document, events: Sequence[Document], cards: str
) -> Wait:
    name = pod["metadata"]["name"]
    said = str(scheduled.get("message", "")).partition(" preemption:")[0].strip()
    since = time_of(pod["metadata"].get("creationTimestamp"))
    text = f"{name} waits for a node: {said or 'the scheduler has not looked yet'}"
    if any(event.get("reason") in _SCALES_UP for event in _events_of(name, events)):
        return Wait(f"{text} (a node is being added)")
    if waits_for_a_claim(pod):
        told = next((w for claim in claims_of(pod) for w in waits_of_claim(claim, events)), None)
        if told is not None:
            return told
        hint = "cache.storageClass and cache.accessMode must be such that the cluster can give"
        return Wait(text, Obstacle("claim", f"no volume for {name}: {said}", hint), since, VOLUME_S)
    if cards and "cannot allocate all claims" in said:
        hint = "deployctl plan shows what a card must have; --gpu any takes any that has it"
        problem = Obstacle("no_device", f"{name} gets no card: {cards}", hint)
        return Wait(f"{name} waits for a card: {cards}", problem, since, NODE_S)
    hint = "kubectl get nodes shows what there is; the plan's card is chosen by the nodes' labels"
    problem = Obstacle("no_node", f"no node takes {name}: {said}", cards or hint)
    return Wait(f"{text} ({cards})" if cards else text, problem, since, NODE_S)


def unscheduled(pod: Document) -> bool:
    """Whether it has no node."""
    return condition(pod, "PodScheduled").get("status") == "False"


def kept_away(pod: Document) -> bool:
    """Whether nodes' taints are among what leaves it without a node."""
    return unscheduled(pod) and "taint" in str(condition(pod, "PodScheduled").get("message", ""))


def waits_for_a_claim(pod: Document) -> bool:
    """Whether no node is chosen for a pod because of a claim."""
    said = str(condition(pod, "PodScheduled").get("message", "")).lower()
    return unscheduled(pod) and "persistentvolumeclaim" in said


def claims_of(pod: Document) -> list[str]:
    """The claims that a pod mounts."""
    volumes = _spec(pod).get("volumes") or ()
    found = ((volume.get("persistentVolumeClaim") or {}).get("claimName") for volume in volumes)
    return [str(name) for name in found if name]


def waits_of_claim(
    claim: str, events: Sequence[Document], values: str = "cache: {storageClass: NAME}"
) -> Iterator[Wait]:
    """What a claim waits for, as those say who make volumes: by the newest word alone, for what
    failed may have been done since. `values`: where its class is named."""
    told = sorted(_events_of(claim, events), key=_last_seen)
    patience = _CLAIM_EVENTS.get(str(told[-1].get("reason"))) if told else None
    if patience is None:
        return
    said = str(told[-1].get("message", ""))
    if "not found" in said or "no storage class" in said:
        patience = 0.0
    hint = (
        "kubectl get storageclass lists those that there are; name one with --values: "
        f"{values}, and accessMode beside it if it cannot give that"
    )
    problem = Obstacle("claim", f"no volume for claim {claim}: {said}", hint)
    yield Wait(problem.message, problem, first_seen(told[-1]), patience)


def of_these_claims(claims: Iterable[Document], events: Sequence[Document]) -> list[Document]:
    """Leaves out what was said of former claims of the same names."""
    there = {claim["metadata"]["name"]: claim["metadata"].get("uid") for claim in claims}
    about = ((event, event["involvedObject"]) for event in events)
    return [
        event
        for event, it in about
        if it.get("kind") != _CLAIM or it.get("uid") == there.get(it.get("name"), it.get("uid"))
    ]


def _of_a_container(
    pod: str, container: Document, events: Sequence[Document], since: datetime | None
) -> Iterator[Wait]:
    state = container.get("state", {})
    ended = container.get("lastState", {}).get("terminated") or state.get("terminated")
    waiting = state.get("waiting") or {}
    reason, said = str(waiting.get("reason", "")), str(waiting.get("message", ""))
    failed = ended and (ended.get("exitCode") or container.get("restartCount"))
    if failed and not container.get("ready"):  # one that is ready again works, whatever it was
        yield Wait(f"{pod} ended", _ended(pod, container["name"], ended, events), None, 0.0)
    elif reason in _NO_PULL:
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
    login = "name a Secret for the registry under engine.pullSecrets with --values"
    gone, denied = (bool(pattern.search(said)) for pattern in (_GONE_IMAGE, _NO_RIGHT))
    if gone and not denied:
        hint = "check --image and its tag"
        problem = Obstacle("image_missing", f"there is no image {image}: {short}", hint)
        return Wait(problem.message, problem, None, 0.0)
    if denied:
        hint = f"{login}; check --image and its tag" if gone else login
        refused = f"the registry refuses the image {image}"
        # Registries hide from strangers whether there is such an image.
        refused += f": there is none, or it takes a login ({short})" if gone else f": {short}"
        return Wait(refused, Obstacle("image_denied", refused, hint), None, 0.0)
    hint = "the nodes must reach the registry; --image names another"
    problem = Obstacle("image", f"the image {image} cannot be pulled: {short}", hint)
    patience = NAME_S if _NO_HOST.search(said) else IMAGE_S
    return Wait(f"{pod}: {problem.message}", problem, since, patience)


def _ended(pod: str, container: str, ended: Document, events: Sequence[Document]) -> Obstacle:
    code = ended.get("exitCode")
    if any("failed startup probe" in str(event.get("message")) for event in events):
        slow = f"{pod}: {container} did not answer within its start-up budget, and was killed"
        hint = "give it more time with --startup-timeout SECONDS, or look for the cause in the log"
        return Obstacle("probe", slow, hint)
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


def condition(document: Document, kind: str) -> Document:
    """A condition of an object's status; empty where it has none of that kind."""
    conditions = document.get("status", {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == kind), {})


def first_seen(event: Document) -> datetime | None:
    """When what an event tells was first seen."""
    return time_of(event.get("firstTimestamp")) or time_of(
        event["metadata"].get("creationTimestamp")
    )


def _last_seen(event: Document) -> str:
    """When it was last seen, to the second; such texts sort as times do."""
    series = event.get("series") or {}
    times = (event.get("lastTimestamp"), series.get("lastObservedTime"), event.get("eventTime"))
    return str(next(filter(None, times), event["metadata"].get("creationTimestamp") or ""))[:19]


def time_of(text: str | None) -> datetime | None:
    """A time of the API's; None where it says none."""
    try:
        return datetime.strptime(text or "", "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return None
