"""Has the nodes of a service pull another image while its pods serve: by a pod a node that wants
the image and ends at once. Where a pod ends before the next begins, an image that nobody has would
take the service down until it is put back.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from deployctl.errors import ClusterError, TargetError
from deployctl.events import Event, Tell
from deployctl.targets.kubernetes import progress, waits
from deployctl.targets.kubernetes.cluster import OURS, Cluster, Document
from deployctl.targets.kubernetes.jobs import events_of
from deployctl.units import duration

LONGEST_S = 1200  # as long as the chart's deadline has for an image
_POLL_S = 1.0
_OF_THE_POD = ("imagePullSecrets", "securityContext", "tolerations")
_OF_THE_ENGINE = ("image", "imagePullPolicy", "securityContext")


def nodes_for(wanted: Document, former: Document, pods: Sequence[Document]) -> list[str]:
    """The nodes that are to have the image of a Deployment before its `former` one is changed:
    those of the pods that serve; none, where it is the same image, or new pods come before those
    end. Pure."""
    image, was = (engine_of(d["spec"]["template"]["spec"])["image"] for d in (wanted, former))
    rolling = (wanted["spec"].get("strategy") or {}).get("rollingUpdate") or {}
    if image == was or rolling.get("maxUnavailable") in (0, "0%"):
        return []
    return sorted({pod["spec"]["nodeName"] for pod in pods if progress.ready(pod)})


class Puller:
    """Brings an image to nodes."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._sleep = sleep

    def pull(self, deployment: Document, nodes: Sequence[str], tell: Tell) -> None:
        """Returns when the image of a Deployment's engine is on the nodes; at once, with a word,
        where we may not make pods.

        Raises:
            ClusterError: it cannot be pulled.
        """
        service = deployment["metadata"]["name"]
        spec = deployment["spec"]["template"]["spec"]
        image = engine_of(spec)["image"]
        with self._pods_on(service, spec, nodes, tell) as there:
            if there:
                where = nodes[0] if len(nodes) == 1 else f"{len(nodes)} nodes"
                tell(Event("phase", f"{where}: pulling the image {image}"))
                self._wait(service, image, tell)

    def clear(self, service: str) -> None:
        """Removes what a killed deployctl left."""
        path = self._cluster.path("v1", "pods")
        for pod in self._cluster.metadata(path, labelSelector=_selector(service)):
            self._cluster.delete(f"{path}/{pod['metadata']['name']}")

    @contextmanager
    def _pods_on(
        self, service: str, spec: Document, nodes: Iterable[str], tell: Tell
    ) -> Iterator[bool]:
        self.clear(service)
        try:
            try:
                for node in nodes:
                    self._cluster.create(self._cluster.path("v1", "pods"), pod(service, spec, node))
                there = True
            except ClusterError as error:  # the rollout itself will say what is wrong
                tell(Event("note", f"the image is not pulled beforehand: {error.message}"))
                there = False
            yield there
        finally:
            with suppress(TargetError):  # they end by themselves, and the next one removes them
                self.clear(service)

    def _wait(self, service: str, image: str, tell: Tell) -> None:
        begun = self._clock()
        path = self._cluster.path("v1", "pods")
        while True:
            pods = self._cluster.items(path, labelSelector=_selector(service))
            lacking = [each for each in pods if not _has_it(each)]
            if not lacking:
                return
            events, now = events_of(self._cluster, "Pod"), self._cluster.now()
            for each in lacking:
                for wait in waits.waits_of(each, events):
                    if wait.over(now) and wait.problem is not None:
                        hint = f"{wait.problem.hint}; what serves was not touched"
                        where = f"node {each['spec']['nodeName']}"
                        raise ClusterError(wait.problem.message, where=where, hint=hint)
            if self._clock() - begun > LONGEST_S:
                raise ClusterError(
                    f"the image {image} was not pulled within {duration(LONGEST_S)}",
                    where=f"node {lacking[0]['spec']['nodeName']}",
                    hint="what serves was not touched; once the nodes have the image, up goes on",
                )
            tell(Event("progress", f"{len(pods) - len(lacking)} of {len(pods)} nodes have it"))
            self._sleep(_POLL_S)


def engine_of(spec: Document) -> Document:
    """The engine's container of a pod's spec."""
    found: Document = next(c for c in spec["containers"] if c["name"] == "engine")
    return found


def pod(service: str, spec: Document, node: str) -> Document:
    """A pod that has a node pull the image of `spec`, a pod's. Pure."""
    engine = {key: v for key, v in engine_of(spec).items() if key in _OF_THE_ENGINE}
    small = {"cpu": "10m", "memory": "32Mi"}
    container = {
        **engine,
        "name": "pull",
        "command": ["/bin/true"],
        "resources": {"requests": small, "limits": small},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{service}-pull-",
            "labels": {**OURS, **_labels(service)},
        },
        "spec": {
            **{key: value for key, value in spec.items() if key in _OF_THE_POD},
            "nodeName": node,  # past the scheduler: it wants no card, and the node is known
            "restartPolicy": "Never",
            "activeDeadlineSeconds": LONGEST_S + 60,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "containers": [container],
        },
    }


def _labels(service: str) -> dict[str, str]:
    return {
        "app.kubernetes.io/name": "vllm",
        "app.kubernetes.io/instance": service,
        "app.kubernetes.io/component": "pull",
    }


def _selector(service: str) -> str:
    return ",".join(f"{key}={value}" for key, value in _labels(service).items())


def _has_it(pod: Document) -> bool:
    """Whether its node has the image: its container was made, whatever came of that; or the pod
    ended without one, and will never tell."""
    status = pod.get("status") or {}
    states = [c.get("state") or {} for c in status.get("containerStatuses") or ()]
    made = any("running" in state or "terminated" in state for state in states)
    return made or status.get("phase") in ("Succeeded", "Failed")
