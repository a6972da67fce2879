"""The loader: a Job of one pod that mounts the claim and runs `receiver`, in the engine's image.

It ends by itself: when nobody has been there for a while, and at its deadline; the cluster then
removes it, so that nothing stays of a deployctl that was killed.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from deployctl.engines.vllm import BUILT_HERE
from deployctl.errors import ClusterError
from deployctl.events import Event, Tell
from deployctl.targets.kubernetes import jobs, progress, waits
from deployctl.targets.kubernetes.checkpoint.claim import LABEL, find
from deployctl.targets.kubernetes.cluster import OURS, PATIENCE_S, Cluster, Document

if TYPE_CHECKING:
    from deployctl.render.values import Values

PORT = 4711
IDLE_S = PATIENCE_S + 30  # longer than an API server is waited for
GONE_S = 30  # from its end until the cluster removes it
_SLOWEST = 1 << 20  # bytes a second, for its deadline
_LOOK_S = 1.0
_FOLDER = "/claim"
_CLASS = "model: {upload: {storageClass: NAME}}"  # where the values name it
_GROUP, _KIND = "batch/v1", "jobs"


def document(claim: str, values: "Values", size: int, *, beside: str | None) -> Document:
    """The Job. `beside` is a claim that stays with a node, which the engine needs too."""
    labels = {**values.labels, **OURS, LABEL: claim}
    volumes = {"claim": claim, **({"beside": beside} if beside else {})}
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "imagePullSecrets": [{"name": name} for name in values.engine.pull_secrets],
        "securityContext": {
            **jobs.pod_security(values.security.run_as_user, values.security.run_as_group),
            "fsGroupChangePolicy": "OnRootMismatch",
        },
        **_nodes(values),
        "containers": [_container(values)],
        "volumes": [
            {"name": name, "persistentVolumeClaim": {"claimName": each}}
            for name, each in volumes.items()
        ],
    }
    return {
        "apiVersion": _GROUP,
        "kind": "Job",
        "metadata": {"name": f"{claim}-loader-{secrets.token_hex(3)}", "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 3600 + size // _SLOWEST,
            "ttlSecondsAfterFinished": GONE_S,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _container(values: "Values") -> Document:
    program = Path(__file__).with_name("receiver.py").read_text(encoding="utf-8")
    image = values.engine.image
    return {
        "name": "loader",
        "image": image,
        "imagePullPolicy": "Never" if image.startswith(BUILT_HERE) else values.engine.pull_policy,
        "command": ["python3", "-I", "-B", "-u", "-c", program],
        "args": [_FOLDER, str(PORT), str(IDLE_S)],
        "resources": {
            "requests": {"cpu": "100m", "memory": "128Mi"},
            "limits": {"cpu": "4", "memory": "1Gi"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": jobs.container_security(),
        "volumeMounts": [{"name": "claim", "mountPath": _FOLDER}],
    }


def _nodes(values: "Values") -> Document:
    """Where the engine may run: a volume may stay with the node, or the zone, of its first pod."""
    scheduling = values.scheduling.model_dump(mode="json", by_alias=True)
    found: Document = {
        "tolerations": [
            {key: value for key, value in {"operator": "Exists", **each}.items() if value}
            for each in scheduling["tolerations"]
        ]
    }
    if scheduling["nodeSelector"]:
        found["nodeSelector"] = scheduling["nodeSelector"]
    terms = [
        {
            "matchExpressions": [
                {"key": key, "operator": "In", "values": [value]} for key, value in labels.items()
            ]
        }
        for labels in scheduling["gpuNodes"]
    ]
    affinity = scheduling["affinity"]
    if not affinity and terms:
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
        affinity = {"nodeAffinity": required}
    return {**found, "affinity": affinity} if affinity else found


class Loader:
    """One loader, from its making to its end."""

    def __init__(
        self, cluster: Cluster, claim: str, tell: Tell, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._cluster = cluster
        self._claim = claim
        self._tell = tell
        self._sleep = sleep
        self._job = ""

    def begin(self, job: Document) -> None:
        """Makes it; one that was left behind is removed.

        Raises:
            ClusterError: it may not be made.
        """
        self.end()
        self._job = job["metadata"]["name"]
        self._cluster.create(self._cluster.path(_GROUP, _KIND), job)

    def end(self) -> None:
        """Removes it, and any other of the claim."""
        cluster = self._cluster
        for job in cluster.items(cluster.path(_GROUP, _KIND), labelSelector=self._selector):
            path = cluster.path(_GROUP, _KIND, job["metadata"]["name"])
            cluster.delete(path, propagationPolicy="Background")

    def pod(self) -> str:
        """The name of its pod, once that runs.

        Raises:
            ClusterError: it does not come to run; says why.
        """
        said = ""
        while True:
            for pod in self._pods():
                if progress.ready(pod):
                    return str(pod["metadata"]["name"])
            seen = list(self._waits())
            now = self._cluster.now()
            for wait in seen:
                if wait.problem and wait.over(now):
                    raise ClusterError(
                        f"the loader does not start: {wait.problem.message}",
                        where=f"claim {self._claim}",
                        hint=wait.problem.hint,
                    )
            text = seen[0].text if seen else ""
            if text and text != said:
                said = text
                self._tell(Event("progress", text))
            self._sleep(_LOOK_S)

    def has_ended(self) -> bool:
        """Whether the Job is over, or gone."""
        job = self._found()
        return job is None or bool(_ending(job))

    @property
    def _selector(self) -> str:
        return f"{LABEL}={self._claim}"

    def _found(self) -> Document | None:
        return self._cluster.get(self._cluster.path(_GROUP, _KIND, self._job))

    def _pods(self) -> list[Document]:
        path = self._cluster.path("v1", "pods")
        return self._cluster.items(path, labelSelector=f"batch.kubernetes.io/job-name={self._job}")

    def _waits(self) -> Iterator[waits.Wait]:
        job = self._found()
        if job is None:
            problem = waits.Obstacle("loader", "its Job is gone", "somebody removed it: up again")
            yield waits.Wait(problem.message, problem)
            return
        claim = find(self._cluster, self._claim)
        events = jobs.events_of(self._cluster, "PersistentVolumeClaim", "Pod", "Job")
        events = waits.of_these_claims([claim] if claim else [], events)
        if claim is None or claim.get("status", {}).get("phase") != "Bound":
            yield from waits.waits_of_claim(self._claim, events, _CLASS)
        for pod in self._pods():
            if pod.get("status", {}).get("phase") != "Running":
                yield from waits.waits_of(pod, events)
        ending = _ending(job)
        if ending:
            hint = "the image must have python3, as vLLM's has"
            problem = waits.Obstacle("loader", f"its Job ended: {ending}", hint)
            yield waits.Wait(problem.message, problem)
        yield from jobs.refused(self._job, events)


def _ending(job: Document) -> str:
    """Why a Job is over; "" of one that goes on."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition["type"] in ("Failed", "Complete") and condition["status"] == "True":
            return str(condition.get("message") or condition["type"])
    return ""
