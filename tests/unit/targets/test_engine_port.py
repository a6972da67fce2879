"""An engine's port is its supervisor's, whether it listens or not; then the gateway leads there no
more."""

import json
import os
import socket
from pathlib import Path

import pytest
from tests.unit.targets.gateways import wanting

import ports
from deployctl.errors import PortTakenError
from deployctl.render.gateway import HELD, NOBODY
from deployctl.targets.process import preflight, procfs, runs, services, supervisor
from deployctl.targets.process.caddy import Caddy

ADDRESS = "127.0.0.1:8000"


def test_while_an_engine_is_down_no_other_gets_its_port():
    port = ports.free()
    preflight.check_port("127.0.0.1", port)
    with supervisor._reserve(runs.reservation(port)):
        with pytest.raises(PortTakenError, match=f"port {port} is that of another engine, which"):
            preflight.check_port("127.0.0.1", port)
        with pytest.raises(SystemExit, match="another engine has its port"):
            supervisor._reserve(runs.reservation(port))
        assert preflight.port_error("127.0.0.1", ports.free()) is None
    preflight.check_port("127.0.0.1", port)


def test_what_keeps_a_port_from_being_reserved_is_said_as_it_is():
    """No other engine is looked for where there is none."""
    with pytest.raises(SystemExit, match="its port cannot be reserved: AF_UNIX path too"):
        supervisor._reserve("long" * 100)


def test_where_the_system_does_not_tell_who_has_a_name_no_port_is_refused(monkeypatch, tmp_path):
    """The supervisor finds out: /proc may show processes alone (subset=pid)."""
    monkeypatch.setattr(preflight, "_SOCKETS", tmp_path / "none")
    preflight.check_port("127.0.0.1", ports.free())


def test_the_gateway_does_not_listen_where_an_engine_is_to_be_started_again(tmp_path):
    """Who is led to that engine would come to another service, past the key that it asks for."""
    wanted = wanting("other", port=ports.free())
    with supervisor._reserve(runs.reservation(wanted.port)):
        with pytest.raises(PortTakenError) as refused:
            Caddy(tmp_path).check_port(wanted)
        assert refused.value.hint.endswith("choose another with --gateway-port")
    Caddy(tmp_path).check_port(wanted)


def test_a_socket_of_anybody_s_may_have_any_name():
    with socket.socket(socket.AF_UNIX) as another:
        another.bind(b"\0\xff\xfe" + os.urandom(8).hex().encode())
        assert preflight.port_error("127.0.0.1", ports.free()) is None


def test_a_supervisor_that_ends_has_requests_wait_that_were_led_to_its_engine(tmp_path):
    led = {"tiny.exposed.0": ADDRESS, "tiny.exposed.1": "127.0.0.1:80001", "held": HELD}
    for name, address in led.items():
        (tmp_path / name).write_text(address)
    (tmp_path / "a stray file").write_bytes(b"\xff")  # else how the engine ended is not recorded
    supervisor._lead_nobody({"from": str(tmp_path), "to": ADDRESS, "then": NOBODY})
    there = {name: (tmp_path / name).read_text() for name in led}
    assert there == {**led, "tiny.exposed.0": NOBODY}
    supervisor._lead_nobody({"from": str(tmp_path / "none"), "to": ADDRESS, "then": NOBODY})


def test_it_takes_nothing_from_a_deployctl_that_leads_them_elsewhere_meanwhile(
    tmp_path, monkeypatch
):
    file, new, real = tmp_path / "tiny", tmp_path / ".new", Path.open

    def opened(path, *words, **more):
        found = real(path, *words, **more)
        new.replace(file)
        return found

    file.write_text(ADDRESS)
    new.write_text("127.0.0.1:9000")
    monkeypatch.setattr(Path, "open", opened)
    supervisor._lead_nobody({"from": str(tmp_path), "to": ADDRESS, "then": NOBODY})
    monkeypatch.undo()
    assert file.read_text() == "127.0.0.1:9000"


def test_an_engine_lives_as_long_as_its_supervisor_has_not_given_it_up(tmp_path):
    us = procfs.identify(os.getpid())
    run = tmp_path / "runs" / "000001.0"
    run.mkdir(parents=True)
    assert services.living(tmp_path) == set()
    (run / "job.json").write_text('{"watchdog": {"port": 8000}}')
    told = {"pid": us.pid, "start": us.start, "boot": procfs.boot_id()}
    (run / "supervisor.json").write_text(json.dumps(told))
    assert services.living(tmp_path) == {ADDRESS}
    (run / "job.json").write_text("damaged")
    assert services.living(tmp_path) is None  # it serves, and nobody may say that it has ended
    (run / "exit.json").write_text('{"code": 1}')
    assert services.living(tmp_path) == set()
    (run / "exit.json").unlink()
    (run / "supervisor.json").write_text(json.dumps({**told, "boot": "another"}))
    assert services.living(tmp_path) == set()
