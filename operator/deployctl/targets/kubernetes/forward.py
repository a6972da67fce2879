"""A port of loopback that leads to a service's pods through the API server, as `kubectl
port-forward` does: where no other way leads into a cluster.

Made for questions and small loads: each connection is a stream of its own through the API server.
"""

import selectors
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from deployctl.errors import TargetError
from deployctl.targets.kubernetes.cluster import Cluster, ForbiddenError
from deployctl.targets.kubernetes.frames import DATA, Frames, open_port

if TYPE_CHECKING:
    from websocket import WebSocket

_CHUNK = 65536


class Forwarder:
    """Listens as long as the process lives. Each connection goes to the next pod in turn."""

    def __init__(self, cluster: Cluster, pods: Callable[[], list[str]], port: int) -> None:
        """`pods` names those that are ready; `port` is the one in the pod."""
        self._cluster = cluster
        self._pods = pods
        self._port = port
        self._turn = count()
        self.refused: ForbiddenError | None = None  # whoever we are may not open a port there
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, name="port-forward", daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        """Relays one connection; without a pod it is closed, as by a server that is not there."""
        from websocket import WebSocketException

        with connection, suppress(TargetError, WebSocketException, OSError):
            pods = self._pods()
            if not pods:
                return
            try:
                stream = open_port(self._cluster, pods[next(self._turn) % len(pods)], self._port)
            except ForbiddenError as error:
                self.refused = error
                return
            self.refused = None
            try:
                stream.settimeout(None)  # whoever asks may take its time
                _relay(connection, stream)
            finally:
                stream.close()


def _relay(connection: socket.socket, stream: "WebSocket") -> None:
    """Until either side ends, or the far one tells an error."""
    frames = Frames()
    far: socket.socket = stream.sock  # type: ignore[assignment]  # there while it is connected
    with selectors.DefaultSelector() as ready:  # not select(), which takes 1,024 files at most
        ready.register(connection, selectors.EVENT_READ)
        ready.register(far, selectors.EVENT_READ)
        while True:
            readable = {key.fileobj for key, _ in ready.select()}
            if connection in readable:
                data = connection.recv(_CHUNK)
                if not data:
                    return
                stream.send_binary(bytes([DATA]) + data)
            if far not in readable:
                continue
            while True:
                frame = bytes(stream.recv_data()[1])
                if not frame:
                    return
                if came := frames.take(frame):
                    channel, data = came
                    if channel != DATA:
                        return
                    connection.sendall(data)
                if not (isinstance(far, ssl.SSLSocket) and far.pending()):
                    break
