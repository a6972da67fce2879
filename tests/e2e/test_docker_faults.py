"""Target docker when something is wrong: a clear error, the right exit code, nothing left."""

import json
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from tests.e2e.docker_parts import START_SECONDS, docker, left, sweep, until

from deployctl.planning.plan import EnginePlan, ServingPlan
from deployctl.render import render_compose
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets.docker import DockerDriver
from deployctl.targets.history import Release

pytestmark = pytest.mark.docker

SERVICE = "faulty"
NOTHING = {"containers": [], "networks": [], "volumes": []}


@pytest.fixture(autouse=True)
def _swept():
    sweep(SERVICE)
    yield
    sweep(SERVICE)


@pytest.fixture
def up(tiny_checkpoint, port):
    words = ["up", "--model", tiny_checkpoint, "--gpu", "cpu", "--target", "docker"]
    return [*words, "--name", SERVICE, "--port", port, "--max-model-len", "512"]


def test_image_missing(cli, up):
    done = cli(*up, "--image", "deployctl/vllm-cpu:9.9.9", code=4)
    assert "there is no image deployctl/vllm-cpu:9.9.9" in done.stderr
    assert "docker build -f" in done.stderr
    assert "-t deployctl/vllm-cpu:9.9.9" in done.stderr
    assert left(SERVICE) == NOTHING


def test_image_that_cannot_be_pulled(cli, up):
    done = cli(*up, "--image", "localhost:1/no/such:1", code=4)
    assert "cannot pull localhost:1/no/such:1" in done.stderr
    assert left(SERVICE) == NOTHING


def test_docker_not_running(cli, up, tmp_path):
    done = cli(*up, code=4, DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert "Docker is not running" in done.stderr
    assert "systemctl start docker" in done.stderr


def test_docker_not_installed(cli, up, tmp_path):
    done = cli(*up, code=4, PATH=str(tmp_path))
    assert "docker is not installed" in done.stderr
    assert "docs.docker.com" in done.stderr


def test_port_taken_by_a_program(cli, up, cpu_image, port):
    with socket.create_server(("127.0.0.1", port)):
        done = cli(*up, code=4)
    assert f"port {port} is taken" in done.stderr
    assert "--port" in done.stderr
    assert left(SERVICE) == NOTHING


def test_port_taken_by_a_container(cli, up, cpu_image, port):
    holder = docker(
        *("run", "--detach", "--rm", "--publish", f"127.0.0.1:{port}:1", "--entrypoint", "sleep"),
        *(cpu_image, "300"),
    )
    try:
        name = docker("inspect", "--format", "{{.Name}}", holder).lstrip("/")
        done = cli(*up, code=4)
        assert f"port {port} is taken by the container {name}" in done.stderr
    finally:
        docker("rm", "--force", holder)


def test_checkpoint_closed_to_the_engine(cli, up, cpu_image, tiny_checkpoint, tmp_path):
    closed = tmp_path / "closed"
    shutil.copytree(tiny_checkpoint, closed)
    (closed / "model.safetensors").chmod(0o600)
    up[2] = closed
    done = cli(*up, code=4)
    assert "may not read the checkpoint" in done.stderr
    assert f"chmod -R o+rX {closed}" in done.stderr


def test_engine_dies_while_loading(cli, up, cpu_image, tiny_checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(tiny_checkpoint, broken)
    (broken / "tokenizer.json").write_text("{}")
    up[2] = broken
    done = cli(*up, code=4)
    assert "the engine died" in done.stderr
    assert "  | " in done.stderr  # the engine's own last lines
    log = next((cli.state / "docker" / SERVICE / "logs").iterdir())
    assert str(log) in done.stderr
    assert "Traceback" in log.read_text()
    found = left(SERVICE)
    assert (found["containers"], found["networks"]) == ([], [])
    assert cli.status(SERVICE)["health"] == "stopped"


def killed_when(cli, words, condition, what):
    """Starts deployctl and kills it as soon as `condition` holds."""
    with subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, words)],
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as child:
        until(condition, seconds=START_SECONDS, what=what)
        child.kill()


def test_killed_while_compose_works_down_finds_it_all(cli, up, cpu_image):
    killed_when(cli, up, lambda: left(SERVICE)["containers"], "a container")
    assert cli.status(SERVICE)["status"] == "pending"
    cli("down", SERVICE)
    found = left(SERVICE)
    assert (found["containers"], found["networks"]) == ([], [])


def test_killed_while_the_engine_loads_the_next_up_goes_on(cli, up, cpu_image):
    up.append("--enforce-eager")
    running = ("ps", "--quiet", "--filter", f"name=deployctl-{SERVICE}-engine")
    killed_when(cli, up, lambda: docker(*running), "the engine's container")
    container = docker(*running)
    assert cli.status(SERVICE)["status"] == "pending"
    assert "going on with revision 1" in cli(*up).stderr
    assert docker(*running) == container
    assert cli.status(SERVICE)["health"] == "serving"


def test_ctrl_c_leaves_nothing(cli, up, cpu_image):
    with subprocess.Popen(
        [sys.executable, "-m", "deployctl", *map(str, up)],
        env=cli.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        running = ("ps", "--quiet", "--filter", f"name=deployctl-{SERVICE}-engine")
        until(lambda: docker(*running), seconds=START_SECONDS, what="the engine's container")
        child.send_signal(signal.SIGINT)
        story = child.communicate(timeout=START_SECONDS)[1]
    assert child.returncode == 130, story
    assert "interrupted; revision 1" in story
    found = left(SERVICE)
    assert (found["containers"], found["networks"]) == ([], [])


def test_secrets_reach_an_engine_on_another_host(
    cpu_image, tiny_checkpoint, port, docker_over_tcp, tmp_path, monkeypatch
):
    monkeypatch.setenv("DOCKER_HOST", docker_over_tcp)
    spec = ServiceSpec(
        model=str(tiny_checkpoint), name=SERVICE, gpu="cpu", target="docker", port=port, expose=True
    )
    plan = ServingPlan(
        name=SERVICE,
        model=spec.model,
        model_local=True,
        served_model_name="tiny",
        gpu="cpu",
        accelerator="cpu",
        verdict="fits",
        engine=EnginePlan(name="vllm", version="0.32.0", image=cpu_image, args=()),
    )
    release = Release(
        service=SERVICE,
        revision=1,
        status="pending",
        created="2026-11-24T07:00:00+00:00",
        reason="up",
        spec=spec,
        plan=plan,
        bundle=render_compose(plan, spec),
    )
    state = tmp_path / "state"
    (state / "docker" / SERVICE).mkdir(parents=True)
    (state / "docker" / SERVICE / "api_key").write_text("far-away")
    driver = DockerDriver(Settings(state_dir=state), environment={"DOCKER_HOST": docker_over_tcp})

    driver.start(release, lambda event: None)

    container = f"deployctl-{SERVICE}-engine-1"
    # It has no model and would end by that, on a busy machine before all this is looked at.
    docker("kill", "--signal", "STOP", container)
    assert driver.state(release).condition == "running"
    assert docker("exec", container, "cat", "/run/secrets/api_key") == "far-away"
    (state / "docker" / SERVICE / "keys.json").write_text("{}")
    driver.publish_keys(release)
    assert docker("exec", container, "cat", "/run/secrets/keys.json") == "{}"
    assert [driver.close_door(release) for _ in range(2)] == [True, False]
    mounts = json.loads(docker("inspect", container))[0]["Mounts"]
    assert next(m for m in mounts if m["Destination"] == "/run/secrets")["RW"] is False
    assert not list((state / "docker" / SERVICE / "project" / "secrets").glob("api_key"))
    assert driver.endpoint(release).url == f"http://127.0.0.1:{port}"
    driver.stop(release, lambda event: None)
    assert f"deployctl-{SERVICE}_secrets" not in docker("volume", "ls", "--quiet").split()
    assert left(SERVICE)["containers"] == []
