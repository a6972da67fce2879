"""Starts one small pod, where an engine would be put, and says what came of it: does the node get
the image, and does the container see a card.

It is a Job with a deadline and a time to live: the cluster removes it even where we are killed.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from deployctl.doctor.cluster.facts import Document
from deployctl.doctor.cluster.needs import Needs, PodNeed
from deployctl.doctor.facts import Check, Topic
from deployctl.engines.vllm import BUILT_HERE
from deployctl.errors import TargetError
from deployctl.events import Event, Tell
from deployctl.targets.kubernetes.cluster import OURS, Cluster
from deployctl.targets.kubernetes.nodes import NVIDIA

DEADLINE_S = 600  # of the pod: an engine's image is pulled in minutes
_PLACE_S = 30.0  # for a node to be found
_EVERY_S = 1.0
_SCRIPT = "nvidia-smi -L 2>/dev/null || true"
_STUCK = {
    *("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"),
    "CreateContainerConfigError",
}
_KEPT = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "runtimeClassName",
    "imagePullSecrets",
    "securityContext",
    "priorityClassName",
)


class PodOutcome(NamedTuple):
    """How a pod ended: on which node, what it printed; or why it did not start."""

    node: str = ""
    output: str = ""
    problem: str = ""
    pulled: str = ""  # what the node said of the pull


def probe(
    cluster: Cluster,
    needs: Needs,
    image: str | None,
    tell: Tell,
    *,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Check:
    """Runs it and removes it, whatever happens meanwhile. `image` takes the engine's place."""
    it = Topic("probe", "A pod on trial")
    engine = next((p for p in needs.pods if p.gpus or _claims(p)), None) or next(
        iter(needs.pods), None
    )
    if engine is None:
        return it.warn("not started: what a pod asks for needs helm", "install Helm")
    image = image or engine.images[-1]
    try:
        with _running(cluster, job(engine, image)) as name:
            tell(Event("note", f"job {name} in namespace {cluster.namespace}: {image}"))
            outcome = _wait(cluster, name, tell, sleep, clock)
    except TargetError as error:
        return it.fail(f"{image}: {error.message}", error.hint or "see Permissions")
    return _judged(it, image, engine, outcome)


def job(engine: PodNeed, image: str) -> Document:
    """A Job whose pod goes where an engine's would, with one card of its kind and little else."""
    cards = {name: 1 for name in engine.requests if name.startswith(NVIDIA)}
    small = {"cpu": "100m", "memory": "128Mi", **cards}
    container = {
        "name": "probe",
        "image": image,
        **({"imagePullPolicy": "Never"} if image.startswith(BUILT_HERE) else {}),
        "command": ["/bin/sh", "-c", _SCRIPT],
        "resources": {"requests": small, "limits": {"memory": "128Mi", **cards}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": not cards,
        },
    }
    name = f"deployctl-probe-{secrets.token_hex(3)}"
    pod = {
        **{key: engine.spec[key] for key in _KEPT if key in engine.spec},
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": OURS},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": DEADLINE_S,
            "ttlSecondsAfterFinished": 60,
            "template": {"metadata": {"labels": OURS}, "spec": pod},
        },
    }


@contextmanager
def _running(cluster: Cluster, document: Document) -> Iterator[str]:
    name = str(document["metadata"]["name"])
    path = cluster.path("batch/v1", "jobs")
    try:
        cluster.create(path, document)
        yield name
    finally:  # after Ctrl-C too, and where the answer to its making was lost
        cluster.delete(f"{path}/{name}", propagationPolicy="Background")


def _wait(
    cluster: Cluster,
    name: str,
    tell: Tell,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> PodOutcome:
    begun, told = clock(), ""
    while clock() - begun < DEADLINE_S:
        pods = cluster.items(cluster.path("v1", "pods"), labelSelector=f"job-name={name}")
        found = _look(cluster, pods[-1], clock() - begun) if pods else "the pod is being made"
        if isinstance(found, PodOutcome):
            return found
        if not pods and clock() - begun > _PLACE_S:
            return PodOutcome(problem=_refused(cluster, name))
        if found != told:
            tell(Event("note", found))
            told = found
        sleep(_EVERY_S)
    return PodOutcome(problem=f"not over after {DEADLINE_S} s; at last: {told}")


def _look(cluster: Cluster, pod: Document, waited_s: float) -> PodOutcome | str:
    """How it ended, or what it waits for."""
    status, name = pod.get("status") or {}, pod["metadata"]["name"]
    node = str(pod["spec"].get("nodeName") or "")
    if status.get("phase") in ("Succeeded", "Failed"):
        output = cluster.text(cluster.path("v1", "pods", name) + "/log")
        problem = "" if status["phase"] == "Succeeded" else _ended(status)
        return PodOutcome(node, output.strip(), problem, _said(cluster, name, "Pulled"))
    for container in status.get("containerStatuses") or ():
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _STUCK:
            said = _said(cluster, name, "Failed", "pull image") or str(waiting.get("message", ""))
            return PodOutcome(node, problem=said.rpartition("desc = ")[2] or waiting["reason"])
    conditions = {c["type"]: c for c in status.get("conditions") or ()}
    placed = conditions.get("PodScheduled") or {}
    if placed.get("status") == "False":
        said = str(placed.get("message", "no node")).partition(" preemption:")[0]
        return PodOutcome(problem=f"no node takes it: {said}") if waited_s > _PLACE_S else said
    return f"the image is pulled on {node}" if node else "waits for a node"


def _ended(status: Document) -> str:
    for container in status.get("containerStatuses") or ():
        ended = (container.get("state") or {}).get("terminated") or {}
        if ended.get("exitCode"):
            return f"ended with exit code {ended['exitCode']}: {ended.get('message') or 'no word'}"
    return str(status.get("message") or "failed")


def _said(cluster: Cluster, name: str, reason: str, word: str = "") -> str:
    """The last event of an object for a reason, of those that have a word in it."""
    path = cluster.path("v1", "events")
    selector = f"involvedObject.name={name},reason={reason}"
    try:
        found = cluster.items(path, fieldSelector=selector)
    except TargetError:
        return ""
    told = [text for event in found if word in (text := str(event.get("message", "")))]
    return told[-1] if told else ""


def _refused(cluster: Cluster, name: str) -> str:
    said = _said(cluster, name, "FailedCreate")
    return f"the pod is refused: {said}" if said else "the Job controller made no pod"


def _claims(pod: PodNeed) -> bool:
    return bool(pod.spec.get("resourceClaims"))


def _judged(it: Topic, image: str, engine: PodNeed, outcome: PodOutcome) -> Check:
    if outcome.problem:
        fix = "the message names what refuses; --probe-image tries another image"
        return it.fail(f"{image}: {outcome.problem}", fix)
    pulled = f"; {outcome.pulled}" if "Successfully pulled" in outcome.pulled else ""
    text = f"{image} runs on {outcome.node}{pulled}"
    seen = [line for line in outcome.output.splitlines() if line.startswith("GPU ")]
    if not engine.gpus:
        return it.good(text + ("; no card is claimed on trial" if _claims(engine) else ""))
    if not seen:
        fix = "is nvidia-smi in the image, and the containers' runtime NVIDIA's? If not that: "
        return it.warn(f"{text}, and sees no card", fix + "scheduling.runtimeClassName in --values")
    return it.good(f"{text}, and sees {seen[0]}")
