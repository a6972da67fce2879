"""dockerd is restarted, as with its machine: what should serve serves again, and what was taken
down does not. Only where `.ci/docker-engine` started it: nobody else's is touched."""

import os
import subprocess
from pathlib import Path

import pytest
from tests.e2e.docker_parts import START_SECONDS, Cli, docker, inspect, left, until

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
