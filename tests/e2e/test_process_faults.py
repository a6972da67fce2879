"""The command itself, as a process, through what can go wrong on target `process`.

The engine is the fake one: it dies, hangs and forks when told to, which the real one does not.
"""

import contextlib
import errno
import json
import os
import signal
import socket
import subprocess

import pytest

import ports
from process_shell import PATIENCE_S, carrying, recorded, until


def test_from_nothing_to_nothing(shell):
    code, out, err = shell.up(children="1")
    assert code == 0, err
    assert f"http://127.0.0.1:{shell.port}/v1" in out
    assert "curl " in out
    status = shell.status(0)
    assert (status["health"], status["revision"]) == ("serving", 1)
    code, _, err = shell.up(children="1")
    assert code == 0
    assert "unchanged" in err
    code, out, _ = shell.run("logs", "tiny", "--tail", "1")
    assert (code, out) == (0, "INFO Application startup complete.\n")
    assert shell.run("down", "tiny")[0] == 0
    assert shell.left() == []
    assert shell.history() == [(1, "removed")]
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", shell.port)) == errno.ECONNREFUSED


def test_port_taken(shell):
    with socket.create_server(("127.0.0.1", shell.port)):
        code, _, err = shell.up()
    assert code == 4
    assert f"port {shell.port} is taken by " in err
    assert f"pid {os.getpid()}" in err
    assert shell.left() == []


def test_a_model_folder_without_config(shell):
    (shell.model / "config.json").unlink()
    code, _, err = shell.up()
    assert code == 2
    assert "config.json" in err
    assert not shell.state.exists() or shell.left() == []


def test_the_engine_dies_while_loading(shell):
    code, _, err = shell.up(die_loading="3")
    assert code == 4
    assert "the engine died (exit code 3): the weights leave no memory for the KV cache" in err
    assert "| ValueError: No available memory for the cache blocks. (fake_engine)" in err
    assert "hint: lower max_num_batched_tokens" in err
    assert shell.left() == []
    assert shell.history() == [(1, "failed")]


def test_a_failed_update_brings_the_former_revision_back(shell):
    assert shell.up()[0] == 0
    code, _, err = shell.up(die_loading="1")
    assert code == 4
    assert "revision 1 serves again" in err
    assert shell.status(0)["revision"] == 1
    assert shell.history() == [(1, "deployed"), (2, "failed")]


def test_the_engine_dies_later_and_is_not_to_be_started_again(shell):
    assert shell.up("--watchdog", "restarts=0", children="1")[0] == 0
    os.kill(shell.status(0)["pid"], signal.SIGKILL)
    until(lambda: not shell.left())  # its children go with it
    dead = shell.status(4)
    assert (dead["health"], dead["detail"]) == ("dead", "killed by signal 9 (SIGKILL)")
    assert dead["log_tail"][-1] == "INFO Application startup complete."
    assert shell.up(children="1")[0] == 0
    assert shell.status(0)["revision"] == 2


def test_the_supervisor_is_killed(shell):
    assert shell.up(children="1")[0] == 0
    [supervisor] = shell.state.rglob("supervisor.json")
    os.kill(json.loads(supervisor.read_text())["pid"], signal.SIGKILL)
    until(lambda: shell.status()["health"] == "dead")
    dead = shell.status(4)
    assert "its supervisor was killed" in dead["detail"]
    assert shell.run("down", "tiny")[0] == 0
    assert shell.left() == []


def test_ctrl_c_leaves_nothing(shell):
    process = shell.start(*shell.up_words(silent="1", children="1"))
    recorded(shell)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "interrupted; revision 1 of tiny is stopped" in err
    assert err.count("interrupted") == 1
    assert shell.left() == []
    assert shell.history() == [(1, "failed")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_cancelled_pipeline_leaves_nothing(shell, number):
    process = shell.start(*shell.up_words(silent="1", children="1"))
    recorded(shell)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert shell.left() == []


def test_ctrl_c_during_an_update_brings_the_former_revision_back(shell):
    assert shell.up()[0] == 0
    process = shell.start(*shell.up_words(silent="1"))
    until(lambda: list(shell.state.rglob("000002/engine.json")))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    until(lambda: shell.run("status", "tiny")[0] == 0)
    assert shell.status(0)["revision"] == 1


def test_killed_half_way_and_run_again_it_goes_on(shell, tmp_path):
    words = shell.up_words(hold=tmp_path / "loaded", children="1")
    process = shell.start(*words)
    before = recorded(shell)
    process.kill()
    process.communicate()
    assert set(before) <= set(shell.left())  # it runs, and is on record
    assert shell.history() == [(1, "pending")]
    assert shell.status(0)["health"] == "starting"
    (tmp_path / "loaded").touch()
    code, _, err = shell.run(*words)
    assert code == 0, err
    assert "going on with revision 1" in err
    assert shell.history() == [(1, "deployed")]


def test_killed_half_way_and_another_spec_cleans_up(shell):
    process = shell.start(*shell.up_words(silent="1", children="1"))
    before = recorded(shell)
    process.kill()
    process.communicate()
    code, _, err = shell.up()
    assert code == 0, err
    assert "left unfinished" in err
    assert not set(before) & set(shell.left())
    assert shell.history() == [(1, "failed"), (2, "deployed")]


def test_two_at_once(shell, tmp_path):
    first = shell.start(*shell.up_words(hold=tmp_path / "loaded"))
    recorded(shell)
    code, _, err = shell.up(hold=tmp_path / "loaded")
    assert code == 4
    assert f"tiny is being changed by deployctl up (pid {first.pid}, since " in err
    (tmp_path / "loaded").touch()
    _, err = first.communicate(timeout=PATIENCE_S)
    assert first.returncode == 0, err
    assert shell.history() == [(1, "deployed")]


@pytest.fixture
def small_disk(tmp_path):
    """A disk of 1 MiB, so that a full disk is a full disk."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    with (folder / "filler").open("wb", buffering=0) as stream, contextlib.suppress(OSError):
        while stream.write(b"x" * 512):
            pass
    assert os.statvfs(folder).f_bfree == 0


def test_a_full_disk_before_the_start(small_disk, shell):
    fill(small_disk)
    shell.environment["DEPLOYCTL_STATE_DIR"] = str(small_disk / "state")
    code, _, err = shell.up()
    assert code == 4
    assert "No space left on device" in err
    assert "hint: the disk is full" in err
    assert carrying(small_disk) == []


def test_a_disk_that_fills_up_during_the_start(small_disk, shell, tmp_path):
    shell.state = small_disk / "state"
    shell.environment["DEPLOYCTL_STATE_DIR"] = str(shell.state)
    assert shell.up()[0] == 0
    process = shell.start(*shell.up_words(hold=tmp_path / "loaded"))
    until(lambda: list(shell.state.rglob("000002/engine.json")))
    fill(small_disk)
    (tmp_path / "loaded").touch()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 4, err
    assert "No space left on device" in err
    # Stopping revision 2 frees a block or two, which revision 1 may need to start.
    serves_again = "revision 1 serves again" in err
    assert serves_again or "revision 1 could not be restored" in err
    assert shell.status(0 if serves_again else 4)["revision"] == 1
    (small_disk / "filler").unlink()
    code, _, err = shell.up()
    assert code == 0, err
    assert shell.history()[1] == (2, "failed")
    assert shell.run("down", "tiny")[0] == 0
    assert shell.left() == []


def test_records_in_a_file_s_place(shell):
    shell.state.mkdir()
    (shell.state / "process").write_text("")
    code, _, err = shell.up()
    assert code == 4
    assert "hint: " in err
    (shell.state / "process").unlink()


def test_an_exposed_service_has_a_key_that_is_shown_nowhere(shell):
    code, out, err = shell.up("--expose")
    assert code == 0, err
    key_file = shell.state / "process" / "tiny" / "api_key"
    key = key_file.read_text()
    assert f"{key_file} | curl " in out  # from a pipe: no word of a command has it
    shown = out + err + "".join(shell.run("logs", "tiny")[1:]) + "".join(shell.run("status")[1:])
    assert key not in shown
    holders = {p for p in shell.state.rglob("*") if p.is_file() and key in p.read_text("latin-1")}
    for_the_door = key_file.parent / "runs" / "000001" / "secrets" / "api_key"
    assert holders == {key_file, for_the_door}
    assert for_the_door.stat().st_mode & 0o777 == 0o600
    assert (key_file.stat().st_mode & 0o777, shell.state.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_fleet_in_one_file(shell, tmp_path):
    file = tmp_path / "fleet.yaml"
    second = ports.free()
    one = f"model: {shell.model}\ngpu: cpu\n"
    broken = "env: {FAKE_ENGINE_DIE_LOADING: '1'}\n"
    file.write_text(f"{one}port: {shell.port}\n---\n{one}name: two\nport: {second}\n{broken}")
    code, out, _ = shell.run("up", "-f", file)
    assert code == 4  # the second; the first serves
    assert f":{shell.port}/v1" in out
    file.write_text(file.read_text().replace(broken, ""))
    code, out, err = shell.run("up", "-f", file, "--output", "json")
    assert code == 0, err
    services = json.loads(out)["services"]
    assert [(s["service"], s["revision"], s["changed"]) for s in services] == [
        ("tiny", 1, False),
        ("two", 2, True),
    ]
    code, out, _ = shell.run("status")
    assert code == 0
    assert [line.split()[:4] for line in out.splitlines()[1:]] == [
        ["tiny", "process", "1", "serving"],
        ["two", "process", "2", "serving"],
    ]
    code, _, err = shell.run("logs")
    assert code == 2
    assert "known services: tiny, two" in err


@pytest.mark.parametrize("name", ["../tiny", "tiny/..", "a;b"])
@pytest.mark.parametrize("verb", ["status", "logs", "history", "rollback", "down"])
def test_a_name_that_is_no_service(shell, verb, name):
    code, _, err = shell.run(verb, name)
    assert code == 2
    assert "hint: " in err


@pytest.mark.parametrize("content", ["", "{", "[]", '{"pid": "x"}', '{"pid": -1, "start": 1}'])
def test_a_damaged_record_of_the_supervisor_hides_no_engine(shell, content):
    assert shell.up()[0] == 0
    [record] = shell.state.rglob("supervisor.json")
    record.write_text(content)
    assert shell.status(0)["health"] == "serving"
    code, _, err = shell.run("down", "tiny")
    assert code == 0, err
    assert shell.left() == []


@pytest.mark.parametrize(
    "content",
    ['{"pid": 1e999}', f'{{"pid": {10**30}, "start": 1}}', '{"started": "yesterday"}', "[" * 9999],
)
def test_an_edited_record_of_the_engine_is_no_bug(shell, content):
    assert shell.up()[0] == 0
    [record] = shell.state.rglob("engine.json")
    record.write_text(content)
    (record.parent / "exit.json").write_text('{"code": "x", "signal": 99999, "ended": []}')
    assert shell.status(4)["detail"].startswith("killed by signal 99999")
    (record.parent / "exit.json").unlink()
    assert shell.status(0)["health"] == "serving"
    assert shell.run("down", "tiny")[0] == 0


def test_records_of_a_newer_deployctl_are_left_alone(shell):
    assert shell.up()[0] == 0
    [record] = shell.state.rglob("000001.json")
    ours = record.read_text()
    record.write_text(ours.replace('"version": 1', '"version": 99', 1))
    before = {path: path.read_bytes() for path in record.parent.iterdir()}
    for words in (shell.up_words(), ["down", "tiny"], ["rollback", "tiny"], ["history", "tiny"]):
        code, _, err = shell.run(*words)
        assert code == 4, err
        assert "written by a newer deployctl" in err
        assert "hint: use that version" in err
    assert {path: path.read_bytes() for path in record.parent.iterdir()} == before
    record.write_text(ours)
    assert shell.status(0)["health"] == "serving"
    assert shell.run("down", "tiny")[0] == 0
    assert shell.left() == []
