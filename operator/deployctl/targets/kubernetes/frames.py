"""What a port-forward through the API server is made of: how it is opened, and its frames."""

from typing import TYPE_CHECKING

from deployctl.targets.kubernetes.cluster import Cluster

if TYPE_CHECKING:
    from websocket import WebSocket

DATA, ERROR = 0, 1  # channels; a frame is the number of one, and bytes


class Frames:
    """Frames of one port-forward, as they come: the first of each channel says the port."""

    def __init__(self) -> None:
        self._begun: set[int] = set()

    def take(self, frame: bytes) -> tuple[int, bytes] | None:
        """Channel and bytes of a frame that is not empty; None where it only says the port."""
        channel = frame[0]
        if channel in self._begun:
            return channel, frame[1:]
        self._begun.add(channel)
        return None


def open_port(cluster: Cluster, pod: str, port: int) -> "WebSocket":
    """A port-forward to a port in a pod.

    Raises:
        ClusterError: it may not be opened.
        UnreachableError: it cannot.
    """
    return cluster.stream(cluster.path("v1", "pods", pod) + f"/portforward?ports={port}")
