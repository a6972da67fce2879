"""Every verb on a Docker engine that is reached by ssh alone: a checkpoint in a folder is sent, the
service listens on that host's loopback, and nobody else is asked for it."""

import json
import subprocess
import sys

import pytest
from tests.e2e import sshd
from tests.e2e.docker_parts import START_SECONDS, docker, inspect, left, until
from tests.e2e.sshd import on

HOLD = "/tmp/go"  # in the container: the fake engine loads until it is there
pytestmark = [
    pytest.mark.docker,
    pytest.mark.skipif(sshd.missing() is not None, reason=str(sshd.missing())),
]


@pytest.fixture(autouse=True)
def nothing_was_sent():
    """Nor is anything left: a checkpoint outlives its service."""

    def sweep():
        of_ours = ("--quiet", "--filter", "label=io.deployctl.checkpoint")
        for each in docker("ps", "--all", *of_ours).split():
            docker("rm", "--force", each)
        for each in docker("volume", "ls", *of_ours).split():
            docker("volume", "rm", each)

    sweep()
    yield
    sweep()


def lines_of_ssh():
    """Processes of ssh that this run left."""
    done = subprocess.run(["pgrep", "-fc", "deployctl-.*/control"], capture_output=True, text=True)
    return int(done.stdout)


def test_the_life_of_a_service(host, tmp_path, tiny_checkpoint, fake_engine_image, service, port):
    mine = on(host, tmp_path / "mine")
    up = ("up", "--model", tiny_checkpoint, "--gpu", "cpu", "--image", fake_engine_image)
    up += ("--name", service, "--port", port)
    first = mine(*up)
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in first.stdout
    assert "checking it there" in first.stderr
    container = inspect(f"deployctl-{service}-engine-1")
    mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
    model = mounts[f"/models/{service}"]
    assert (model["Type"], model["RW"]) == ("volume", False)
    sent = docker("exec", container["Id"], "sh", "-c", f"cat /models/{service}/config.json")
    assert sent == (tiny_checkpoint / "config.json").read_text().strip()

    status = mine.status(service)
    assert (status["health"], status["url"]) == ("serving", f"http://127.0.0.1:{port}/v1")
    assert json.loads(mine("smoke", service, "--output", "json").stdout)["ok"]
    assert "Application startup complete" in mine("logs", service).stdout
    load = ("--users", "2", "--duration", "2s", "--warmup", "0s", "--output-tokens", "4")
    out = mine("loadtest", service, *load, "--out", tmp_path / "out", "--output", "json", code=None)
    assert json.loads(out.stdout)["requests"]["ok"] > 0

    # An update sends nothing again, and is asked by the line, also where it is exposed; a colleague
    # goes back, with what is there.
    again = mine(*up, "--max-num-seqs", "4", "--expose")
    assert "sending" not in again.stderr
    assert f"{service} did not answer for" in again.stderr
    assert "behind a --gateway requests wait" in again.stderr
    assert f"http://127.0.0.1:{port}/v1" in again.stdout  # what that name stands for
    assert json.loads(mine("smoke", service, "--output", "json").stdout)["ok"]
    back = on(host, tmp_path / "colleague")("rollback", service, "--output", "json")
    assert json.loads(back.stdout)["revision"] == 3
    mine("down", service)
    assert left(service)["containers"] == []
    assert lines_of_ssh() == 0


def test_of_two_users_at_once_one_is_told_who_is_at_work(
    host, tmp_path, tiny_checkpoint, fake_engine_image, service, port
):
    """Each with a state folder and a line of their own: the lock is on the host. What ssh does for
    who logs in there by hand is not in the line's way."""
    with (host.folder / "ssh_config").open("a") as file:
        file.write("RemoteCommand tmux new -A\nRequestTTY force\n")
    mine, other = on(host, tmp_path / "mine"), on(host, tmp_path / "other")
    up = ["up", "--model", tiny_checkpoint, "--gpu", "cpu", "--image", fake_engine_image]
    up += ["--name", service, "--port", port]
    words = [*up, "--env", f"FAKE_ENGINE_HOLD={HOLD}"]
    container = f"deployctl-{service}-engine-1"
    with subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, words)],
        env=mine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as begun:  # fmt: skip
        try:
            loads = lambda: docker("ps", "--quiet", "--filter", f"name={container}")  # noqa: E731
            until(loads, seconds=START_SECONDS, what="it loads")
            for verb in (("down", service), (*up, "--max-num-seqs", "4")):
                said = other(*verb, code=4).stderr
                assert "being changed by deployctl up (" in said
            docker("exec", container, "touch", HOLD)
            out, _ = begun.communicate(timeout=START_SECONDS)
        finally:
            begun.kill()
    assert begun.returncode == 0, out
    other("down", service)  # and it is theirs once nobody else is at work
    assert left(service)["containers"] == []
    assert lines_of_ssh() == 0


def test_doctor_looks_at_that_host(host, tmp_path):
    with (host.folder / "ssh_config").open("a") as file:
        file.write("RemoteCommand tmux new -A\nRequestTTY force\n")  # in nobody's way
    cli = on(host, tmp_path / "state")
    document = json.loads(
        cli("doctor", "--gpu", "cpu", "--target", "docker", "--output", "json", code=None).stdout
    )
    found = {check["id"]: check for check in document["checks"]}
    assert found["docker"]["status"] == "pass", found["docker"]
    assert "Accepted publickey" in (host.folder / "log").read_text()
    host.stop()
    assert "the host does not answer" in cli("doctor", "--gpu", "cpu", code=4).stderr


def test_why_there_is_no_way_is_said(host, tmp_path):
    cli = on(host, tmp_path / "state")
    host.know("client")
    changed = cli("status", code=4).stderr
    assert "its host key is another" in changed
    assert "hint: find out why" in changed
    (host.folder / "known").write_text("")
    assert "its host key is not known" in cli("status", code=4).stderr
    host.know("host")
    (host.folder / "authorized").write_text("")
    assert "ssh does not let us in" in cli("doctor", "--gpu", "cpu", code=4).stderr
    host.stop()
    done = cli("status", code=4)
    assert "the host does not answer" in done.stderr
    assert "ssh" in done.stderr.split("hint:")[1]


def test_a_user_without_rights_to_docker_is_told(tmp_path):
    host = sshd.Sshd(tmp_path / "sshd", sshd.NO_RIGHTS)
    try:
        done = on(host, tmp_path / "state")("status", code=4)
    finally:
        host.stop()
    assert "that user may not use Docker there" in done.stderr
    assert "usermod -aG docker" in done.stderr
