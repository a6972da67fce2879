"""The logs of several pods as one."""

import queue
import threading
from collections.abc import Iterator, Sequence

from deployctl.errors import TargetError
from deployctl.targets.kubernetes.cluster import Cluster, Document

_CONTAINER = "engine"


def lines_of(
    cluster: Cluster, pods: Sequence[Document], *, tail: int | None, follow: bool
) -> Iterator[str]:
    """Lines of each pod's engine; with several pods behind the pod's name. With `follow`, as they
    come, until the pods end. Of an engine that has just been restarted, the one before too.

    Raises:
        TargetError: they cannot be read.
    """
    if follow:
        yield from _following(cluster, pods, tail)
        return
    for pod in pods:
        for line in _of(cluster, pod, tail):
            yield _mark(pod, pods) + line


def _of(cluster: Cluster, pod: Document, tail: int | None) -> list[str]:
    path = _path(cluster, pod)
    query = {"container": _CONTAINER, **({"tailLines": str(tail)} if tail is not None else {})}
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    ran: Document = next((s for s in statuses if s["name"] == _CONTAINER), {})
    lines: list[str] = []
    if ran.get("restartCount"):
        lines += cluster.text(path, **query, previous="true").splitlines()
    if ran.get("state") and "waiting" not in ran["state"]:
        lines += cluster.text(path, **query).splitlines()
    return lines if tail is None else lines[-tail:] if tail else []


def _following(cluster: Cluster, pods: Sequence[Document], tail: int | None) -> Iterator[str]:
    came: queue.Queue[str | None] = queue.Queue()

    def read(pod: Document, mark: str) -> None:
        try:
            for line in cluster.follow(_path(cluster, pod), container=_CONTAINER, tail=tail):
                came.put(mark + line)
        except TargetError as error:
            came.put(f"{mark}({error.message})")
        came.put(None)

    for pod in pods:
        threading.Thread(target=read, args=(pod, _mark(pod, pods)), daemon=True).start()
    ended = 0
    while ended < len(pods):
        line = came.get()
        if line is None:
            ended += 1
        else:
            yield line


def _mark(pod: Document, pods: Sequence[Document]) -> str:
    return f"{pod['metadata']['name']} | " if len(pods) > 1 else ""


def _path(cluster: Cluster, pod: Document) -> str:
    return cluster.path("v1", "pods", pod["metadata"]["name"]) + "/log"
