"""The gateway and bodies of requests that wait: nobody's is sent in the place of another's, and all
arrive, also where a service leaves the gateway. And bodies that stop coming in."""

import contextlib
import http.client
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.e2e import http2
from tests.e2e.gateway_parts import ANSWERED, TURNED_AWAY, BareEngine, gateway_in

import ports
from deployctl.render import caddy
from deployctl.render.gateway import ROOT_CERTIFICATE, GatewayEntry
from process_shell import PATIENCE_S, until


class Engine(BareEngine):
    """Turns the first requests away, once it has read them; of the others it keeps the bodies."""

    def __init__(self, turns_away):
        self.left, self.bodies, self._lock = turns_away, {}, threading.Lock()
        super().__init__()

    def _answer(self, line, headers, body):
        with self._lock:
            self.left -= 1
            if self.left < 0:
                self.bodies[headers["X-Request-Id"]] = body
        return TURNED_AWAY if self.left >= 0 else ANSWERED


@pytest.fixture
def gateway(tmp_path):
    with gateway_in(tmp_path / "gateway", "tiny") as made:
        yield made


def asked(port, name, body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    with contextlib.closing(connection):
        connection.request("POST", "/tiny/v1/completions", body, {"X-Request-Id": name})
        return connection.getresponse().status


def test_large_bodies_that_a_door_turned_away_mix_up_no_others(gateway):
    engine, port, large = Engine(turns_away=8), ports.free(), 8
    wanted = {"exposed": False, "domain": None, "tls": None, "hold_s": 30}
    gateway.admit(GatewayEntry(service="tiny", port=port, **wanted), engine.address)

    ask = partial(asked, port)
    with ThreadPoolExecutor(max_workers=32) as pool:
        told = list(pool.map(ask, ["large"] * large, [b"x" * 3_000_000] * large))
        assert told == [503] * large
        gateway.hold("tiny")
        bodies = {f"r{number:02}": f"r{number:02}".encode() * 20_000 for number in range(24)}
        answers = [pool.submit(ask, name, body) for name, body in bodies.items()]
        until(lambda: all(each.running() for each in answers))
        gateway.lead("tiny", engine.address)
        assert [each.result() for each in answers] == [200] * len(bodies)
    assert engine.bodies == bodies


def test_who_waits_for_replicas_goes_to_the_one_engine_that_is_behind_no_gateway(gateway):
    engine, port = Engine(turns_away=0), ports.free()
    wanted = {"exposed": False, "domain": None, "tls": None, "hold_s": 60, "replicas": 2}
    entry = GatewayEntry(service="tiny", port=port, **wanted)
    gateway.await_answer(gateway.admit(entry, engine.address, engine.address))
    gateway.hold("tiny")
    bodies = {f"r{number}": b"x" * 100 for number in range(8)}
    with ThreadPoolExecutor(max_workers=8) as pool:
        answers = [pool.submit(asked, port, name, body) for name, body in bodies.items()]
        until(lambda: all(each.running() for each in answers))
        alone = Engine(turns_away=0)
        assert gateway.leave("tiny", to=[alone.address]) == []
        gateway.end_unused("tiny")
        assert [each.result() for each in answers] == [200] * len(bodies)
    assert bodies.items() <= alone.bodies.items()  # it is asked whether it is well, too


LATE_S, SOON_S = 3.0, 30.0  # Caddy's own limit is a minute


class LateEngine(BareEngine):
    """Answers long after it has the whole of a body."""

    def _answer(self, line, headers, body):
        time.sleep(LATE_S)
        return ANSWERED


@pytest.fixture(scope="module")
def connect(tmp_path_factory):
    """Opens a connection of either HTTP to a gateway that waits a second for a body."""
    engine, port, folder = LateEngine(), ports.free(), tmp_path_factory.mktemp("gateway")
    wanted = {"exposed": False, "domain": "localhost", "tls": "internal", "hold_s": 30}

    def opened(*protocols):
        trust = ssl.create_default_context(cafile=folder / ROOT_CERTIFICATE)
        trust.set_alpn_protocols(protocols)
        plain = socket.create_connection(("127.0.0.1", port), timeout=SOON_S)
        return trust.wrap_socket(plain, server_hostname="localhost")

    def signed():
        with contextlib.suppress(OSError), opened("http/1.1"):
            return True

    with pytest.MonkeyPatch.context() as patch, gateway_in(folder, "tiny") as made:
        patch.setattr(caddy, "BODY_IDLE_S", 1)
        made.admit(GatewayEntry(service="tiny", port=port, **wanted), engine.address)
        until(signed)
        yield opened
    engine.end()


@pytest.mark.parametrize(
    ("length", "body", "told"),
    [(10, b"x" * 10, {200}), (400_000, b"x" * 400_000, {200}), (400_000, b"x" * 10, {408, 499})],
    ids=["whole", "long", "stops"],
)
def test_a_body_that_stops_coming_ends_its_request(connect, length, body, told):
    with connect("http/1.1") as connection, connection.makefile("rb") as answer:
        head = f"POST /tiny/v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}"
        connection.sendall(head.encode() + b"\r\n\r\n" + body)
        assert int(answer.readline().split()[1]) in told
        if told != {200}:
            answer.read()  # to the connection's end


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_of_http2_whose_body_stops_coming_is_ended(connect, whole):
    with contextlib.closing(http2.Connection(connect(*http2.ALPN))) as connection:
        stream = connection.begin("/tiny/v1/completions", "localhost")
        connection.send(stream, b"x" * 10, end=whole)
        assert connection.is_ok(stream) is whole
