"""The chart's engine container on a real vLLM, with Docker in the kubelet's place.

What the manifest says is done: user, capabilities, read-only root, volumes, variables, arguments,
secrets as files. There is no cluster here, so what a cluster adds is not shown.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time

import pytest
import yaml
from tests.e2e.docker_parts import START_SECONDS, Cli, call, docker, until

import ports

pytestmark = [pytest.mark.docker, pytest.mark.vllm, pytest.mark.helm]

KEY = "s3cret-of-the-test"


class Container:
    """A running container and what its manifest says of it."""

    def __init__(self, name, spec, port):
        self.name, self.spec, self.port = name, spec, port

    def execute(self, *words):
        """Exit status and output, as an exec probe would see them."""
        done = subprocess.run(
            ["docker", "exec", self.name, *words],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        return done.returncode, done.stdout + done.stderr

    def alive(self, stall=None):
        words = list(self.spec["livenessProbe"]["exec"]["command"])
        if stall is not None:
            words[-1] = str(stall)
        return self.execute(*words)

    def healthy(self):
        running = docker("inspect", "--format", "{{.State.Running}}", self.name)
        assert running == "true", docker("logs", "--tail", "30", self.name)
        return self.alive()[0] == 0

    def metrics(self):
        port = self.spec["ports"][0]["containerPort"]
        read = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{port}/metrics')"
        return self.execute("python3", "-c", read + ".read().decode())")[1]

    def running(self):
        return re.search(r"^vllm:num_requests_running\{.*\} [1-9]", self.metrics(), re.MULTILINE)


def as_kubernetes_reads(text):
    return text.replace("$$", "$")


def docker_words(found, folder, port):
    """`docker run` for the engine's container, as the kubelet would run it."""
    pod = found["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    files = folder / "files"
    files.mkdir()
    for name, text in found["ConfigMap"]["data"].items():
        (files / name).write_text(text)
    secrets = folder / "secrets"
    secrets.mkdir()
    (secrets / "api_key").write_text(KEY)
    fence, who = container["securityContext"], pod["securityContext"]
    words = ["--user", f"{who['runAsUser']}:{who['runAsGroup']}"]
    words += ["--cap-drop", *fence["capabilities"]["drop"]]
    assert fence["allowPrivilegeEscalation"] is False
    words += ["--security-opt", "no-new-privileges:true"]
    words += ["--read-only"] if fence["readOnlyRootFilesystem"] else []
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in container["volumeMounts"]:
        volume, path = volumes[mount["name"]], mount["mountPath"]
        if "configMap" in volume:
            words += ["--volume", f"{files}:{path}:ro"]
        elif "projected" in volume:
            words += ["--volume", f"{secrets}:{path}:ro"]
        elif "hostPath" in volume:
            words += ["--volume", f"{volume['hostPath']['path']}:{path}:ro"]
        elif volume["emptyDir"].get("medium") == "Memory":
            words += ["--shm-size", volume["emptyDir"]["sizeLimit"].removesuffix("i").lower()]
        else:
            words += ["--tmpfs", f"{path}:exec,uid={who['runAsUser']},gid={who['runAsGroup']}"]
    for variable in container["env"]:
        words += ["--env", f"{variable['name']}={as_kubernetes_reads(variable['value'])}"]
    inside = container["ports"][0]["containerPort"]
    words += ["--publish", f"127.0.0.1:{port}:{inside}"]
    entry, *rest = container["command"]
    words += ["--entrypoint", entry, container["image"], *rest]
    return words + [as_kubernetes_reads(word) for word in container["args"]]


@pytest.fixture(scope="module")
def engine(tiny_checkpoint, cpu_image, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chart")
    own = {"model": {"hostPath": str(tiny_checkpoint)}, "cache": {"enabled": False}}
    (folder / "own.yaml").write_text(yaml.safe_dump(own))
    cli = Cli(folder / "state")
    cli(
        "render", "--model", tiny_checkpoint, "--name", "tiny", "--served-model-name", "tiny",
        "--gpu", "cpu", "--enforce-eager",
        "--target", "manifests", "--values", folder / "own.yaml", "-o", folder / "out",
    )  # fmt: skip
    files = [p for p in (folder / "out").rglob("*.yaml") if p.name != "kustomization.yaml"]
    found = {d["kind"]: d for p in files for d in yaml.safe_load_all(p.read_text())}
    name = f"deployctl-chart-{os.getpid()}"
    port = ports.free()
    docker("run", "--detach", "--name", name, *docker_words(found, folder, port))
    spec = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    container = Container(name, spec, port)
    try:
        until(container.healthy, seconds=START_SECONDS, what="the engine answers")
        yield container
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


def test_the_service_test_passes_inside_the_fence(engine, request):
    script = request.config.rootpath / "charts/vllm/files/smoke.py"
    done = subprocess.run(
        ["docker", "exec", "--interactive", engine.name, "python3", "-I", "-S", "-", "127.0.0.1",
         str(engine.spec["ports"][0]["containerPort"]), "1"],
        input=script.read_text(), capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "tiny answers" in done.stdout


def test_the_key_is_in_no_argument_and_in_nothing_docker_knows(engine):
    assert KEY not in docker("inspect", engine.name)
    assert KEY not in docker("top", engine.name, "-o", "pid,args")
    assert KEY not in docker("logs", engine.name)


def test_a_hung_engine_is_dead_though_health_says_200(engine):
    core = next(
        int(line.split()[0])
        for line in docker("top", engine.name, "-o", "pid,args").splitlines()
        if re.search(r"EngineCore", line)
    )
    url = f"http://127.0.0.1:{engine.port}"
    body = {"model": "tiny", "prompt": "once", "max_tokens": 2000, "n": 8, "ignore_eos": True}

    def ask():  # the answer is not wanted, and may come too late
        with contextlib.suppress(OSError):
            call(url + "/v1/completions", body, KEY)

    asked = threading.Thread(target=ask)
    asked.start()
    try:
        until(engine.running, seconds=START_SECONDS, what="the request runs")
        os.kill(core, signal.SIGSTOP)
        assert engine.alive(stall=4)[0] == 0
        time.sleep(5)
        status, text = engine.alive(stall=4)
        assert status == 1
        assert re.search(r"[1-9] requests and no progress", text)
    finally:
        os.kill(core, signal.SIGCONT)
        asked.join()
    assert engine.alive(stall=4)[0] == 0


def test_it_ends_by_itself_when_it_is_told(engine):
    began = time.monotonic()
    docker("stop", "--time", "60", engine.name)
    assert time.monotonic() - began < 50
    state = json.loads(docker("inspect", "--format", "{{json .State}}", engine.name))
    assert state["ExitCode"] in (0, 143)
    assert state["OOMKilled"] is False
