"""A restart of the machine, as the target process sees it: nothing runs any more, and the records
say that it should."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from tests.e2e.gateway_parts import Users, needs_caddy
from tests.e2e.stream_parts import Relay, Stream

import ports
from process_shell import until


def killed(shell):
    """Everything at once, without a word, as when the power goes."""
    for pid in shell.left():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not shell.left())


def test_what_should_serve_is_started_again_and_what_was_taken_down_is_not(shell):
    assert shell.up()[0] == 0
    down = (*shell.up_words("--name", "gone"),)
    assert shell.run("down", "tiny")[0] == 0
    assert shell.run(*down)[0] == 0
    assert shell.run("down", "gone")[0] == 0
    assert shell.up()[0] == 0
    killed(shell)
    assert shell.status(code=4)["health"] == "dead"
    code, out, err = shell.run("boot", "--start")
    assert code == 0, err
    assert out.strip() == "tiny serves: revision 2"
    assert shell.status(code=0)["health"] == "serving"
    _, out, _ = shell.run("history", "tiny", "--output", "json")
    assert [each["revision"] for each in json.loads(out)["revisions"]] == [1, 2]
    assert "nothing to start" in shell.run("boot", "--start")[2]


def test_requests_wait_in_the_gateway_until_it_serves_again(shell):
    needs_caddy()
    port = ports.free()
    assert shell.up("--gateway", "--gateway-port", port, loading_s="2")[0] == 0
    with Users(f"http://127.0.0.1:{port}") as users:
        until(lambda: len(users.asked) > 4)
        killed(shell)
        before = len(users.asked)
        assert shell.run("boot", "--start")[0] == 0
        seen = len(users.asked)
        until(lambda: len(users.asked) > seen + 8)
        waited = [each for each in users.asked[before:] if each.seconds > 1.5]
        assert waited  # while the engine loaded they were not refused
        assert not any(each.problem for each in [*waited, *users.asked[seen:]])


def test_what_is_stopped_has_its_requests_end_and_is_started_again(shell):
    """As at a shutdown: two services at once, behind their gateway and past it."""
    needs_caddy()
    port, other = ports.free(), ports.free()
    behind = ("--gateway", "--gateway-port", port)
    assert shell.up(*behind, token_s="0.05")[0] == 0
    assert shell.up("--name", "other", "--port", other, *behind, token_s="0.05")[0] == 0
    relays = [Relay(each, tokens=40) for each in (port, shell.port, other)]
    code, out, err = shell.run("boot", "--stop")
    assert code == 0, err
    assert sorted(out.splitlines()) == [
        "other is stopped: revision 1",
        "tiny is stopped: revision 1",
    ]
    assert "other: waiting for " in err
    assert "tiny: waiting for " in err
    assert "cutting" not in err
    assert all(relay.whole for relay in relays)
    assert shell.left() == []
    assert shell.history() == [(1, "deployed")]
    assert "nothing to stop" in shell.run("boot", "--stop")[2]
    code, out, err = shell.run("status")
    assert code == 4  # it should serve, and does not
    assert out.count(" halted ") == 2
    assert "tiny: halted: stopped for a shutdown at 20" in err
    assert "deployctl boot --start, or its unit at the next boot, starts it" in err
    assert shell.run("boot", "--start")[1].splitlines() == [
        "other serves: revision 1",
        "tiny serves: revision 1",
    ]
    assert Stream(port, tokens=3).whole


def test_all_replicas_are_stopped_and_started_again(shell):
    needs_caddy()
    several = ("--replicas", 2, "--gateway-port", ports.free(), "--kv-cache-gib", "0.25")
    assert shell.up(*several)[0] == 0

    def each():
        return [(one["revision"], one["health"]) for one in shell.status()["replicas"]]

    code, out, err = shell.run("boot", "--stop")
    assert (code, out.strip(), shell.left()) == (0, "tiny is stopped: revision 1", []), err
    assert shell.status(code=4)["health"] == "halted"
    assert each() == [(1, "halted")] * 2
    for _ in range(2):
        code, out, err = shell.run("boot", "--start")
        assert (code, out.strip()) == (0, "tiny serves: revision 1"), err
        assert each() == [(1, "serving")] * 2
        killed(shell)


def test_one_that_fails_is_told(shell):
    assert shell.up()[0] == 0
    killed(shell)
    shell.model.rename(shell.model.with_name("away"))
    code, _, err = shell.run("boot", "--start")
    assert code == 4
    assert f"tiny does not serve: the model's folder is not there ({shell.model})" in err
    assert "hint: check the path, or mount the disk that holds it" in " ".join(err.split())
    shell.model.with_name("away").rename(shell.model)  # its disk is there now
    assert shell.run("boot", "--start")[1].strip() == "tiny serves: revision 1"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(shell, tmp_path):
    shell.environment["HF_HOME"] = '/a "folder" of 100% \\ $HOME'
    code, out, err = shell.run("boot")
    assert code == 0, err
    assert "systemctl --user enable --now deployctl" in err
    unit = tmp_path / "deployctl.service"
    unit.write_text(out)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", unit], capture_output=True, text=True, timeout=60,
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
