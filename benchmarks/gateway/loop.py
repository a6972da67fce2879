"""Users and an engine in one loop, which tells the time by the kernel's own stamps.

A request is begun when its user connects, and asked when the kernel has all of it for the engine. A
text is sent when the engine hands it to the kernel, and has come when the kernel has it for the
user. None of these waits for this program to be woken: the kernel stamps what arrives
(SO_TIMESTAMPNS) by the clock that is read before each sending (CLOCK_REALTIME); on loopback it does
so within the sender's own call. How late the loop is changes when something is sent, and not how
long it was on its way.
"""

import contextlib
import gc
import heapq
import re
import select
import socket
import struct
import time
from collections.abc import Callable
from typing import NamedTuple

from benchmarks.door.app import DONE, EVENT
from benchmarks.door.client import chat

FIRST_NS = 100_000_000  # from a whole request to its first text
LATE_S = 30.0  # after the schedule's end
SO_TIMESTAMPNS = 35  # of Linux, and of its message; Python has no name for it
MARK = b"~"  # one in each text, and nowhere else: a gateway that is behind cuts texts anywhere
_MOST = 16_384  # bytes that are read at once
_STAMP = struct.Struct("qq")
_NUMBER = re.compile(rb"^POST [^ ]*[?]stream=(\d+) ")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
_HEAD += b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n"
_now = time.time_ns


class Load(NamedTuple):
    """So many requests, evenly."""

    requests: int
    every_ns: int  # between the beginnings of two
    texts: int  # of each
    interval_ns: int  # between two texts


class Told:
    """When what became of one request, in nanoseconds of CLOCK_REALTIME."""

    def __init__(self) -> None:
        self.begun = 0
        self.asked = 0
        self.sent: list[int] = []
        self.late: list[int] = []  # how much later than the schedule says each was sent
        self.came: list[int] = []
        self.read: list[int] = []  # when the loop had each
        self.last = b""  # of what its user has read
        self.shared = 0  # texts that were read with a later one, whose stamp they have

    def heard(self, data: bytes, stamp: int, now: int) -> bool:
        """Its user has read that, which may begin and end anywhere; whether it is over."""
        texts = data.count(MARK)
        self.came += [stamp] * texts
        self.read += [now] * texts
        self.shared += max(0, texts - 1)
        self.last = (self.last + data)[-300:]
        return not data or self.last.endswith(b"0\r\n\r\n")


class Loop:
    """One load at a time."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
        self._listener.setblocking(False)
        self._listener.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)  # of all it accepts, too
        self._open: dict[int, socket.socket] = {}
        self._heard: dict[int, Callable[[], None]] = {self._listener.fileno(): self._accept}
        self._epoll.register(self._listener, select.EPOLLIN)
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self.port: int = self._listener.getsockname()[1]  # of the engine
        self._told: list[Told] = []
        self._load = Load(0, 0, 0, 0)

    def run(self, load: Load, port: int) -> list[Told]:
        """What becomes of each request of a load, to the engine's port or the gateway's.

        Raises:
            RuntimeError: some of it did not end.
        """
        self._load, self._told = load, [Told() for _ in range(load.requests)]
        begin = _now() + 10_000_000
        for number in range(load.requests):
            self._at(begin + number * load.every_ns, lambda n=number: self._ask(n, port))
        last = FIRST_NS + load.texts * load.interval_ns
        end = begin + load.requests * load.every_ns + last + int(LATE_S * 1e9)
        gc.collect()
        gc.disable()
        try:
            while self._due or self._open:
                self._turn()
                if _now() > end:
                    break
        finally:
            gc.enable()
            self._due.clear()
            for fd in list(self._open):
                self._close(fd)
        cut = [each for each in self._told if len(each.came) != load.texts]
        if cut:
            had = f"{len(cut[0].came)} of {load.texts} texts, and at last {cut[0].last[-300:]!r}"
            raise RuntimeError(f"{len(cut)} of {load.requests} streams did not end; one had {had}")
        return self._told

    def close(self) -> None:
        """Listens no more."""
        self._listener.close()
        self._epoll.close()

    def _turn(self) -> None:
        while self._due and self._due[0][0] <= _now():
            heapq.heappop(self._due)[2]()
        wait = self._due[0][0] - _now() if self._due else 100_000_000
        # To the microsecond, which epoll itself cannot. A loop that is awake all the time may have
        # the machine's owner take the other core away.
        select.select([self._epoll], [], [], max(0, wait) / 1e9)
        for fd, _ in self._epoll.poll(0):
            if fd in self._heard:
                self._heard[fd]()

    def _at(self, when: int, then: Callable[[], None]) -> None:
        heapq.heappush(self._due, (when, id(then), then))

    def _watch(self, connection: socket.socket, heard: Callable[[], None]) -> None:
        fd = connection.fileno()
        self._open[fd], self._heard[fd] = connection, heard
        self._epoll.register(fd, select.EPOLLIN)

    def _close(self, fd: int) -> None:
        del self._heard[fd]
        self._open.pop(fd).close()  # epoll forgets it by itself

    # The users.

    def _ask(self, number: int, port: int) -> None:
        told, user = self._told[number], socket.socket()
        user.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        user.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = chat(self._load.texts, f"?stream={number}")
        told.begun = _now()
        user.connect(("127.0.0.1", port))  # the kernel alone answers
        user.send(request)
        user.setblocking(False)
        self._watch(user, lambda: self._hear(user, told))

    def _hear(self, user: socket.socket, told: Told) -> None:
        data, stamp = stamped(user)
        if told.heard(data, stamp, _now()):
            self._close(user.fileno())

    # The engine.

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:
                engine, _ = self._listener.accept()
                engine.setblocking(False)
                engine.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                asked = bytearray()
                self._watch(engine, lambda e=engine, a=asked: self._read(e, a))

    def _read(self, engine: socket.socket, asked: bytearray) -> None:
        data, stamp = stamped(engine)
        asked += data
        number = whole(asked)
        if not data:
            self._close(engine.fileno())
        elif number is not None:
            self._told[number].asked = stamp
            asked.clear()
            engine.send(_HEAD)
            self._at(stamp + FIRST_NS, lambda: self._say(engine, number, stamp + FIRST_NS))

    def _say(self, engine: socket.socket, number: int, due: int) -> None:
        if engine.fileno() < 0:
            return  # its user has left
        told, load = self._told[number], self._load
        now = _now()
        engine.send(_TEXT)
        told.sent.append(now)
        told.late.append(now - due)
        if len(told.sent) < load.texts:
            later = due + load.interval_ns
            self._at(later, lambda: self._say(engine, number, later))
        else:
            self._at(due + load.interval_ns, lambda: self._end(engine))

    def _end(self, engine: socket.socket) -> None:
        if engine.fileno() >= 0:
            engine.send(chunk(DONE) + b"0\r\n\r\n")
            self._close(engine.fileno())


def stamped(connection: socket.socket) -> tuple[bytes, int]:
    """What has come, and when the last of it did; nothing at its end."""
    try:
        data, told, _, _ = connection.recvmsg(_MOST, socket.CMSG_SPACE(_STAMP.size))
    except ConnectionError:
        return b"", 0
    if not data:
        return b"", 0
    for level, kind, content in told:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, more = _STAMP.unpack(content)
            return data, int(seconds * 1_000_000_000 + more)
    raise RuntimeError("the kernel does not say when that came")


def whole(asked: bytearray) -> int | None:
    """The number of a request that is there with all of its body."""
    head, gap, body = bytes(asked).partition(b"\r\n\r\n")
    number, length = _NUMBER.match(head), _LENGTH.search(head + b"\r\n")
    if not gap or number is None or length is None or len(body) < int(length[1]):
        return None
    return int(number[1])


def chunk(data: bytes) -> bytes:
    """It as a chunk of HTTP/1.1."""
    return b"%x\r\n%b\r\n" % (len(data), data)


_TEXT = chunk(EVENT.replace(b" word", b" wor" + MARK))
