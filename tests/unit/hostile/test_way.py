"""What may be amiss on the way to a server: silent addresses, redirects, a slow link."""

import contextlib
import socket
import threading
import time
from types import SimpleNamespace

import httpx
import pytest

from deployctl import web
from deployctl.endpoint import Endpoint
from deployctl.hub.repository import SLOWEST, TIMEOUT

from .liar import BLOCK, Liar, answer


@contextlib.contextmanager
def silent(port, *hosts):
    """Addresses where nobody answers: their queues are full, so the kernel drops what comes."""
    with contextlib.ExitStack() as stack:
        for host in hosts:
            stack.enter_context(socket.create_server((host, port), backlog=0))
            for _ in range(3):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((host, port))
        yield


@pytest.fixture
def named(monkeypatch):
    """Says what addresses the name `many.test` has."""
    real, hosts = socket.getaddrinfo, []

    def found(host, port, *args, **more):
        if host != "many.test":
            return real(host, port, *args, **more)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in hosts]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    return hosts


def test_a_silent_address_leaves_time_for_the_next(named):
    named += ["127.0.0.2", "127.0.0.1"]
    with Liar(answer({})) as liar:
        port = int(liar.url.rpartition(":")[2])
        asking = web.client(Endpoint(f"http://many.test:{port}", "m", None), 2.0)
        with silent(port, "127.0.0.2"), asking:
            assert asking.get("/v1/models").json() == {}


def test_many_silent_addresses_take_no_longer_than_one(named):
    named += [f"127.0.0.{number}" for number in range(2, 10)]
    with Liar(answer({})) as liar:
        port = int(liar.url.rpartition(":")[2])
        asking = web.client(Endpoint(f"http://many.test:{port}", "m", None), 0.5)
        with silent(port, *named), asking:
            began = time.monotonic()
            with pytest.raises(httpx.ConnectTimeout):
                asking.get("/v1/models")
            assert time.monotonic() - began < 4 * 0.5  # of 8, each of which would take as long


def to_the_next(after_s, hops):
    """Takes its time, and sends elsewhere, so often."""

    def lie(send, method, path):
        time.sleep(after_s)
        here = int(path.strip("/") or 0)
        there = b"Location: /%d\r\n" % (here + 1)
        answer({}, b"302 There", there)(send) if here < hops else answer({})(send)

    return lie


def test_redirects_do_not_outlive_the_deadline():
    late = pytest.raises(httpx.TimeoutException)
    with Liar(to_the_next(0.4, hops=5)) as liar, web.roaming(1.0) as roaming, late:
        roaming.get(liar.url)


def test_each_server_on_the_way_may_take_as_long_to_be_connected_to():
    within = httpx.Timeout(30.0, connect=1.0)
    with Liar(to_the_next(1.1, hops=1)) as liar, web.roaming(within) as roaming:
        assert roaming.get(liar.url).status_code == 200


def test_a_slow_link_brings_a_tokenizer(monkeypatch):
    now = 0.0

    class SlowLink(httpx.BaseTransport):
        def handle_request(self, request):
            return httpx.Response(200, content=self.come(request.extensions["timeout"]["read"]))

        def come(self, until):
            nonlocal now
            for _ in range(300):
                now += BLOCK / 16_000  # bytes a second
                assert now < until.at
                yield bytes(BLOCK)

    monkeypatch.setattr(web, "time", SimpleNamespace(monotonic=lambda: now))
    with web.roaming(TIMEOUT, slowest=SLOWEST) as roaming:
        roaming._transport._inner = SlowLink()
        assert len(roaming.get("https://hub.test/").content) == 300 * BLOCK


def test_a_silent_name_server_does_not_outlive_the_deadline(monkeypatch):
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(60) and [])
    asking = web.client(Endpoint("http://silent.test", "m", None), 0.2)
    with asking, pytest.raises(httpx.ConnectTimeout):
        asking.get("/v1/models")
    over.set()


@pytest.mark.parametrize("name", ["nobody.invalid", "a" * 64 + ".test", "a..test"])
def test_a_name_that_stands_for_nothing_is_an_error_of_the_connection(monkeypatch, name):
    def found(host, *_, **__):
        host.encode("idna")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", found)
    asking = web.client(Endpoint(f"http://{name}", "m", None), 5.0)
    with asking, pytest.raises(httpx.ConnectError):
        asking.get("/v1/models")
