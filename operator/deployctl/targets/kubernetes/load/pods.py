"""LoadPods: the pods of one load, from their making to their end."""

import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from deployctl.errors import ClusterError, TargetError
from deployctl.events import Event, Tell
from deployctl.targets.kubernetes import jobs
from deployctl.targets.kubernetes import waits as waiting
from deployctl.targets.kubernetes.cluster import Cluster, Document, UnreachableError
from deployctl.targets.kubernetes.load import documents
from deployctl.targets.kubernetes.load.mirror import Mirror, Open, greet
from deployctl.targets.kubernetes.podstream import opened
from deployctl.targets.loads import LoadEnd, LoadOrder, Told
from deployctl_loadtest.pod import PORT

_LOOK_S = 0.5
_GREET_S = 30.0  # between two words to a master that waits for workers: it ends without any
_ANSWER_S = 30.0  # for a word from the master's pod, which answers at once
_IMAGE_HINT = (
    "build it from docker/loadtest.Dockerfile (docker/README.md), bring it to where the nodes pull "
    "from, and name it with --worker-image"
)
_ROOM_HINT = "each load process asks for half a core: fewer of them (--workers), or more nodes"


class LoadPods:
    """One load in a cluster. To be ended whatever happens; what is left then ends by itself."""

    def __init__(
        self,
        cluster: Cluster,
        order: LoadOrder,
        tell: Tell,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._cluster = cluster
        self._order = order
        self._tell = tell
        self._sleep = sleep
        self.name = documents.name_of(order, secrets.token_hex(3))
        self._master = ""  # its pod
        self._greeted = -_GREET_S  # when anything was said to it last
        self._begun = False

    def begin(self) -> None:
        """Makes all of it, and returns when all pods run.

        Raises:
            ClusterError: they do not; says why.
        """
        cluster, order, name = self._cluster, self._order, self.name
        many = "1 worker" if order.workers == 1 else f"{order.workers} workers"
        self._tell(Event("note", f"starting {many} in namespace {cluster.namespace}: {name}"))
        made = cluster.path("batch/v1", "jobs")
        self._begun = True
        served = self._served()
        job = cluster.create(made, documents.master(name, order, served))
        cluster.create(cluster.path("v1", "secrets"), documents.secret(name, order, job))
        policies = cluster.path("networking.k8s.io/v1", "networkpolicies")
        for policy in documents.policies(name, order, job, served):
            cluster.create(policies, policy)
        (pod,) = self._running(documents.MASTER, 1)
        self._master = pod["metadata"]["name"]
        address = pod["status"]["podIP"]
        cluster.create(made, documents.workers(name, order, job, address, served))
        self._running(documents.WORKERS, order.workers, meanwhile=self._greet)

    def run(self, folder: Path, told: Told) -> LoadEnd:
        """Has Locust run there, and brings home what it writes.

        Raises:
            ClusterError: the image is another release's, or its pods do not take the run's files.
            InterruptedByUserError: Ctrl-C, before it was begun.
        """
        mirror = Mirror(self._order, self._address(), folder, told, self._sleep)
        return mirror.run(self._opened, self._why_gone)

    def end(self) -> None:
        """Removes it, however far it came."""
        if not self._begun:
            return
        path = self._cluster.path("batch/v1", "jobs")
        try:
            for job in (f"{self.name}-{documents.WORKERS}", self.name):
                self._cluster.delete(f"{path}/{job}", propagationPolicy="Background")
        except TargetError as error:
            told = f"the load's pods could not be removed ({error.message}): they end by themselves"
            self._tell(Event("warning", f"{told}, and the cluster removes Job {self.name} then"))

    # The parts.

    def _served(self) -> documents.ServedPods:
        """The service, as its pods and the namespace's policies say."""
        cluster, service = self._cluster, self._order.service
        if service is None:
            return documents.ServedPods()
        path = cluster.path("v1", "pods")
        pods = cluster.items(path, labelSelector=documents.pods_of(service))
        policies = cluster.items(cluster.path("networking.k8s.io/v1", "networkpolicies"))
        return documents.served(pods, policies)

    def _address(self) -> str:
        """The URL with the Service's own address: a name would be asked for with every connection,
        and how long that takes be counted as the server's."""
        url = urlsplit(self._order.url)
        if not self._order.service:
            return self._order.url
        name = (url.hostname or "").partition(".")[0]
        found = self._cluster.get(self._cluster.path("v1", "services", name)) or {}
        address = str((found.get("spec") or {}).get("clusterIP") or "None")
        if address == "None":  # it has none, or is gone
            return self._order.url
        host = f"[{address}]" if ":" in address else address
        return f"{url.scheme}://{host}:{url.port}"

    @property
    def _opened(self) -> Open:
        return partial(opened, self._cluster, self._master, PORT, answer_s=_ANSWER_S)

    def _why_gone(self) -> str:
        """Why there is no master any more; "" while it runs."""
        pods = self._pods(documents.MASTER)
        pod = next((each for each in pods if each["metadata"]["name"] == self._master), None)
        if pod is None:
            return "its master's pod is gone"
        if pod["metadata"].get("deletionTimestamp"):
            return "its master's pod was removed"
        if pod.get("status", {}).get("phase") in ("Failed", "Succeeded"):
            return f"its master's pod ended ({_ending(pod)})"
        return ""

    def _greet(self) -> None:
        """Lets the master know that somebody is there."""
        if time.monotonic() - self._greeted >= _GREET_S:
            with suppress(UnreachableError), self._opened() as stream:
                greet(stream, self._order.image)
                self._greeted = time.monotonic()

    def _running(
        self, part: str, count: int, *, meanwhile: Callable[[], None] = lambda: None
    ) -> list[Document]:
        """The pods of a part, once all run.

        Raises:
            ClusterError: they do not; says why.
        """
        until = time.monotonic() + documents.START_S
        said = ""
        while True:
            meanwhile()
            pods = self._pods(part)
            running = [pod for pod in pods if _runs(pod)]
            if len(running) >= count:
                return running
            waits = list(self._waits(part, pods))
            now = self._cluster.now()
            for wait in waits:
                if wait.problem and wait.over(now):
                    raise _refused(wait.problem, self._where)
            if time.monotonic() > until:
                why = waits[0].text if waits else f"{len(running)} of {count} run"
                problem = f"the load's pods took too long to start: {why}"
                raise ClusterError(problem, where=self._where)
            text = waits[0].text if waits else ""
            if text and text != said:
                said = text
                self._tell(Event("note", text))
            self._sleep(_LOOK_S)

    @property
    def _where(self) -> str:
        return f"namespace {self._cluster.namespace}"

    def _pods(self, part: str) -> list[Document]:
        path = self._cluster.path("v1", "pods")
        return self._cluster.items(path, labelSelector=documents.selector(self.name, part))

    def _waits(self, part: str, pods: Iterable[Document]) -> Iterator[waiting.Wait]:
        events = jobs.events_of(self._cluster, "Pod", "Job")
        for pod in pods:
            if not _runs(pod):
                yield from waiting.waits_of(pod, events)
        job = self.name if part == documents.MASTER else f"{self.name}-{part}"
        yield from jobs.refused(job, events)


def _runs(pod: Document) -> bool:
    status = pod.get("status", {})
    return status.get("phase") == "Running" and bool(status.get("podIP"))


def _ending(pod: Document) -> str:
    """Why a pod ended, in a word."""
    for container in pod["status"].get("containerStatuses") or ():
        ended = container.get("state", {}).get("terminated") or {}
        if ended.get("reason") == "OOMKilled":
            return "out of memory"
        if "exitCode" in ended:
            return f"exit code {ended['exitCode']}"
    return str(pod["status"].get("reason") or "no reason told")


def _refused(problem: waiting.Obstacle, where: str) -> ClusterError:
    hint = problem.hint
    if problem.code in ("image", "image_missing"):
        hint = _IMAGE_HINT
    elif problem.code in ("image_denied", "image_rate"):  # the registry wants a login
        hint = hint.replace("--image", "--worker-image")
    elif problem.code == "no_node":
        hint = _ROOM_HINT
    return ClusterError(f"the load does not start: {problem.message}", where=where, hint=hint)
