"""Every verb on another machine's Docker engine, which is reached by ssh alone: a checkpoint in a
folder is sent, the service listens on that machine's loopback, and none of it is ever here.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import typer
import yaml
from tests.e2e import machine as machines
from tests.e2e import sshd
from tests.e2e.docker_parts import START_SECONDS, docker, until
from tests.e2e.sshd import on

import ports
from deployctl.cli.app import build

HOLD = "/tmp/go"  # in the container: the fake engine loads until it is there
CARDS = Path(__file__).parents[1] / "data" / "nvidia-smi" / "l40s-eight.csv"
NVIDIA_SMI = f"""#!/bin/sh
case "$*" in *--query-gpu*) cat {CARDS} ;; esac
"""
WHY = sshd.missing() or machines.missing()
pytestmark = [pytest.mark.docker, pytest.mark.skipif(WHY is not None, reason=str(WHY))]


@pytest.fixture(scope="module")
def machine(fake_engine_image, tmp_path_factory):
    """With eight cards, and the image that services are made of."""
    made = machines.Machine(tmp_path_factory.mktemp("another") / "machine")
    try:
        made.has(fake_engine_image)
        made.put("nvidia-smi", NVIDIA_SMI)
        yield made
    finally:
        made.stop()


class Remote:
    """deployctl as users run it who have that machine for Docker."""

    def __init__(self, machine, folder, model, engine):
        self.machine, self.folder = machine, folder
        self.ports = {name: ports.free() for name in ("there", "there-too")}
        self.of = ("--model", model, "--gpu", "cpu", "--kv-cache-gib", "0.25", "--image", engine)
        self.mine = self.user("mine")

    def user(self, name):
        """One with a state folder of their own."""
        cli = on(self.machine.ssh, self.folder / name)
        cli.environment["HF_HUB_OFFLINE"] = "1"  # doctor has no Hub to wait for
        return cli

    def service(self, name="there"):
        return (*self.of, "--name", name, "--port", self.ports[name])

    def fleet(self):
        """Both services, in a file, on that machine's memory."""
        given = zip(self.of[::2], self.of[1::2], strict=True)
        words = {key[2:].replace("-", "_"): str(value) for key, value in given}
        services = [words | {"name": name, "port": port} for name, port in self.ports.items()]
        file = self.folder / "fleet.yaml"
        file.write_text(yaml.safe_dump_all([{"fleet": [{"gpu": "cpu"}]}, *services]))
        return file

    def __call__(self, *words, code=0):
        """Runs a verb; whatever it did, no port of a service is open to this machine then."""
        done = self.mine(*words, code=code)
        for name, port in self.ports.items():
            for address in ("127.0.0.1", self.machine.address):
                assert not ports.answers(address, port), f"{name} at {address}, after {words}"
        return done

    def json(self, *words, code=0):
        return json.loads(self(*words, "--output", "json", code=code).stdout)

    def runs(self, name="there"):
        return self.machine.docker("ps", "--quiet", "--filter", f"name=deployctl-{name}-engine-1")


@pytest.fixture
def remote(machine, tmp_path, tiny_checkpoint, fake_engine_image):
    """Nothing that happens on this machine's engine meanwhile is of its services."""
    begun = time.time()
    yield Remote(machine, tmp_path, tiny_checkpoint, fake_engine_image)
    assert "deployctl-there" not in docker("events", "--since", begun, "--until", time.time())
    assert lines_of_ssh(machine.folder) == []
    machine.clear()


def lines_of_ssh(folder):
    """Processes of ssh to that machine that deployctl left."""
    told = subprocess.run(["pgrep", "-fa", "deployctl-.*/control"], capture_output=True, text=True)
    return [line for line in told.stdout.splitlines() if str(folder) in line]


def doctor(remote):
    port = remote.ports["there"]
    with remote.machine.listening(port):
        checks = remote.json("doctor", "--port", port, code=4)["checks"]
    found = {check["id"]: check for check in checks}
    assert found["docker"]["status"] == "pass", found["docker"]
    assert found["gpus"]["detail"] == "8 × NVIDIA L40S: profile l40s"
    assert found["toolkit"]["detail"].startswith("not installed")
    memory = f"{machines.TOTAL_GIB:.1f} GiB, {machines.AVAILABLE_GIB:.1f} available"
    assert found["memory"]["detail"] == memory
    assert found["disk-images"]["detail"].endswith(" free in /var/lib/docker")
    assert "something listens there" in found["port"]["detail"]


def plan(remote):
    assert remote.json("plan", "--model", remote.of[1], "--gpu", "auto")["gpu"] == "l40s"
    assert f"{machines.TOTAL_GIB:.1f} GiB" in remote("plan", *remote.of).stdout


def render(remote):
    remote("render", *remote.service(), "-o", remote.folder / "rendered")
    assert (remote.folder / "rendered").is_dir()


def fetch(remote):
    done = remote("fetch", *remote.of)
    assert "checking it there" in done.stderr
    volumes = ("volume", "ls", "--quiet", "--filter", "label=io.deployctl.checkpoint")
    assert remote.machine.docker(*volumes) in done.stdout


def up(remote):
    done = remote("up", *remote.service())
    port = remote.ports["there"]
    assert f"ssh -N -L {port}:127.0.0.1:{port} " in done.stdout
    assert "sending" not in done.stderr  # fetch did
    [container] = json.loads(remote.machine.docker("inspect", remote.runs()))
    mounts = {mount["Destination"]: mount for mount in container["Mounts"]}
    model = mounts["/models/there"]
    assert (model["Type"], model["RW"]) == ("volume", False)
    sent = remote.machine.docker("exec", container["Id"], "cat", "/models/there/config.json")
    assert sent == (Path(remote.of[1]) / "config.json").read_text().strip()


def status(remote):
    [told] = remote.json("status", "there")["services"]
    port = remote.ports["there"]
    assert (told["health"], told["url"]) == ("serving", f"http://127.0.0.1:{port}/v1")
    # What it gives to paste: a way by which the address of the snippets answers.
    connect = remote("status", "there", "--connect").stdout
    [way] = [line for line in connect.splitlines() if line.startswith("first ")]
    words = way.removeprefix("first").split()
    with subprocess.Popen(words, env=remote.mine.environment) as line:
        until(lambda: ports.answers("127.0.0.1", port), seconds=30, what="it is forwarded")
        assert f"curl http://127.0.0.1:{port}/v1/chat/completions" in connect
        line.terminate()


def logs(remote):
    assert "Application startup complete" in remote("logs", "there").stdout


def smoke(remote):
    assert remote.json("smoke", "there")["ok"]


def loadtest(remote):
    load = ("--users", "2", "--duration", "2s", "--warmup", "0s", "--output-tokens", "4")
    told = remote.json("loadtest", "there", *load, "--out", remote.folder / "out", code=None)
    assert told["requests"]["ok"] > 0


def metrics(remote):
    told = remote.json("metrics", "there")
    assert (told["running"], told["generation_tokens"] > 0) == (0, True)
    assert told["url"] == f"http://127.0.0.1:{remote.ports['there']}"


def top(remote):
    [told] = remote.json("top", "--once")["services"]
    assert (told["service"], told["health"], told["engines_silent"]) == ("there", "serving", 0)


def keys_add(remote):
    key = remote("keys", "add", "there", "alice").stdout.strip()
    assert len(key) > 30
    assert "alice" in remote.user("colleague")("keys", "list", "there").stdout


def keys_list(remote):
    [key] = remote.json("keys", "list", "there")["keys"]
    assert key["name"] == "alice"


def keys_revoke(remote):
    assert "the engine that runs refuses it" in remote("keys", "revoke", "there", "alice").stdout


def diff(remote):
    [told] = remote.json("diff", *remote.service(), "--max-num-seqs", "4")["services"]
    assert told["effect"] == "restarts"
    assert [change["new"] for change in told["changes"]] == ["4"]


def tune(remote):
    told = remote.json("tune", *remote.service(), "--objective", "throughput", "--dry-run")
    assert told["trials"]


def rollback(remote):
    """Of what a colleague was kept from breaking, and of what they changed."""
    verify = ("--verify", "--verify-for", "2s", "--verify-out", remote.folder / "verified")
    verify += ("--slo", "error_rate=1%", "--beside", "yes")
    told = remote.json("up", *remote.service(), "--max-num-seqs", "4", *verify)["services"][0]
    assert told["verification"]["where"] == "beside"
    assert f"{machines.AVAILABLE_GIB:.1f} GiB are available" in told["verification"]["why"]
    back = json.loads(remote.user("colleague")("rollback", "there", "--output", "json").stdout)
    assert back["revision"] == 3


def history(remote):
    told = remote.json("history", "there")["revisions"]
    assert [each["status"] for each in told].count("deployed") == 1


def down(remote):
    remote("down", "there")
    assert not remote.runs()


def clean(remote):
    told = remote.json("clean", "--yes")
    assert "checkpoint" in str(told)


# In an order in which each finds what those before it left.
VERBS = {
    "doctor": doctor, "plan": plan, "render": render, "fetch": fetch, "up": up, "status": status,
    "logs": logs, "smoke": smoke, "loadtest": loadtest, "metrics": metrics, "top": top,
    "keys add": keys_add, "keys list": keys_list, "keys revoke": keys_revoke, "diff": diff,
    "tune": tune, "rollback": rollback, "history": history, "down": down, "clean": clean,
}  # fmt: skip


def verbs_with_host(group, name=""):
    for word, command in group.commands.items():
        called = f"{name} {word}".strip()
        if hasattr(command, "commands"):
            yield from verbs_with_host(command, called)
        elif any("--host" in parameter.opts for parameter in command.params):
            yield called


def test_every_verb_that_has_a_host_works_there(remote):
    assert sorted(VERBS) == sorted(verbs_with_host(typer.main.get_command(build(every=True))))
    for verb in VERBS.values():
        verb(remote)


@pytest.mark.night
def test_several_engines_there(remote, caddy_image):
    remote.machine.has(caddy_image)
    remote.mine.environment["DEPLOYCTL_GATEWAY_IMAGE"] = caddy_image
    told = remote.json("up", "-f", remote.fleet())["services"]
    assert [each["changed"] for each in told] == [True, True]
    remote("down", "-f", remote.fleet())
    remote("up", *remote.service(), "--replicas", "2")
    [told] = remote.json("status", "there")["services"]
    assert [each["health"] for each in told["replicas"]] == ["serving"] * 2
    assert all(each["url"].startswith("http://127.0.0.1:20190/") for each in told["replicas"])
    assert remote.json("smoke", "there")["ok"]
    remote("down", "there")


@pytest.mark.night
def test_a_study_there(remote):
    """Of a folder that is sent."""
    words = ("--objective", "throughput", "--budget", "3m", "--load", "users=2")
    words += ("--max-trials", "1", "--study", remote.folder / "study")
    done = remote("tune", *remote.service(), *words, "--output", "json", code=None)
    assert json.loads(done.stdout)["trials"]["run"] == 1, done.stderr
    assert "checkpoint-" in remote.machine.docker("volume", "ls")


def test_of_two_users_at_once_one_is_told_who_is_at_work(remote):
    """Each with a state folder and a line of their own: the lock is on the host. Of two services
    both come up. What ssh does for who logs in there by hand is not in the line's way."""
    with (remote.machine.ssh.folder / "ssh_config").open("a") as file:
        file.write("RemoteCommand tmux new -A\nRequestTTY force\n")
    other = remote.user("other")
    up = ["up", *remote.service()]
    words = [*up, "--env", f"FAKE_ENGINE_HOLD={HOLD}"]
    with subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, words)], text=True,
        env=remote.mine.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as begun:  # fmt: skip
        try:
            until(remote.runs, seconds=START_SECONDS, what="it loads")
            for verb in (("down", "there"), (*up, "--max-num-seqs", "4")):
                said = other(*verb, code=4).stderr
                assert "being changed by deployctl up (" in said
            other("up", *remote.service("there-too"))
            assert remote.runs("there-too")
            assert begun.poll() is None
            remote.machine.docker("exec", remote.runs(), "touch", HOLD)
            out, _ = begun.communicate(timeout=START_SECONDS)
        finally:
            begun.kill()
    assert begun.returncode == 0, out
    looked = json.loads(other("doctor", "--output", "json", code=None).stdout)["checks"]
    assert [check["status"] for check in looked if check["id"] == "docker"] == ["pass"]
    other("down", "there")  # and it is theirs once nobody else is at work
    assert not remote.runs()


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
