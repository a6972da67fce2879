"""python -m benchmarks.fidelity.mock SCENARIO LOG [--itl S] [--chunks N] [--core N]

An OpenAI-compatible server that answers every chat request with a stream whose schedule is
known, and notes when each event was really sent. Prints its port; on SIGTERM it writes LOG
(one JSON line a stream, the last one about itself) and ends.

One loop over epoll and a heap of what is due: no framework, because 1,024 streams and 18,000
events a second must leave it time to spare. It keeps account of its own lateness: how long
after it was due each write was done, and how long what it read may have lain there.
"""

import argparse
import contextlib
import gc
import heapq
import json
import os
import select
import signal
import socket
import time
from pathlib import Path

from benchmarks.fidelity.scenarios import Plan, is_special, phase, plan

clock = time.monotonic  # CLOCK_MONOTONIC: one for all processes
PRIORITY = -20  # nice, for the server and for each client, where it is allowed
_LOOKS_EVERY_S = 0.0005  # between two looks at the sockets, while much is due
_AT_ONCE = 32  # sockets a look: what is due must not wait for all of a crowd
_TURN_S = 0.001  # epoll's own timer is no finer; the rest is waited for awake


class Stream:
    """One answer under way."""

    __slots__ = ("base", "conn", "next", "number", "plan", "sent")

    def __init__(self, number: int, conn: "Connection", shape: Plan, base: float) -> None:
        self.number = number
        self.conn = conn
        self.plan = shape
        self.base = base
        self.next = 0
        self.sent: list[tuple[float, float]] = []  # of each write: begun, done


class Connection:
    """A socket, what was read of a request, and since when it is there."""

    __slots__ = ("accepted", "buffer", "sock")

    def __init__(self, sock: socket.socket, accepted: float) -> None:
        self.sock = sock
        self.accepted: float | None = accepted  # None after its first request
        self.buffer = b""


class Mock:
    """The server."""

    def __init__(self, scenario: str, itl_s: float, chunks: int) -> None:
        self._scenario, self._itl, self._chunks = scenario, itl_s, chunks
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._poll = select.epoll()
        self._poll.register(self._listener, select.EPOLLIN)
        self._connections: dict[int, Connection] = {}
        self._due: list[tuple[float, int, Stream]] = []
        self._looked = clock()
        self._streams: list[tuple[Stream, float | None, float, float]] = []
        self._late: list[float] = []
        self.blocked = 0  # writes that the client's full buffer held up
        self.stopped = False

    def serve(self) -> None:
        """Serves until `stopped`."""
        while not self.stopped:
            now = clock()
            self._send_what_is_due(now)
            wait = 0.05
            if self._due:
                wait = self._due[0][0] - clock()
            # epoll rounds up to milliseconds: the last one is not left to it.
            self._look(wait - _TURN_S if wait > 2 * _TURN_S else 0.0)

    def _send_what_is_due(self, now: float) -> None:
        due = self._due
        until = now + _LOOKS_EVERY_S
        while due and due[0][0] <= now:
            when, number, stream = due[0]
            write = stream.plan.writes[stream.next]
            begun = clock()
            data = write.render(stream.number, begun)
            try:
                if data and stream.conn.sock.send(data) != len(data):
                    self.blocked += 1
            except BlockingIOError:
                self.blocked += 1
            except OSError:  # the client has gone
                heapq.heappop(due)
                continue
            now = clock()
            stream.sent.append((begun, now))
            self._late.append(now - when)
            stream.next += 1
            if stream.next < len(stream.plan.writes):
                after = stream.base + stream.plan.writes[stream.next].after_s
                heapq.heapreplace(due, (after, number, stream))
            else:
                heapq.heappop(due)
                if stream.plan.ending == "cut":
                    self._drop(stream.conn)
            if now > until:
                return

    def _look(self, wait: float) -> None:
        before = clock()
        ready = self._poll.poll(wait, _AT_ONCE)
        now = clock()
        # Where it did not have to wait, what it found may be there since it last found little.
        lain = 0.0 if now - before > _LOOKS_EVERY_S / 10 else now - self._looked
        for fd, _ in ready:
            if fd == self._listener.fileno():
                self._accept(now)
            elif fd in self._connections:
                self._read(self._connections[fd], now, lain)
        if len(ready) < _AT_ONCE:
            self._looked = now

    def _accept(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                sock, _ = self._listener.accept()
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._connections[sock.fileno()] = Connection(sock, now)
                self._poll.register(sock, select.EPOLLIN)

    def _read(self, conn: Connection, now: float, lain: float) -> None:
        try:
            data = conn.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(conn)
            return
        conn.buffer += data
        head, separator, rest = conn.buffer.partition(b"\r\n\r\n")
        if not separator:
            return
        lower = head.lower()
        at = lower.find(b"\r\ncontent-length:")
        length = int(lower[at + 17 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
        if len(rest) < length:
            return
        conn.buffer = rest[length:]
        if head.startswith(b"POST") and b"/chat/completions" in head.split(b"\r\n", 1)[0]:
            self._begin(conn, now, lain)
        else:
            self._plain(conn, head)

    def _begin(self, conn: Connection, now: float, lain: float) -> None:
        number = len(self._streams)
        shape = plan(self._scenario, is_special(self._scenario, number), self._itl, self._chunks)
        stream = Stream(number, conn, shape, now + phase(number) * self._itl)
        self._streams.append((stream, conn.accepted, now, lain))
        conn.accepted = None
        heapq.heappush(self._due, (stream.base + shape.writes[0].after_s, number, stream))

    def _plain(self, conn: Connection, head: bytes) -> None:
        status, body = b"404 Not Found", b"{}"
        path = head.split(b" ", 2)[1]
        if path.endswith(b"/models"):
            status, body = b"200 OK", b'{"object":"list","data":[{"id":"mock","object":"model"}]}'
        elif path.endswith(b"/health"):
            status = b"200 OK"
        head = b"HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        with contextlib.suppress(OSError):
            conn.sock.send(head % (status, len(body)) + body)

    def _drop(self, conn: Connection) -> None:
        self._connections.pop(conn.sock.fileno(), None)
        with contextlib.suppress(OSError):
            conn.sock.close()

    def log(self, path: Path) -> None:
        """Writes what was sent, stream by stream, and last what there is to say of itself."""
        with path.open("w", encoding="utf-8") as file:
            for stream, accepted, read, lain in self._streams:
                file.write(json.dumps(self._told(stream, accepted, read, lain)) + "\n")
            usage = os.times()
            own = {
                "scenario": self._scenario,
                "itl_s": self._itl,
                "chunks": self._chunks,
                "late_s": [round(late, 7) for late in self._late],
                "blocked": self.blocked,
                "cpu_s": usage.user + usage.system,
            }
            file.write(json.dumps(own) + "\n")

    def _told(
        self, stream: Stream, accepted: float | None, read: float, lain: float
    ) -> dict[str, object]:
        texts: list[tuple[int, float]] = []
        role = None
        for write, (begun, _) in zip(stream.plan.writes, stream.sent, strict=False):
            texts += [(number, begun) for number in write.completes]
            role = begun if write.role else role
        return {
            "stream": stream.number,
            # Between accept and read a slow listener lets the request lie.
            "begun": accepted if self._scenario == "slow_accept" and accepted else read,
            "lain": lain,
            "role": role,
            "texts": [at for _, at in texts],
            "tokens": stream.plan.tokens,
            "fault": stream.plan.fault,
            "whole": len(stream.sent) == len(stream.plan.writes),
            "ended": stream.sent[-1][1] if stream.sent else read,
        }


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scenario")
    parser.add_argument("log", type=Path)
    parser.add_argument("--itl", type=float, default=0.02)
    parser.add_argument("--chunks", type=int, default=64)
    parser.add_argument("--core", type=int)
    given = parser.parse_args()
    if given.core is not None:
        os.sched_setaffinity(0, {given.core})
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    mock = Mock(given.scenario, given.itl, given.chunks)

    def stop(*_: object) -> None:
        mock.stopped = True

    signal.signal(signal.SIGTERM, stop)
    gc.disable()
    print(mock.port, flush=True)
    mock.serve()
    mock.log(given.log)


if __name__ == "__main__":
    main()
