"""The open loop: one scheduler a process sends each request when it is due. Needs Locust.

It never waits for an answer: a slow server is sent as much as a fast one. Where the client
itself comes late, each sample says by how much. There is a limit to what a process can have
under way (sockets, memory); what is due beyond it is counted as dropped, never delayed.
"""

import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gevent
from gevent.pool import Group

_FILES_KEPT = 100  # of the descriptors that a process may open: logs, the master, the loop
_MOST = 20_000
_MEMORY = 2 << 30  # bytes that all under way may take
_STREAM = 75_000  # bytes that one takes, measured at 19,900 of them, beside …
_COPIES = 3  # … its prompt: as text, as a body, and as it is sent
_PORTS = Path("/proc/sys/net/ipv4/ip_local_port_range")
_PORTS_KEPT = 0.8  # of the ports to one server: those just closed are not free at once


class Due(NamedTuple):
    """A request and when it is due, in seconds from the run's start."""

    at_s: float
    number: int  # over the whole run
    what: Any  # made before it is due
    size: int = 0  # bytes of its body


def most_in_flight(processes: int = 1) -> int:
    """How many requests a process can have under way; raises its limit of open files.

    `processes` share this machine's ports: each connection to one server takes one.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MOST + _FILES_KEPT
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return max(1, min(_MOST, max(soft, allowed) - _FILES_KEPT, _ports() // processes))


def _ports() -> int:
    """How many connections to one server this machine may have."""
    try:
        low, high = map(int, _PORTS.read_text(encoding="ascii").split())
    except (OSError, ValueError):
        return _MOST  # not Linux
    return int((high - low + 1) * _PORTS_KEPT)


class OpenLoop:
    """Sends what is due, each in a greenlet of its own, over connections that are used again."""

    def __init__(
        self,
        send: Callable[[Any, Any, float], object],
        connect: Callable[[], Any],
        clock: Callable[[], float],
        *,
        limit: int,
    ) -> None:
        """`send(client, what, due)` asks and keeps the sample; `connect()` makes a client."""
        self._send = send
        self._connect = connect
        self._clock = clock
        self._limit = limit
        self._idle: list[Any] = []
        self._flights = Group()
        self._bytes = 0  # that those under way take, about
        self.sent = 0
        self.dropped = 0
        self.first_drop_s: float | None = None

    @property
    def in_flight(self) -> int:
        """Requests under way."""
        return len(self._flights)

    def run(self, schedule: Iterator[Due], epoch: float) -> None:
        """Sends all of a schedule that began at `epoch` on the clock."""
        for due in schedule:
            moment = epoch + due.at_s
            # Also where it is late: answers must be read in between.
            gevent.sleep(max(0.0, moment - self._clock()))
            weight = _STREAM + _COPIES * due.size
            if len(self._flights) >= self._limit or self._bytes + weight > _MEMORY:
                self.dropped += 1
                if self.first_drop_s is None:
                    self.first_drop_s = round(due.at_s, 3)
                continue
            self.sent += 1
            self._bytes += weight
            self._flights.spawn(self._one, due.what, moment, weight)

    def cut(self) -> None:
        """Ends everything under way; each request keeps a sample that says so."""
        self._flights.kill()

    def _one(self, what: Any, moment: float, weight: int) -> None:
        try:
            # The last one used is the likeliest to be open still.
            client = self._idle.pop() if self._idle else self._connect()
            self._send(client, what, moment)
            self._idle.append(client)
        finally:
            self._bytes -= weight
