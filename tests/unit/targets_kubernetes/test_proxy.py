"""Proxies before an API server: the same one for requests and for streams."""

import base64
import socket
from types import SimpleNamespace

import pytest

from deployctl.errors import ClusterError
from deployctl.targets.kubernetes import forward, proxy
from deployctl.targets.kubernetes.api import Api
from deployctl.targets.kubernetes.kubeconfig import ServerAccess

HOST = "https://192.168.1.2:6443"


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def asked(monkeypatch):
    """What the streams' library would connect to: host, port and login of a proxy, or None."""
    from websocket import WebSocket, _url
    from websocket._http import proxy_info

    found = []

    def connect(self, url, **options):
        told = proxy_info(**options)
        host, _, _, secure = _url.parse_url(url)
        given = told.proxy_host, told.proxy_port, told.auth, told.no_proxy
        found.append((_url.get_proxy_info(host, secure, *given), told.proxy_protocol))

    monkeypatch.setattr(WebSocket, "connect", connect)
    return found


@pytest.mark.parametrize(
    ("named", "left_out", "expected"),
    [
        (None, None, "http://usual:1"),
        (None, "lab,10.0.0.0/8", "http://usual:1"),
        (None, "lab,192.168.0.0/16", None),
        (None, "192.168.1.9/16", None),
        (None, "192.168.1.2", None),
        ("http://own:2", "192.168.1.2", "http://own:2"),
    ],
)
def test_the_proxy_is_the_cluster_s_own_or_the_usual_one(
    monkeypatch, asked, named, left_out, expected
):
    assert Api(ServerAccess(HOST))._proxy is None
    monkeypatch.setenv("https_proxy", "http://usual:1")
    if left_out:
        monkeypatch.setenv("no_proxy", left_out)
    api = Api(ServerAccess(HOST, proxy=named))
    assert (api._proxy and api._proxy.url) == expected
    api.stream("/x")
    (((host, port, _), kind),) = asked
    assert (f"http://{host}:{port}" if host else None) == expected
    assert kind == "http"


@pytest.mark.parametrize(
    ("named", "url", "login"),
    [
        ("http://proxy", "http://proxy:80", None),
        ("https://proxy", "https://proxy:443", None),
        ("proxy:3128", "http://proxy:3128", None),
        ("http://[fd00::1]:3128", "http://[fd00::1]:3128", None),
        ("http://ann:p%40ss@proxy:3128", "http://proxy:3128", ("ann", "p@ss")),
        ("http://ann@proxy:3128", "http://proxy:3128", ("ann", "")),
    ],
)
def test_an_address_is_read_once(named, url, login):
    found = proxy.proxy_for(HOST, named)
    assert (found.url, found.login) == (url, login)


def test_a_login_is_shown_by_requests_and_by_streams(asked):
    api = Api(ServerAccess(HOST, proxy="http://ann:p%40ss@proxy"))
    word = base64.b64encode(b"ann:p@ss").decode()
    assert api._pool.proxy_headers == {"proxy-authorization": f"Basic {word}"}
    api.stream("/x")
    assert asked == [(("proxy", 80, ("ann", "p@ss")), "http")]


def test_socks_is_refused_in_words_where_its_library_is_missing(monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5://ann:secret@proxy:1080")
    monkeypatch.setattr(proxy, "find_spec", lambda _: None)
    with pytest.raises(ClusterError, match="PySocks") as failed:
        Api(ServerAccess(HOST))
    assert failed.value.where == "socks5://proxy:1080"


def test_streams_speak_socks_to_a_proxy_that_does(monkeypatch):
    monkeypatch.setattr(proxy, "find_spec", lambda _: object())
    told = proxy.of_stream(proxy.proxy_for(HOST, "socks5://proxy"))
    assert (told["proxy_type"], told["http_proxy_port"]) == ("socks5", 1080)


def test_a_stream_through_a_proxy_that_is_asked_by_https_is_refused_in_words():
    with pytest.raises(ClusterError, match="no stream"):
        Api(ServerAccess(HOST, proxy="https://proxy")).stream("/x")


def test_a_stream_that_is_taken_in_and_never_answered_is_given_up(monkeypatch):
    from websocket import WebSocket

    told = {}
    monkeypatch.setattr(WebSocket, "connect", lambda self, url, **options: told.update(options))
    Api(ServerAccess(HOST)).stream("/x")
    assert 0 < told["timeout"] <= 60


def test_whoever_asks_through_a_port_may_take_its_time(monkeypatch):
    waits, (here, there) = [], socket.socketpair()
    stream = SimpleNamespace(settimeout=waits.append, close=there.close)
    monkeypatch.setattr(forward, "open_port", lambda *_: stream)
    monkeypatch.setattr(forward, "_relay", lambda *_: waits.append("relayed"))
    listener = SimpleNamespace(getsockname=lambda: ("127.0.0.1", 1))
    monkeypatch.setattr(forward.socket, "create_server", lambda *_, **__: listener)
    monkeypatch.setattr(forward.Forwarder, "_accept", lambda _: None)
    forward.Forwarder(None, lambda: ["pod-1"], 8000)._serve(here)
    assert waits == [None, "relayed"]
