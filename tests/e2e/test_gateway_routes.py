"""What passes the gateway, of a real door behind a real Caddy: by route, and by host name."""

import contextlib
import http.client
import itertools
import socket
import ssl

import pytest
from tests.e2e.door_parts import CHAT, KEY, TOKEN, Server
from tests.e2e.gateway_parts import ANSWERED, BareEngine, gateway_in
from tests.e2e.spellings import spellings
from tests.e2e.wire import Wire

import ports
from deployctl.render.gateway import GatewayEntry
from process_shell import PATIENCE_S

ROUTES = [
    *(("GET", "/v1/models"), ("POST", CHAT), ("GET", "/health"), ("GET", "/metrics")),
    ("GET", "/nothing"),
]
NO_HOST = {"no host", "two hosts", "a path for a host"}
# What Caddy makes of a path that it takes a service's name off, as browsers do.
RESOLVED = {"doubled slash", "doubled slash within", "doubled slash of a host", "dot", "dots"} | {
    *("dots of the probe", "encoded dots", "end and dot")
}


def entry(service, port, domain=None):
    rest = {"exposed": False, "tls": domain and "internal", "hold_s": 30}
    return GatewayEntry(service=service, port=port, domain=domain, **rest)


def under(name, target):
    """The same below a service's name."""
    scheme, host, path = target.rpartition("://")[0], "", target
    if scheme:
        host, slash, path = target.removeprefix(f"{scheme}://").partition("/")
        host, path = f"{scheme}://{host}", slash + path
    return f"{host}/{name}{path}"


def test_all_but_metrics_is_the_doors_to_decide_however_it_is_written(tmp_path):
    port = ports.free()
    with (
        gateway_in(tmp_path / "gateway", "tiny") as gateway,
        contextlib.closing(Server(tmp_path / "door")) as door,
        contextlib.closing(Wire(port)) as through,
        contextlib.closing(Wire(door.port)) as past,
    ):
        gateway.await_answer(gateway.admit(entry("tiny", port), f"127.0.0.1:{door.port}"))
        written = [(path, *each) for m, path in ROUTES for each in both(m, path)]
        other = []
        for path, plain, spelling in written:
            for secret, below in itertools.product((KEY, TOKEN), (False, True)):
                credential = f"Authorization: Bearer {secret}\r\n"
                resolved = below and spelling.name in RESOLVED and spelling.target != f"{path}//"
                asked = (plain if resolved else spelling).request(credential)
                wanted = past.ask(asked, method=spelling.method).status
                if path == "/metrics" or spelling.name == "fragment":
                    wanted = 404
                if spelling.name in NO_HOST:
                    wanted = 400
                target = under("tiny", spelling.target) if below else spelling.target
                asked = spelling._replace(target=target).request(credential)
                told = through.ask(asked, method=spelling.method)
                if told.status != wanted or b"fake_seen" in told.body:
                    other.append((spelling.name, target, secret, told.status, wanted))
        assert other == []


def both(method, path):
    """Each spelling of a route, beside the plain one."""
    plain, *others = spellings(method, path)
    return [(plain, each) for each in (plain, *others)]


class Engine(BareEngine):
    """Says its name."""

    def __init__(self, name):
        self._name = name
        super().__init__()

    def _answer(self, line, headers, body):
        return ANSWERED + f"X-Name: {self._name}\r\n".encode()


def secured(port, ca, name):
    trust = ssl.create_default_context(cafile=ca)
    plain = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S)
    return trust.wrap_socket(plain, server_hostname=name)


def asked(connection, host, path="/v1/models"):
    """Which engine answers, or the status where none does."""
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    answer = http.client.HTTPResponse(connection)
    answer.begin()
    answer.read()
    return answer.headers["X-Name"] or answer.status


def test_domains_share_a_port_and_each_has_its_service_and_its_certificate(tmp_path):
    port, engines = ports.free(), {name: Engine(name) for name in ("a", "b")}
    with gateway_in(tmp_path / "gateway", *engines) as gateway:
        for name, engine in engines.items():
            wanted = entry(name, port, f"{name}.localhost")
            gateway.await_answer(gateway.admit(wanted, engine.address))
        ca = gateway.ca_file("a")
        for name, other in itertools.permutations(engines):
            with secured(port, ca, f"{name}.localhost") as connection:
                names = connection.getpeercert()["subjectAltName"]
                assert names == (("DNS", f"{name}.localhost"),)
                assert asked(connection, f"{name}.localhost:{port}") == name
                assert asked(connection, f"{name.upper()}.LOCALHOST") == name
                assert asked(connection, f"{name}.localhost", f"/{name}/v1/models") == name
                assert asked(connection, f"{name}.localhost", f"/{other}/v1/models") == name
                for stranger in ("localhost", f"127.0.0.1:{port}", f"x.{name}.localhost", "c"):
                    assert asked(connection, stranger) == 404
                    assert asked(connection, stranger, f"/{name}/v1/models") == 404
        for stranger in ("c.localhost", "localhost", "127.0.0.1"):
            with pytest.raises(ssl.SSLError, match="ALERT"):
                secured(port, ca, stranger)
