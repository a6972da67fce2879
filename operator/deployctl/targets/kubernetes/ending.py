"""The end of a service's pods, once nothing makes others: each is waited for as long as it has to
end, and who stays longer is named, with what it takes.
"""

import time
from collections.abc import Callable
from datetime import datetime

from deployctl.events import Event, Tell
from deployctl.targets.kubernetes import waits
from deployctl.targets.kubernetes.cluster import Cluster, Document, ForbiddenError
from deployctl.units import duration

_LOOK_S = 1.0
_BEGINS_S = 30.0  # until the cluster ends the pods of a Deployment that is gone
_LATE_S = 15.0  # beyond a pod's grace period, for its node to say so
_ENDED = ("Succeeded", "Failed")  # phases


def wait(
    cluster: Cluster,
    selector: str,
    tell: Tell,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Returns when the pods are gone, or when it is of no use to wait for those that are not: a
    node that does not report ends none, and says so of none. Nor where we may not look at them.

    Raises:
        ClusterError: they cannot be listed.
    """
    begun, told = clock(), False
    while True:
        try:
            found = cluster.items(cluster.path("v1", "pods"), labelSelector=selector)
        except ForbiddenError:
            tell(Event("note", "pods end by themselves: we may not look at them"))
            return
        pods = [pod for pod in found if pod["status"].get("phase") not in _ENDED]
        now, since = cluster.now(), clock() - begun
        left = [_left_s(pod, now, since) for pod in pods if not waits.is_lost(pod)]
        if max(left, default=0.0) <= 0:
            for pod in pods:
                tell(Event("warning", _stays(pod)))
            return
        if not told and since >= 2 * _LOOK_S:  # most are gone by then
            many = "1 pod" if len(left) == 1 else f"{len(left)} pods"
            tell(Event("note", f"waiting for {many} to end, {duration(max(left))} at most"))
            told = True
        sleep(_LOOK_S)


def _left_s(pod: Document, now: datetime, since: float) -> float:
    """Seconds for which a pod is waited for still."""
    ends = waits.time_of(pod["metadata"].get("deletionTimestamp"))  # its grace period is in it
    return (ends - now).total_seconds() + _LATE_S if ends else _BEGINS_S - since


def _stays(pod: Document) -> str:
    name, node = pod["metadata"]["name"], (pod.get("spec") or {}).get("nodeName")
    if waits.is_lost(pod):
        return (
            f"{name} stays: its node {node} does not report (NotReady). What runs there may go on "
            f"with its cards, until the node is back or `kubectl delete node {node}` gives it up"
        )
    return (
        f"{name} stays: its node {node} has not ended it within its grace period; "
        f"kubectl describe pod {name} says more, and the cluster goes on trying"
    )
