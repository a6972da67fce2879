"""An engine's port is its supervisor's, whether it listens or not; then the gateway leads there no
more."""

import json
import os
from pathlib import Path

import pytest

import ports
from deployctl.errors import PortTakenError
from deployctl.render.gateway import HELD, NOBODY
from deployctl.targets.process import preflight, procfs, runs, services, supervisor

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


def test_a_supervisor_that_ends_has_requests_wait_that_were_led_to_its_engine(tmp_path):
    led = {"tiny.exposed.0": ADDRESS, "tiny.exposed.1": "127.0.0.1:80001", "held": HELD}
    for name, address in led.items():
        (tmp_path / name).write_text(address)
    supervisor._lead_nobody({"from": str(tmp_path), "to": ADDRESS, "then": NOBODY})
    there = {path.name: path.read_text() for path in tmp_path.iterdir()}
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
    (run / "exit.json").write_text('{"code": 1}')
    assert services.living(tmp_path) == set()
    (run / "exit.json").unlink()
    (run / "supervisor.json").write_text(json.dumps({**told, "boot": "another"}))
    assert services.living(tmp_path) == set()
