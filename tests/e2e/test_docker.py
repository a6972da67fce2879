"""Target docker on a real engine, serving real checkpoints from the CPU image."""

import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.e2e.docker_parts import (
    START_SECONDS,
    call,
    complete,
    docker,
    inspect,
    left,
    opens,
    until,
)
from tests.e2e.stream_parts import Relay, Stream

pytestmark = pytest.mark.docker

SMALL = ("--gpu", "cpu", "--target", "docker", "--max-model-len", "512", "--enforce-eager")


def signal_core(container, name):
    """Signals the process that has the model."""
    cores = "$(grep -l EngineCor /proc/[0-9]*/comm | cut -d/ -f3)"
    docker("exec", container, "sh", "-c", f"kill -{name} {cores}")


def serves_again(cli, service):
    """What status says once an engine that was started again serves; in the container that was."""

    def again():
        status = cli.status(service)
        return status["health"] == "serving" and status["restarts"] == 1

    until(again, seconds=START_SECONDS, what="it serves again")
    return cli.status(service)


def test_life_of_an_awq_service(cli, cpu_image, awq_checkpoint, service, port):
    container = f"deployctl-{service}-engine-1"
    words = ("up", "--model", awq_checkpoint, *SMALL, "--name", service, "--port", port)
    words += ("--watchdog", "stall=15")

    # Up: it answers, and says so.
    first = cli.json(*words)
    assert (first["revision"], first["changed"]) == (1, True)
    assert first["url"] == f"http://127.0.0.1:{port}/v1"
    code, answer = complete(first["url"], first["model"])
    assert code == 200
    assert "Paris" in answer["choices"][0]["text"]
    status = cli.status(service)
    assert status["health"] == "serving"
    assert status["container"] == container
    assert status["memory_bytes"] > 100e6
    assert "Application startup complete" in cli("logs", service).stdout
    assert len(cli("logs", service, "--tail", "3").stdout.splitlines()) == 3

    # Fenced in: a user without capabilities, who can write nowhere but in the caches.
    process = docker("exec", container, "cat", "/proc/1/status")
    facts = dict(line.split(":\t", 1) for line in process.splitlines() if ":\t" in line)
    assert facts["Uid"].split() == ["10001"] * 4
    assert int(facts["CapBnd"], 16) == int(facts["CapEff"], 16) == 0
    assert facts["NoNewPrivs"] == "1"
    assert facts["Seccomp"] == "2"
    docker("exec", container, "sh", "-c", "! touch /here && ! touch /models/x && touch /tmp/x")
    bindings = inspect(container)["HostConfig"]["PortBindings"]["8000/tcp"]
    assert bindings == [{"HostIp": "127.0.0.1", "HostPort": str(port)}]

    # Up again: nothing changes.
    started = inspect(container)["State"]["StartedAt"]
    again = cli.json(*words)
    assert (again["revision"], again["changed"]) == (1, False)
    assert inspect(container)["State"]["StartedAt"] == started

    # A change: exposed, so with a key, which shows nowhere.
    second = cli.json(*words, "--expose")
    assert (second["revision"], second["changed"]) == (2, True)
    with open(second["api_key_file"]) as file:  # noqa: PTH123
        key = file.read().strip()
    assert complete(second["url"], second["model"])[0] == 401
    assert complete(second["url"], second["model"], key=key)[0] == 200
    assert key not in json.dumps(inspect(container))
    assert key not in docker("exec", container, "sh", "-c", "cat /proc/*/cmdline | tr '\\0' ' '")
    assert key not in cli("logs", service).stdout
    assert inspect(container)["HostConfig"]["PortBindings"]["8000/tcp"][0]["HostIp"] == "0.0.0.0"

    # The door: metrics are the operator's, and another key needs no other container.
    metrics = f"http://127.0.0.1:{port}/metrics"
    with open(second["operator_token_file"]) as file:  # noqa: PTH123
        token = file.read().strip()
    assert [opens(metrics, shown) for shown in ("", key, token)] == [401, 401, 200]
    started = inspect(container)["State"]["StartedAt"]
    same = cli.json(*words, "--expose", DEPLOYCTL_API_KEY="another-key")
    assert (same["revision"], same["changed"]) == (2, False)
    until(
        lambda: complete(second["url"], second["model"], key="another-key")[0] == 200,
        seconds=5,
        what="the new key counts",
    )
    assert complete(second["url"], second["model"], key=key)[0] == 401
    assert inspect(container)["State"]["StartedAt"] == started

    # History, and back: loopback and no key again. The caches are the same ones. Whoever is in
    # the middle of an answer gets all of it.
    relay = Relay(port, 300, model=second["model"], key="another-key")
    back = cli("rollback", service, "--output", "json")
    assert re.search("waiting for [0-9]+ requests? under way", back.stderr)
    assert relay.whole, [stream.error for stream in relay.streams]
    third = json.loads(back.stdout)
    assert (third["revision"], third["changed"]) == (3, True)
    assert complete(third["url"], third["model"])[0] == 200
    history = cli("history", service).stdout
    assert "rollback to 1" in history
    assert history.count("superseded") == 2
    volumes = left(service)["volumes"]
    assert volumes == [f"deployctl-{service}_hub", f"deployctl-{service}_vllm"]

    # The engine's core hangs: its watchdog ends it and starts it again, and status tells.
    signal_core(container, "STOP")
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(complete, third["url"], third["model"])
        until(
            lambda: "is ended: it hung" in cli("logs", service).stdout,
            seconds=START_SECONDS,
            what="it is found",
        )
        waiting.exception()  # it may or may not have been told that there is no answer
    status = serves_again(cli, service)
    assert status["restart_why"].startswith("it hung: 1 requests and no progress for")
    assert inspect(container)["RestartCount"] == 0

    # Down: nothing is left but the caches and the log; with --volumes, no caches.
    cli("down", service)
    assert left(service) == {"containers": [], "networks": [], "volumes": volumes}
    assert not (cli.state / "docker" / service / "project").exists()
    assert "Application startup complete" in cli("logs", service).stdout
    assert cli.status(service)["health"] == "stopped"
    cli("down", service, "--volumes")
    assert left(service)["volumes"] == []


@pytest.mark.night
def test_a_killed_core_serves_again_in_its_container(
    cli, cpu_image, tiny_checkpoint, service, port
):
    container = f"deployctl-{service}-engine-1"
    up = cli.json("up", "--model", tiny_checkpoint, *SMALL, "--name", service, "--port", port)
    started = inspect(container)["State"]["StartedAt"]
    signal_core(container, "KILL")
    status = serves_again(cli, service)
    assert status["restart_why"].startswith(("its core died", "exit code"))
    assert complete(up["url"], up["model"])[0] == 200
    assert inspect(container)["State"]["StartedAt"] == started


def test_plain_compose_runs_what_render_writes(
    cli, cpu_image, gptq_checkpoint, service, port, tmp_path
):
    folder = tmp_path / "rendered"
    key = tmp_path / "key"
    key.write_text("a-key-of-the-user\n")
    words = ("--model", gptq_checkpoint, *SMALL, "--name", service, "--port", port)
    cli("render", *words, "--api-key-file", key, "-o", folder)
    compose = ["docker", "compose", "--project-directory", folder]

    # As its README says: without the key it does not start, with it it does.
    start = [*compose, "up", "--detach", "--wait", "--wait-timeout", "20"]
    assert subprocess.run(start, capture_output=True).returncode != 0

    def said():
        return subprocess.run([*compose, "logs", "engine"], capture_output=True, text=True).stdout

    needs = "the door does not open: /run/secrets: there is no key"
    until(lambda: needs in said(), seconds=START_SECONDS, what="it says what it needs")
    (folder / "secrets" / "api_key").write_text(key.read_text())
    start[-1] = str(START_SECONDS)
    done = subprocess.run([*start, "--force-recreate"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert inspect(f"deployctl-{service}-engine-1")["State"]["Health"]["Status"] == "healthy"

    url = f"http://127.0.0.1:{port}/v1"
    assert call(f"{url}/models")[0] == 401
    model = call(f"{url}/models", key="a-key-of-the-user")[1]["data"][0]["id"]
    code, answer = complete(url, model, key="a-key-of-the-user")
    assert code == 200
    assert answer["choices"][0]["text"].strip()

    # The operator's token, made later, is known without a restart.
    metrics = f"http://127.0.0.1:{port}/metrics"
    assert opens(metrics, "a-token") == 401
    (folder / "secrets" / "operator_token").write_text("a-token\n")
    until(lambda: opens(metrics, "a-token") == 200, seconds=5, what="the token counts")

    # Rendering again changes no byte, and what the user put there stays.
    before = (folder / "compose.yaml").read_bytes()
    cli("render", *words, "--api-key-file", key, "-o", folder)
    assert (folder / "compose.yaml").read_bytes() == before
    assert (folder / "secrets" / "api_key").read_text() == "a-key-of-the-user\n"

    # Whoever is in the middle of an answer gets all of it, without deployctl too.
    stream = Stream(port, 300, model=model, key="a-key-of-the-user")
    subprocess.run([*compose, "down", "--volumes"], capture_output=True, check=True)
    assert stream.whole, stream.error
    assert left(service) == {"containers": [], "networks": [], "volumes": []}
