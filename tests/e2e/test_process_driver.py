"""ProcessDriver and its supervisor, on real processes of a fake engine."""

import os
import signal
import socket
import time
from pathlib import Path

import pytest

from deployctl.errors import EngineError, ModelError, PortTakenError, StateError
from deployctl.targets.process import ProcessDriver, procfs
from deployctl.targets.process.command import MARKER
from deployctl.targets.readiness import ask

pytestmark = pytest.mark.usefixtures("fake_engine")


def ignore(_event):
    return None


def until(condition, patience=120.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture
def driver(settings):
    return ProcessDriver(settings)


@pytest.fixture
def started(driver, make_release, free_port):
    """Starts releases; ends them after the test, whatever happened."""
    begun = []

    def start(*, wait=True, watchdog=None, **fake):
        env = {f"FAKE_ENGINE_{name.upper()}": value for name, value in fake.items()}
        release = make_release(port=free_port, env=env, watchdog=watchdog or {})
        begun.append(release)
        driver.start(release, ignore)
        if wait:
            until(lambda: ask(driver.endpoint(release), 2.0).ok)
        return release

    yield start
    for release in begun:
        driver.stop(release, ignore)


def members(driver, release):
    return driver._members(release)


def test_it_runs_on_the_cpus_that_it_is_told(driver, started, monkeypatch):
    core = min(os.sched_getaffinity(0))
    monkeypatch.setattr("deployctl.targets.process.runs.near_cards", lambda *_: [core])
    assert os.sched_getaffinity(driver.state(started()).pid) == {core}


def test_while_it_is_to_be_started_again_no_other_engine_gets_its_port(
    driver, started, make_release, tmp_path
):
    """It was taken, by one that the gateway exposed: whoever asked for that got this one next."""
    hold = tmp_path / "loaded"
    hold.touch()
    release = started(hold=str(hold))
    until((driver._run(release).folder / "door" / "alive.json").exists)  # its watchdog saw it serve
    hold.unlink()  # so the next one listens only once it is there again
    os.kill(driver.state(release).pid, signal.SIGKILL)
    until(lambda: driver.state(release).restarts.number == 1)
    exposed = make_release(name="exposed", port=release.spec.port)
    with pytest.raises(PortTakenError, match="is that of another engine, which is down"):
        driver.preflight(exposed, None)
    with pytest.raises(StateError, match="another engine has its port"):
        driver.start(exposed, ignore)
    behind = make_release(name="exposed", port=release.spec.port, gateway=True)
    assert driver._command(behind).port != release.spec.port
    hold.touch()
    until(lambda: ask(driver.endpoint(release), 2.0).ok)


def test_it_runs_answers_and_stops(driver, started):
    release = started()
    run = driver._run(release).folder
    assert (run / "door" / "door.json").is_file()
    state = driver.state(release)
    assert state.condition == "running"
    assert state.pid
    assert state.memory_bytes > 1024 * 1024
    driver.stop(release, ignore)
    assert driver.state(release).condition == "absent"
    assert not members(driver, release)
    assert not Path(f"/proc/{state.pid}").exists()
    assert not [name for name in ("door", "secrets") if (run / name).exists()]


def test_starting_twice_changes_nothing(driver, started):
    release = started()
    pid = driver.state(release).pid
    driver.start(release, ignore)
    assert driver.state(release).pid == pid


def test_children_and_orphans_end_with_it(driver, started):
    release = started(children="1")
    family = members(driver, release)
    assert len(family) >= 4  # supervisor, engine, child, orphaned grandchild
    driver.stop(release, ignore)
    assert not [who for who in family if procfs.alive(who)]


def test_the_deaf_are_killed(driver, started, monkeypatch):
    monkeypatch.setattr("deployctl.targets.process.driver.GRACE_S", 0.0)
    monkeypatch.setattr("deployctl.targets.process.driver.CHILD_GRACE_S", 0.0)
    release = started(children="1", deaf="1")
    family = members(driver, release)
    driver.stop(release, ignore)
    assert not [who for who in family if procfs.alive(who)]


def test_a_killed_engine_is_dead_and_takes_its_children_along(driver, started):
    release = started(watchdog={"restarts": 0}, children="1")
    family = members(driver, release)
    os.kill(driver.state(release).pid, signal.SIGKILL)
    until(lambda: driver.state(release).condition == "dead")
    assert driver.state(release).detail == "killed by signal 9 (SIGKILL)"
    until(lambda: not [who for who in family if procfs.alive(who)])


def test_one_that_died_and_runs_again_has_not_come_up_for_whoever_started_it(
    driver, started, settings
):
    release = started()
    until((driver._run(release).folder / "door" / "alive.json").exists)  # its watchdog saw it serve
    assert ask(driver.endpoint(release), 2.0).ok
    os.kill(driver.state(release).pid, signal.SIGKILL)
    others = ProcessDriver(settings)
    until(lambda: others.state(release).restarts.number == 1)
    until(lambda: ask(driver.endpoint(release), 2.0).ok)
    why = "killed by signal 9 (SIGKILL)"
    assert (driver.state(release).condition, driver.state(release).detail) == ("dead", why)
    assert (others.state(release).condition, others.state(release).detail) == ("running", "")


def test_the_exit_code_of_one_that_died_loading(driver, started):
    release = started(wait=False, die_loading="3")
    until(lambda: driver.state(release).condition == "dead")
    assert driver.state(release).detail == "exit code 3"
    assert not driver.state(release).has_memory
    assert any("No available memory" in line for line in driver.logs(release, tail=5, follow=False))


def test_a_killed_supervisor_leaves_nothing_that_down_cannot_find(driver, started):
    release = started(children="1")
    family = members(driver, release)
    supervisor = driver._run(release).supervisor()
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: driver.state(release).condition == "dead")
    assert "supervisor was killed" in driver.state(release).detail
    left = [who for who in family if procfs.alive(who)]
    assert left  # the orphans live on
    assert driver.state(release).has_memory
    assert set(left) <= set(members(driver, release))
    driver.stop(release, ignore)
    assert not [who for who in family if procfs.alive(who)]


def test_a_pid_of_another_process_is_left_alone(driver, started, settings):
    release = started()
    run = driver._run(release)
    driver.stop(release, ignore)
    # The records name this very test's pid, with another start time.
    (run.folder / "supervisor.json").write_text(
        f'{{"pid": {os.getpid()}, "start": 1, "boot": "{procfs.boot_id()}"}}'
    )
    assert driver.state(release).condition == "dead"
    driver.stop(release, ignore)  # and this test is still here
    assert driver.state(release).condition == "absent"


def test_another_boot_voids_the_records(driver, make_release):
    release = make_release()
    run = driver._run(release)
    run.folder.mkdir(parents=True)
    me = procfs.identify(os.getpid())
    (run.folder / "supervisor.json").write_text(
        f'{{"pid": {me.pid}, "start": {me.start}, "boot": "another"}}'
    )
    assert driver.state(release).detail == "the machine was restarted"
    driver.stop(release, ignore)


def test_the_key_is_in_no_argument_no_environment_and_no_file_but_its_own(
    driver, make_release, settings, free_port
):
    release = make_release(port=free_port, expose=True)
    key_file = settings.state_dir / "process" / "tiny" / "api_key"
    key_file.parent.mkdir(parents=True)
    key_file.write_text("sesame-7391")
    driver.start(release, ignore)
    try:
        until(lambda: ask(driver.endpoint(release), 2.0).ok)
        nobody = driver.endpoint(release)._replace(api_key=None, operator_token=None)
        assert ask(nobody, 2.0).refused
        assert ask(nobody._replace(api_key="sesame-7391"), 2.0).ok
        for who in members(driver, release):
            for file in ("cmdline", "environ"):
                assert b"sesame" not in Path(f"/proc/{who.pid}/{file}").read_bytes()
        holders = {
            p for p in settings.state_dir.rglob("*") if p.is_file() and b"sesame" in p.read_bytes()
        }
        assert holders == {key_file, driver._run(release).secrets / "api_key"}
    finally:
        driver.stop(release, ignore)


def test_a_missing_key_is_said(driver, make_release):
    with pytest.raises(StateError, match="API key is gone"):
        driver.start(make_release(expose=True), ignore)


def test_the_log_is_bounded(driver, started):
    release = started(chatter=str(34 * 1024 * 1024))
    folder = driver._run(release).folder
    until(lambda: (folder / "engine.log.1").exists())
    assert (folder / "engine.log").stat().st_size < 32 * 1024 * 1024
    lines = list(driver.logs(release, tail=3, follow=False))
    assert lines[-1].startswith("INFO Application startup complete")


def test_follow_ends_with_the_engine_and_misses_nothing(driver, started):
    release = started(wait=False, loading_s="0.3", die_loading="")
    seen = []
    for line in driver.logs(release, tail=None, follow=True):
        seen.append(line)
        if "startup complete" in line:
            driver.stop(release, ignore)
    assert seen[0].startswith("INFO vLLM API server")
    assert seen[-1].startswith("INFO Application startup complete")
    assert len(seen) == len(set(seen))


def test_preflight_names_who_holds_the_port(driver, make_release):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"port {port} is taken by .*pid {os.getpid()}"):
            driver.preflight(make_release(port=port), None)


def test_preflight_takes_the_port_of_what_it_replaces(driver, make_release, started):
    old = started()
    driver.preflight(make_release(revision=2, port=old.spec.port), old)
    with pytest.raises(PortTakenError, match=f"taken by the engine of {old.service} "):
        driver.preflight(make_release(revision=2, port=old.spec.port), None)


def test_preflight_leaves_the_port_to_others_where_the_gateway_leads_elsewhere(
    driver, make_release, monkeypatch
):
    """The engine that took over beside the former let it go; somebody else listens there."""
    monkeypatch.setattr(driver.gateway, "preflight", lambda entry: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        old, new = (make_release(revision=n, port=port, gateway=True) for n in (1, 2))
        driver.preflight(new, old)
        assert driver._command(new).port != port
        with pytest.raises(PortTakenError):
            driver.preflight(new, None)
        with pytest.raises(PortTakenError):
            driver.preflight(make_release(revision=2, port=port), old)


def test_preflight_wants_the_version_of_the_plan(driver, make_release, free_port):
    engine = make_release().plan.engine.model_copy(update={"version": "0.31.0"})
    release = make_release(port=free_port, plan={"engine": engine})
    with pytest.raises(EngineError, match=r"for vLLM 0\.31\.0, and 0\.32\.0 is installed"):
        driver.preflight(release, None)


def test_preflight_wants_vllm(driver, make_release, monkeypatch):
    monkeypatch.setattr("deployctl.targets.process.preflight.vllm_version", lambda: None)
    with pytest.raises(EngineError, match="not installed"):
        driver.preflight(make_release(), None)


def test_preflight_wants_the_model(driver, make_release, free_port):
    release = make_release(port=free_port)
    (Path(release.spec.model) / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        driver.preflight(release, None)


def test_the_environment_of_a_shell_stays_out(driver, make_release, monkeypatch, free_port):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "leak")
    monkeypatch.setenv("VLLM_PORT", "tcp://10.0.0.1:80")
    release = make_release(port=free_port)
    driver.start(release, ignore)
    try:
        until(lambda: ask(driver.endpoint(release), 2.0).ok)
        raw = Path(f"/proc/{driver.state(release).pid}/environ").read_bytes()
        names = {entry.partition(b"=")[0].decode() for entry in raw.split(b"\0") if entry}
        assert {MARKER, "VLLM_CACHE_ROOT", "HF_HUB_OFFLINE", "VLLM_NO_USAGE_STATS"} <= names
        assert not {"AWS_SECRET_ACCESS_KEY", "VLLM_PORT", "HF_TOKEN"} & names
    finally:
        driver.stop(release, ignore)


def test_purge_keeps_the_history(driver, started, settings):
    release = started()
    driver.stop(release, ignore)
    records = settings.state_dir / "process" / "tiny" / "releases"
    records.mkdir()
    driver.purge("tiny", ignore)
    assert records.is_dir()
    assert not driver.log_path(release).exists()
    assert not (settings.cache_dir / "engine" / "tiny").exists()
