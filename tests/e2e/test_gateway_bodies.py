"""The gateway and bodies of requests that wait: nobody's is sent in the place of another's, and all
arrive, also where a service leaves the gateway."""

import contextlib
import http.client
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
from tests.e2e.gateway_parts import ANSWERED, TURNED_AWAY, BareEngine, gateway_in

import ports
from deployctl.render.gateway import GatewayEntry
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
