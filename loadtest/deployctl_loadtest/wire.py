"""The client's sockets, which know when a request went out and when an answer's bytes came in.

The kernel notes when it took each packet from the network (SO_TIMESTAMPNS). A process that is
busy, or that has to wait for a core, reads late; with the kernel's time it still says when the
bytes were there. Where there is none (TLS, other systems), the time of reading stands for it.
"""

import socket
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

import gevent
import gevent.socket

Clock = Callable[[], float]

# asm-generic/socket.h; Python's `socket` does not name it. Its value differs on few machines
# (alpha, parisc, sparc), where the option is refused or unanswered, and the clock is read.
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@qq")
_ROOM = socket.CMSG_SPACE(_TIMESPEC.size) if hasattr(socket, "CMSG_SPACE") else 0
_KERNEL_TELLS = sys.platform == "linux" and sys.maxsize > 1 << 32


class Wire:
    """What the sockets of one HTTP client have seen last, on `clock`."""

    __slots__ = ("came_at", "clock", "sent_at")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.sent_at: float | None = None  # a request: when it was given to a connection
        self.came_at: float | None = None  # bytes: when the last of a read were there


class Deadline(gevent.Timeout):  # type: ignore[misc]
    """Gives a request up so many seconds after it was sent. What Python does before that is not the
    server's: on a starved machine it took 0.3 s of 2. It is looked at when the time is up alone."""

    timer: Any

    def __init__(self, seconds: float, wire: Wire) -> None:
        super().__init__(seconds)
        self._wire = wire

    def _on_expiration(self, prev_greenlet: Any, ex: BaseException) -> None:
        """As gevent's, which names it for this, unless the request was sent later."""
        sent = self._wire.sent_at
        left = 0.0 if sent is None else sent + self.seconds - self._wire.clock()
        if left <= 0.0:
            super()._on_expiration(prev_greenlet, ex)
            return
        self.timer.close()
        self.timer = gevent.get_hub().loop.timer(left, priority=-1)
        self.timer.start(self._on_expiration, prev_greenlet, ex, update=True)


class StampedSocket(gevent.socket.socket):  # type: ignore[misc]
    """A socket that tells its wire when what it received had come."""

    def __init__(self, wire: Wire, *about: Any) -> None:
        super().__init__(*about)
        self.wire = wire
        if _KERNEL_TELLS:
            with suppress(OSError):
                self.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def take(self, size: int) -> bytes:
        """What is there now, at most `size` bytes; empty at the end of the stream.

        Raises:
            BlockingIOError: nothing is.
        """
        data: bytes
        data, told, _, _ = self._sock.recvmsg(size, _ROOM)
        wire = self.wire
        now = wire.clock()
        if told and told[0][1] == _SO_TIMESTAMPNS and len(told[0][2]) == _TIMESPEC.size:
            seconds, nanoseconds = _TIMESPEC.unpack(told[0][2])
            # The kernel's is wall-clock time. If somebody sets that clock at this very moment
            # the age makes no sense: it lies in the future, or before what was known already.
            at = now - (time.time() - seconds - nanoseconds * 1e-9)
            known = wire.came_at or wire.sent_at or now
            wire.came_at = at if known <= at <= now else now
        else:
            wire.came_at = now
        return data

    def recv(self, size: int, flags: int = 0) -> bytes:
        """As any socket's, in a greenlet."""
        while True:
            try:
                return self.take(size)
            except BlockingIOError:
                if self.timeout == 0.0:
                    raise
            self._wait(self._read_event)


def attach(agent: Any, clock: Clock) -> Wire:
    """Lets the sockets that a geventhttpclient agent will open tell a wire, and returns it."""
    wire = Wire(clock)
    clients = agent.clientpool
    known = clients.get_client

    def get_client(url: Any) -> Any:
        client = known(url)
        pool = client._connection_pool
        if getattr(pool, "wire", None) is not wire:
            pool.wire = wire
            _wrap(pool, wire, stamped=not client.ssl)
        return client

    clients.get_client = get_client
    return wire


def numeric(host: str, port: int) -> list[tuple[Any, ...]] | None:
    """What a resolver would say of a numeric address; None for a name.

    gevent asks one in a thread, for each connection anew: of hundreds that open at once the last
    waits for milliseconds, which would count as the server's.
    """
    try:
        version = ip_address(host).version
    except ValueError:
        return None
    if "%" in host:  # of one network interface: its number is the resolver's to know
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    where = (host, port) if version == 4 else (host, port, 0, 0)
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", where)]


def _wrap(pool: Any, wire: Wire, *, stamped: bool) -> None:
    take = pool.get_socket

    def get_socket() -> Any:
        wire.came_at = None
        # Whoever has to connect first has begun: a server that is slow to accept is slow.
        wire.sent_at = wire.clock()
        return take()

    pool.get_socket = get_socket
    if (known := numeric(pool._connection_host, pool._connection_port)) is not None:
        pool._resolve = lambda: known
    if stamped:
        pool._create_tcp_socket = lambda *about: StampedSocket(wire, *about)
