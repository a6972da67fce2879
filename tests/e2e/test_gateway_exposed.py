"""Strangers at the gateway while --expose is taken away, and given again: on the real Caddy, none
that comes by an address other than loopback gets to the engine that asks for no key."""

import contextlib
import http.client
import itertools
import json
import os
import re
import signal
import socket
import ssl
import urllib.request

import pytest
from tests.e2e import http2
from tests.e2e.gateway_parts import ANSWERED, BareEngine, answer, gateway_in, needs_caddy

import ports
from deployctl.render.gateway import GatewayEntry
from process_shell import PATIENCE_S, carrying, until

PATH, BODY = "/tiny/v1/completions", b'{"prompt": "Hello"}'
KEYS = [None, "wrong"]
# How much of a request a stranger sends before it is held, and how much by the time that it goes
# on: from its head's end (0) on.
HABITS = {
    "is held": (None, len(BODY)),
    "is slow with a body": (3, 3),
    "began such a body while it was held": (None, 3),
    "is slow with the head": (-20, -10),
    "says nothing": (None, None),
}


class Engine(BareEngine):
    """Lets in who has the key; everybody, where there is none. `asked`: how often it was."""

    def __init__(self, key=None, port=0):
        self._key, self.asked = key, 0
        super().__init__(port)

    def _answer(self, line, headers, body):
        if b"/health " in line:
            return ANSWERED
        self.asked += 1
        known = self._key is None or headers["Authorization"] == f"Bearer {self._key}"
        return ANSWERED if known else b"HTTP/1.1 401 no\r\n"


def outside():
    """An address of this machine that is not loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # which sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return asked.getsockname()[0]


class Place:
    """Where strangers connect to; with TLS, where there is a certificate to trust."""

    def __init__(self, host, port, ca):
        self._at, self.name, self._ca = (host, port), f"localhost:{port}", ca

    def connect(self, protocol="http/1.1"):
        plain = socket.create_connection(self._at, timeout=PATIENCE_S)
        if self._ca is None:
            return plain
        trust = ssl.create_default_context(cafile=self._ca)
        trust.set_alpn_protocols([protocol])
        return trust.wrap_socket(plain, server_hostname="localhost")


class Stranger:
    """One request of HTTP/1.1, in three parts."""

    def __init__(self, place, key, habit, *, kept):
        self._connection = place.connect()
        credential = f"Authorization: Bearer {key}\r\n" if key else ""
        head = f"POST {PATH} HTTP/1.1\r\nHost: {place.name}\r\n{credential}"
        head = f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode()
        if kept:
            self._connection.sendall(head + BODY)
            assert self.status() == 401
        whole = head + BODY
        first, second = (0 if at is None else len(head) + at for at in HABITS[habit])
        self._parts = [whole[a:b] for a, b in itertools.pairwise((0, first, second, len(whole)))]

    def go_on(self):
        with contextlib.suppress(OSError):  # it was closed
            self._connection.sendall(self._parts.pop(0))

    def status(self):
        """None: the connection was closed."""
        answer = http.client.HTTPResponse(self._connection)
        try:
            answer.begin()
            answer.read()
        except (OSError, http.client.HTTPException):
            return None
        return answer.status

    def close(self):
        self._connection.close()


class Streams:
    """Requests of HTTP/2 on one connection: one is held, one has a slow body, one comes late."""

    def __init__(self, place, key):
        self._connection = http2.Connection(place.connect("h2"))
        self._place, self._streams = place.name, []
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        assert self._connection.is_ok(self._asks(BODY)) is False

    def _asks(self, body):
        stream = self._connection.begin(PATH, self._place, **self._headers)
        self._connection.send(stream, body, end=body == BODY)
        return stream

    def go_on(self):
        with contextlib.suppress(OSError):  # it was closed
            if self._streams:
                self._streams.append(self._asks(BODY))
                self._connection.send(self._streams[1], BODY[3:])
            else:
                self._streams = [self._asks(BODY), self._asks(BODY[:3])]

    def status(self):
        with contextlib.suppress(OSError):
            return 200 if any(self._connection.is_ok(each) for each in self._streams) else 503
        return None

    def close(self):
        self._connection.close()


def under_way(gateway, port):
    """Requests whose head has come to a port of the gateway, and that have no answer yet."""
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.monitor_port()}/metrics") as answer:
        told = answer.read().decode()
    line = rf'^caddy_http_requests_in_flight{{handler="subroute",server="port-{port}"}} (\d+)$'
    found = re.search(line, told, re.MULTILINE)
    return int(found[1]) if found else 0


def came(place, *, kept=(False, True), habits=HABITS, streams=()):
    told = {
        (key, kept, habit): Stranger(place, key, habit, kept=kept)
        for key, kept, habit in itertools.product(KEYS, kept, habits)
    }
    return told | {(key, "HTTP/2"): Streams(place, key) for key in streams}


@pytest.mark.parametrize(("tls", "shared"), [(None, False), ("internal", True)])
def test_no_stranger_gets_to_an_engine_that_wants_no_key(tmp_path, tls, shared):
    """Its gateway moves to loopback; or to a port there, where another service stays exposed."""
    host, (port, inside) = outside(), (ports.free(), ports.free())
    rest = {"domain": "localhost" if tls else None, "tls": tls, "hold_s": 60}
    guarded, neighbour, free = Engine("a-key"), Engine("another"), Engine()
    exposed = GatewayEntry(service="tiny", port=port, exposed=True, **rest)
    alone = GatewayEntry(service="tiny", port=inside if shared else port, exposed=False, **rest)
    with (
        gateway_in(tmp_path / "gateway", "tiny", "other") as gateway,
        contextlib.ExitStack() as opened,
    ):
        gateway.await_answer(gateway.admit(exposed, guarded.address))
        if shared:
            gateway.admit(exposed.model_copy(update={"service": "other"}), neighbour.address)
        ca, streams = gateway.ca_file("tiny"), KEYS if tls else []
        strangers = came(Place(host, port, ca), streams=streams)
        for each in strangers.values():
            opened.callback(each.close)
        for each in strangers.values():
            if isinstance(each, Stranger):
                each.go_on()
        each_habit = 2 * len(KEYS)
        until(lambda: under_way(gateway, port) == each_habit)  # those that are slow with a body
        gateway.hold("tiny")
        for each in strangers.values():
            each.go_on()
        until(lambda: under_way(gateway, port) == 3 * each_habit + 2 * len(streams))
        gateway.admit(alone, free.address)
        for each in strangers.values():
            each.go_on()
        told = {name: each.status() for name, each in strangers.items()}
        assert set(told.values()) == {503, None}, told
        # And when it is exposed again: those of this machine who wait come to one that wants a key.
        gateway.hold("tiny")
        waiting = came(Place("127.0.0.1", alone.port, ca), kept=[False], habits=["is held"])
        for each in waiting.values():
            opened.callback(each.close)
            each.go_on()
            each.go_on()
        until(lambda: under_way(gateway, alone.port) == len(waiting))
        gateway.admit(exposed, guarded.address)
        assert {each.status() for each in waiting.values()} == {401}
        assert free.asked == 0


def test_what_is_on_the_port_of_an_engine_that_died_is_not_what_strangers_get(shell):
    """The gateway led them there still: to a program of anybody's, with no deployctl beside; and to
    an engine that wants no key, for it is not exposed."""
    needs_caddy()
    port, host = ports.free(), outside()
    words = ["--gateway", "--expose", "--gateway-port", port, "--hold", "1"]

    def asked():
        with contextlib.suppress(OSError, http.client.HTTPException):  # the gateway is down
            return answer(f"http://{host}:{port}", "/tiny/v1/models")[0]

    code, _, err = shell.up(*words, "--watchdog", "restarts=0")
    assert code == 0, err
    os.kill(shell.status(0)["pid"], signal.SIGKILL)
    until(lambda: not carrying(shell.state / "process"))  # it was given up
    program = Engine(port=shell.port)
    proxy = json.loads((shell.state / "gateway" / "engine.json").read_text())["pid"]
    os.kill(proxy, signal.SIGKILL)  # and is started again
    assert (until(asked), program.asked) == (503, 0)
    program.end()
    code, _, err = shell.up(*words)
    assert (code, until(asked)) == (0, 401), err
    for pid in carrying(shell.state / "process"):  # and so does its supervisor
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not carrying(shell.state / "process"))
    code, _, err = shell.up("--name", "other")
    assert code == 0, err
    assert f"requests for tiny wait: its engine at 127.0.0.1:{shell.port} has ended" in err
    assert answer(f"http://127.0.0.1:{shell.port}", "/v1/models")[0] == 200
    assert asked() == 503
