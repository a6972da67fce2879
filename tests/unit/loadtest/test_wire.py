"""When bytes came: what the kernel says, and when that is not to be believed."""

import socket
import struct
import time
from types import SimpleNamespace

import pytest

from deployctl_loadtest import wire
from deployctl_loadtest.wire import Deadline, StampedSocket, Wire, numeric

NOW = 100.0


class Answers:
    """Stands for the real socket: one answer of recvmsg's."""

    def __init__(self, age=None, kind=wire._SO_TIMESTAMPNS):
        self._age = age
        self._kind = kind

    def recvmsg(self, size, room):
        if self._age is None:
            return b"data", [], 0, None
        at = time.time() - self._age
        stamp = struct.pack("@qq", int(at), int(at % 1 * 1e9))
        return b"data", [(socket.SOL_SOCKET, self._kind, stamp)], 0, None


def came(answers, *, sent_at=90.0, came_at=None):
    seen = Wire(lambda: NOW)
    seen.sent_at, seen.came_at = sent_at, came_at
    # No real socket: nothing is opened.
    stamped = StampedSocket.__new__(StampedSocket)
    stamped._sock, stamped.wire = answers, seen
    assert stamped.take(100) == b"data"
    return seen.came_at


def test_data_has_the_time_at_which_it_came():
    assert came(Answers(0.25)) == pytest.approx(NOW - 0.25, abs=0.05)


def test_without_a_time_of_the_kernels_it_is_that_of_reading():
    assert came(Answers()) == NOW
    assert came(Answers(0.25, kind=1)) == NOW


def test_a_clock_that_was_set_is_not_believed():
    assert came(Answers(-3600.0)) == NOW
    assert came(Answers(3600.0)) == NOW  # before the request was sent
    assert came(Answers(5.0), came_at=99.0) == NOW  # before what came before


class Timer:
    """Stands for one of the event loop's: `fire` is its time."""

    active = False

    def __init__(self, seconds, **_):
        self.seconds, self.pending = seconds, False

    def start(self, callback, *about, update):
        def fire():
            self.pending = False
            callback(*about)

        self.pending, self.fire = update, fire

    def stop(self):
        self.pending = False

    close = stop


@pytest.fixture
def thrown(monkeypatch):
    """What timers throw, once they are fired by hand."""
    hub, found = SimpleNamespace(loop=SimpleNamespace(timer=Timer)), []
    monkeypatch.setattr("gevent.get_hub", lambda: hub)
    monkeypatch.setattr("gevent.timeout.get_hub", lambda: hub)
    monkeypatch.setattr("gevent.timeout.getcurrent", lambda: SimpleNamespace(throw=found.append))
    return found


def test_a_request_has_its_whole_time_from_when_it_was_sent(thrown):
    """It was given up as having no end after 2 s when 1.72 s had passed."""
    now = [NOW]
    seen = Wire(lambda: now[0])
    deadline = Deadline(2.0, seen)
    deadline.start()
    seen.sent_at, now[0] = NOW + 0.28, NOW + 2
    deadline.timer.fire()
    assert (thrown, deadline.pending) == ([], True)
    assert deadline.timer.seconds == pytest.approx(0.28)
    now[0] += 0.29
    deadline.timer.fire()
    assert (thrown, deadline.pending) == ([deadline], False)


def test_one_that_was_never_sent_is_given_up_all_the_same(thrown):
    deadline = Deadline(2.0, Wire(lambda: NOW))
    deadline.start()
    deadline.timer.fire()
    assert thrown == [deadline]


def test_an_agent_notes_when_a_request_is_given_to_a_connection():
    class Pool:
        _connection_host, _connection_port = "engine.example", 80

        def get_socket(self):
            return "socket"

    class Client:
        ssl = True
        _connection_pool = Pool()

    class Agent:
        class clientpool:  # noqa: N801
            @staticmethod
            def get_client(url):
                return Client

    seen = wire.attach(Agent, lambda: NOW)
    assert seen.sent_at is None
    for _ in range(2):  # the pool is wrapped once
        assert Agent.clientpool.get_client("url")._connection_pool.get_socket() == "socket"
    assert seen.sent_at == NOW
    assert not hasattr(Pool, "_create_tcp_socket")  # TLS sockets are left as they are


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_numeric_address_is_what_a_resolver_would_say(host):
    said = socket.getaddrinfo(host, 80, 0, socket.SOCK_STREAM, socket.SOL_TCP)
    assert numeric(host, 80) == said


@pytest.mark.parametrize("host", ["localhost", "example.com", "fe80::1%eth0", "1.2.3", ""])
def test_a_name_is_left_to_the_resolver(host):
    assert numeric(host, 80) is None
