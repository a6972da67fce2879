"""PodStream: bytes to and from a port inside a pod, through the API server.

As a port-forward: it needs no right that `smoke` and `loadtest` do not need too, nothing in the
image, and no way for the network to the pod; and nobody else reaches the port meanwhile.
"""

import json
import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from deployctl.targets.kubernetes.cluster import Cluster, UnreachableError
from deployctl.targets.kubernetes.frames import DATA, ERROR, Frames, open_port

if TYPE_CHECKING:
    from websocket import WebSocket

BLOCK = 256 * 1024  # bytes of a frame
SEND_S = 60.0  # for a block to be taken
_ANSWER_S = 600.0  # the other side may have gigabytes to read, or to bring to its disk
_WHOLE_BINARY, _MASKED = 0x82, 0x80


class PodStream:
    """Not to be shared between threads, but for `cut`.

    Raises, in every method:
        UnreachableError: the stream ended, or nothing came for too long.
    """

    def __init__(self, opened: "WebSocket", answer_s: float) -> None:
        """`answer_s`: how long an answer is waited for."""
        self._opened = opened
        self._answer_s = answer_s
        self._frames = Frames()
        self._came = b""

    def ask(self, wanted: dict[str, Any]) -> None:
        """Sends a line of JSON."""
        self.send(memoryview(json.dumps(wanted).encode() + b"\n"))

    def send(self, data: memoryview) -> None:
        """Sends bytes, BLOCK of them at most."""
        from websocket import WebSocketException

        # By hand, with a mask of zeros: the client's own takes every byte through an int of
        # Python's. Masks are for what scripts in a browser send.
        length = len(data) + 1
        head = bytes([_WHOLE_BINARY])
        if length < 126:
            head += bytes([_MASKED | length])
        elif length < 1 << 16:
            head += bytes([_MASKED | 126]) + length.to_bytes(2, "big")
        else:
            head += bytes([_MASKED | 127]) + length.to_bytes(8, "big")
        try:
            sock = self._socket()
            sock.settimeout(SEND_S)
            sock.sendall(b"".join((head, bytes(4), bytes([DATA]), data)))
        except (WebSocketException, OSError) as error:
            raise _lost(error) from error

    def answer(self) -> dict[str, Any]:
        """The next line of JSON."""
        while b"\n" not in self._came:
            self._came += self._frame()
        line, _, self._came = self._came.partition(b"\n")
        try:
            found = json.loads(line)
        except ValueError as error:
            raise UnreachableError(f"the pod says {line[:100]!r}") from error
        return found if isinstance(found, dict) else {}

    def has_answer(self) -> bool:
        """Whether something has come already."""
        sock = self._socket()
        waits = isinstance(sock, ssl.SSLSocket) and sock.pending()
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(self._came or waits or poll.poll(0))

    def cut(self) -> None:
        """Ends it, whoever is using it."""
        with suppress(OSError, UnreachableError):
            self._socket().shutdown(socket.SHUT_RDWR)

    def _socket(self) -> Any:
        if self._opened.sock is None:
            raise UnreachableError("the stream to the pod is closed")
        return self._opened.sock

    def _frame(self) -> bytes:
        from websocket import WebSocketException

        while True:
            try:
                self._socket().settimeout(self._answer_s)
                frame = bytes(self._opened.recv_data()[1])
            except (WebSocketException, OSError) as error:
                raise _lost(error) from error
            if not frame:
                raise UnreachableError("the stream to the pod ended")
            channel, data = self._frames.take(frame) or (None, b"")
            if channel == DATA:
                return data
            if channel == ERROR and data:
                raise UnreachableError(
                    f"the pod cannot be reached: {data.decode(errors='replace')}"
                )


@contextmanager
def opened(
    cluster: Cluster, pod: str, port: int, *, answer_s: float = _ANSWER_S
) -> Iterator[PodStream]:
    """Opens a stream to a port of a pod.

    Raises:
        ClusterError: it may not be opened.
        UnreachableError: it cannot.
    """
    found = open_port(cluster, pod, port)
    try:
        yield PodStream(found, answer_s)
    finally:
        if found.sock is not None:
            found.sock.close()


def _lost(error: Exception) -> UnreachableError:
    return UnreachableError(f"the stream to the pod was lost: {error or type(error).__name__}")
