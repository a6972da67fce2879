"""dockerd is restarted, as with its machine: what should serve serves again, and what was taken
down does not. Only where `.ci/docker-engine` started it: nobody else's is touched."""

import itertools
import os
import subprocess
import uuid
from pathlib import Path

import pytest
import yaml
from tests.e2e.docker_parts import GATEWAY, START_SECONDS, Cli, docker, inspect, left, sweep, until
from tests.e2e.gateway_parts import Users

import ports

ROOT = Path(__file__).resolve().parents[2]
PID = Path(os.environ.get("DEPLOYCTL_CI_DIR", "/var/tmp/deployctl-ci")) / "dockerd.pid"

pytestmark = [
    pytest.mark.docker,
    pytest.mark.night,
    pytest.mark.alone,
    pytest.mark.skipif(not PID.exists(), reason="dockerd is not .ci/docker-engine's"),
]


def restart():
    for verb in ("stop", "start"):
        subprocess.run([ROOT / ".ci" / "docker-engine", verb], check=True, timeout=START_SECONDS)


def test_services_come_back(tmp_path, tiny_checkpoint, fake_engine_image, service, port):
    cli = Cli(tmp_path / "state")
    up = ("up", "--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker")
    up += ("--image", fake_engine_image, "--name", service, "--port", port)
    cli(*up)
    container = f"deployctl-{service}-engine-1"
    log = docker("inspect", "--format", "{{json .HostConfig.LogConfig}}", container)
    assert '"max-size":"50m"' in log
    started = inspect(container)["State"]["StartedAt"]
    restart()
    assert inspect(container)["State"]["StartedAt"] != started
    serving = lambda: cli.status(service)["health"] == "serving"  # noqa: E731
    until(serving, seconds=START_SECONDS, what="it serves again")
    cli("down", service)
    restart()
    assert left(service)["containers"] == []


def test_replicas_and_their_gateway_come_back(
    tmp_path, gateway_image, tiny_checkpoint, fake_engine_image, service
):
    cli, gateway_port = Cli(tmp_path / "state"), ports.free()
    words = ["up", "--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker"]
    words += ["--image", fake_engine_image, "--name", service, "--kv-cache-gib", "0.25"]
    try:
        up = cli.json(*words, "--replicas", 2, "--gateway-port", gateway_port)
        restart()
        replicas = lambda: [e["health"] for e in cli.status(service)["replicas"]]  # noqa: E731
        until(
            lambda: replicas() == ["serving", "serving"],
            seconds=START_SECONDS, what="both serve again",
        )  # fmt: skip
        url = f"http://127.0.0.1:{gateway_port}"
        with Users(url, new=1, kept=1, model=up["model"]) as users:
            until(lambda: len(users.asked) > 20, seconds=60, what="users are served")
        assert users.failed == []
    finally:
        cli("down", service, "--volumes")
    restart()
    assert left(service)["containers"] == []
    assert docker("ps", "--all", "--quiet", "--filter", f"name={GATEWAY}-caddy-1") == ""


def test_those_that_share_a_card_load_one_at_a_time(tmp_path, tiny_checkpoint, fake_engine_image):
    """Docker starts all of them at once."""
    cli, names = Cli(tmp_path / "state"), [f"turn-{uuid.uuid4().hex[:6]}" for _ in range(3)]
    env = {"FAKE_ENGINE_LOADING_S": "3"}
    common = {"model": str(tiny_checkpoint), "target": "docker", "image": fake_engine_image}
    common |= {"kv_cache_gib": 0.25, "env": env}
    services = [{"name": name, "port": ports.free(), **common} for name in names]
    file = tmp_path / "fleet.yaml"
    file.write_text(yaml.safe_dump_all([{"fleet": [{"gpu": "cpu"}]}, *services]))
    try:
        cli("up", "-f", file)
        restart()
        for name in names:
            serving = lambda name=name: cli.status(name)["health"] == "serving"  # noqa: E731
            until(serving, seconds=START_SECONDS, what="it serves again")
        spans = sorted(last_load(f"deployctl-{name}-engine-1") for name in names)
        for (_, ended), (begun, _) in itertools.pairwise(spans):
            assert begun >= ended, spans
    finally:
        for name in names:
            cli("down", name, "--volumes", code=None)
            sweep(name)


def last_load(container):
    """When its last engine began to load, and when that was ready, by Docker's clock."""
    words = ["docker", "logs", "--timestamps", container]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    begun = [line.split()[0] for line in lines if "Starting to load" in line][-1]
    return begun, [line.split()[0] for line in lines if "startup complete" in line][-1]
