"""The chart's engine container on a real vLLM, with Docker in the kubelet's place.

What the manifest says is done: user, capabilities, read-only root, volumes, variables, arguments,
and secrets as files that are exchanged as the kubelet does it. There is no cluster here, so what a
cluster adds is not shown.
"""

import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import urllib.request

import pytest
import yaml
from tests.e2e.docker_parts import START_SECONDS, Cli, call, docker, until
from tests.e2e.engine_cache import KNOWN, teach

import ports

pytestmark = [pytest.mark.docker, pytest.mark.vllm, pytest.mark.helm]

KEY, TOKEN, NAMED = "s3cret-of-the-test", "0perator-of-the-test", "s3cret-of-anna"
SHORT = {"drain": {"preStopSeconds": 3, "gracePeriodSeconds": 30}}


class Container:
    """A running container and what its manifest says of it."""

    def __init__(self, name, spec, port, secrets):
        self.name, self.spec, self.port, self.secrets = name, spec, port, secrets
        self.url = f"http://127.0.0.1:{port}"

    def execute(self, *words):
        """Exit status and output, as an exec probe would see them."""
        done = subprocess.run(
            ["docker", "exec", self.name, *words],
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )
        return done.returncode, done.stdout + done.stderr

    def alive(self, stall=None, probe="livenessProbe"):
        words = list(self.spec[probe]["exec"]["command"])
        if stall is not None:
            words[-2] = str(stall)
        return self.execute(*words)

    def healthy(self):
        running = docker("inspect", "--format", "{{.State.Running}}", self.name)
        assert running == "true", docker("logs", "--tail", "30", self.name)
        return self.alive()[0] == 0

    def running(self):
        request = urllib.request.Request(
            self.url + "/metrics", headers={"Authorization": f"Bearer {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=START_SECONDS) as answer:
            text = answer.read().decode()
        return re.search(r"^vllm:num_requests_running\{.*\} [1-9]", text, re.MULTILINE)

    def log(self):
        """All that it said."""
        done = subprocess.run(
            ["docker", "logs", self.name],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=START_SECONDS,
        )  # fmt: skip
        return done.stdout

    def models(self, key):
        """What a client with that key gets."""
        return call(self.url + "/v1/models", key=key)[0]


class Secrets:
    """A Secret's volume: files are links through ..data, which is exchanged as a whole."""

    def __init__(self, folder, **files):
        folder.mkdir()
        self.folder, self._count = folder, 0
        self.put(**files)

    def put(self, **files):
        self._count += 1
        content = self.folder / f"..{self._count}"
        content.mkdir()
        for name, text in files.items():
            (content / name).write_text(text)
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        (self.folder / "..new").symlink_to(content.name)
        (self.folder / "..new").rename(self.folder / "..data")
        for link in self.folder.iterdir():
            if not link.name.startswith("..") and link.name not in files:
                link.unlink()


def keys(**named):
    entries = [{"name": n, "sha256": hashlib.sha256(k.encode()).hexdigest()}
               for n, k in named.items()]  # fmt: skip
    return json.dumps({"version": 1, "keys": entries})


def as_kubernetes_reads(text):
    return text.replace("$$", "$")


def docker_words(found, folder, port, secrets):
    """`docker run` for the engine's container, as the kubelet would run it."""
    pod = found["Deployment"]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    files = folder / "files"
    for item in volumes["files"]["configMap"]["items"]:
        (files / item["path"]).parent.mkdir(parents=True, exist_ok=True)
        (files / item["path"]).write_text(found["ConfigMap"]["data"][item["key"]])
    fence, who = container["securityContext"], pod["securityContext"]
    words = ["--user", f"{who['runAsUser']}:{who['runAsGroup']}"]
    words += ["--cap-drop", *fence["capabilities"]["drop"]]
    assert fence["allowPrivilegeEscalation"] is False
    words += ["--security-opt", "no-new-privileges:true"]
    words += ["--read-only"] if fence["readOnlyRootFilesystem"] else []
    for mount in container["volumeMounts"]:
        volume, path = volumes[mount["name"]], mount["mountPath"]
        if "configMap" in volume:
            words += ["--volume", f"{files}:{path}:ro"]
        elif "projected" in volume:
            words += ["--volume", f"{secrets.folder}:{path}:ro"]
        elif "hostPath" in volume:
            words += ["--volume", f"{volume['hostPath']['path']}:{path}:ro"]
        elif volume["emptyDir"].get("medium") == "Memory":
            words += ["--shm-size", volume["emptyDir"]["sizeLimit"].removesuffix("i").lower()]
        else:  # a folder of the node, which outlives the container
            place = folder / mount["name"]
            place.mkdir()
            place.chmod(0o777)
            words += ["--volume", f"{place}:{path}"]
    for variable in container["env"]:
        words += ["--env", f"{variable['name']}={as_kubernetes_reads(variable['value'])}"]
    inside = container["ports"][0]["containerPort"]
    words += ["--publish", f"127.0.0.1:{port}:{inside}"]
    entry, *rest = container["command"]
    words += ["--entrypoint", entry, container["image"], *rest]
    return words + [as_kubernetes_reads(word) for word in container["args"]]


@pytest.fixture(scope="module")
def found(tiny_checkpoint, tmp_path_factory):
    """The manifests, by kind."""
    folder = tmp_path_factory.mktemp("rendered")
    own = {"model": {"hostPath": str(tiny_checkpoint)}, "cache": {"enabled": False}, **SHORT}
    (folder / "own.yaml").write_text(yaml.safe_dump(own))
    cli = Cli(folder / "state")
    cli(
        "render", "--model", tiny_checkpoint, "--name", "tiny", "--served-model-name", "tiny",
        "--gpu", "cpu", "--enforce-eager",
        "--target", "manifests", "--values", folder / "own.yaml", "-o", folder / "out",
    )  # fmt: skip
    files = [p for p in (folder / "out").rglob("*.yaml") if p.name != "kustomization.yaml"]
    return {d["kind"]: d for p in files for d in yaml.safe_load_all(p.read_text())}


@pytest.fixture(scope="module")
def engine(found, cpu_image, checkpoint_cache, tmp_path_factory, pytestconfig):
    folder = tmp_path_factory.mktemp("chart")
    secrets = Secrets(folder / "secrets", api_key=KEY, operator_token=TOKEN,
                      **{"keys.json": keys(anna=NAMED)})  # fmt: skip
    name = f"deployctl-chart-{os.getpid()}"
    port = ports.free()
    smoke = folder / "smoke"
    smoke.mkdir()
    for file in ("smoke.py", "routes.txt"):
        shutil.copy(pytestconfig.rootpath / "charts/vllm/files" / file, smoke)
    told = json.loads(found["ConfigMap"]["data"]["door.json"])
    (smoke / "user.txt").write_text("".join(f"{m} {path}\n" for m, path in told["user"]))
    words = docker_words(found, folder, port, secrets)
    if (checkpoint_cache / KNOWN).is_dir():
        teach(folder / "cache" / "vllm", checkpoint_cache)
    # What a container before it left in the pod's /tmp.
    (folder / "tmp" / "deployctl-drain").touch()
    docker("run", "--detach", "--name", name, "--volume", f"{smoke}:/opt/smoke:ro", *words)
    spec = found["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    container = Container(name, spec, port, secrets)
    try:
        until(container.healthy, seconds=START_SECONDS, what="the engine answers")
        yield container
    finally:
        docker("rm", "--force", "--volumes", name, check=False)


def test_without_its_secret_it_says_at_once_what_is_missing(found, cpu_image, tmp_path):
    words = docker_words(found, tmp_path, ports.free(), Secrets(tmp_path / "secrets"))
    done = subprocess.run(
        ["docker", "run", "--rm", *words], capture_output=True, text=True, timeout=START_SECONDS
    )
    assert done.returncode == 78
    assert done.stderr.strip().endswith("there is no key: neither api_key nor keys.json")


def test_the_service_test_passes_inside_the_fence(engine):
    port = str(engine.spec["ports"][0]["containerPort"])
    words = ["python3", "-I", "-S", "/opt/smoke/smoke.py", "127.0.0.1", "127.0.0.1", port, "1"]
    status, text = engine.execute(*words)
    assert status == 0, text
    assert "routes are closed to strangers" in text
    assert "tiny answers /v1/completions" in text


def test_a_key_that_is_revoked_in_the_secret_is_out_without_a_restart(engine):
    assert [engine.models(key) for key in (KEY, NAMED, TOKEN, "x", None)] == [
        200,
        200,
        200,
        401,
        401,
    ]
    engine.secrets.put(api_key=KEY, operator_token=TOKEN, **{"keys.json": keys(bert="other")})
    until(lambda: engine.models(NAMED) == 401, seconds=60, what="anna is out")
    assert [engine.models(key) for key in (KEY, "other", TOKEN)] == [200, 200, 200]
    engine.secrets.put(api_key=KEY, operator_token="another", **{"keys.json": "{"})
    # Nobody gets in who should not, and who could still can.
    until(
        lambda: engine.models("other") == 200 and "damaged" in engine.log(),
        seconds=60,
        what="it complains",
    )
    assert [engine.models(key) for key in (KEY, "other", NAMED)] == [200, 200, 401]
    engine.secrets.put(api_key=KEY, operator_token=TOKEN, **{"keys.json": keys(anna=NAMED)})
    until(lambda: engine.models(NAMED) == 200, seconds=60, what="anna is back")


def test_the_key_is_in_no_argument_and_in_nothing_docker_knows(engine):
    assert KEY not in docker("inspect", engine.name)
    assert KEY not in docker("top", engine.name, "-o", "pid,args")
    assert KEY not in engine.log()


def test_a_hung_engine_is_dead_though_health_says_200(engine):
    core = next(
        int(line.split()[0])
        for line in docker("top", engine.name, "-o", "pid,args").splitlines()
        if re.search(r"EngineCore", line)
    )
    body = {"model": "tiny", "prompt": "once", "max_tokens": 2000, "n": 8, "ignore_eos": True}

    def ask():  # the answer is not wanted, and may come too late
        with contextlib.suppress(OSError):
            call(engine.url + "/v1/completions", body, KEY)

    asked = threading.Thread(target=ask)
    asked.start()
    try:
        until(engine.running, seconds=START_SECONDS, what="the request runs")
        os.kill(core, signal.SIGSTOP)
        for probe in ("livenessProbe", "readinessProbe"):
            assert engine.alive(stall=4, probe=probe)[0] == 0
        time.sleep(5)
        for probe in ("livenessProbe", "readinessProbe"):
            status, text = engine.alive(stall=4, probe=probe)
            assert status == 1
            assert re.search(r"[1-9] requests and no progress", text)
    finally:
        os.kill(core, signal.SIGCONT)
        asked.join()
    assert engine.alive(stall=4)[0] == 0


def test_it_closes_its_door_and_ends_by_itself_when_it_is_told(engine):
    def asked():
        connection = http.client.HTTPConnection("127.0.0.1", engine.port, timeout=START_SECONDS)
        connection.request("GET", "/v1/models", headers={"Authorization": f"Bearer {KEY}"})
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status, answer.headers.get("Connection"), answer.headers.get("Retry-After")

    assert asked() == (200, None, None)
    began = time.monotonic()
    assert engine.execute(*engine.spec["lifecycle"]["preStop"]["exec"]["command"])[0] == 0
    assert asked() in ((200, "close", None), (503, "close", "1"))
    until(lambda: asked() == (503, "close", "1"), seconds=60, what="10 s of 30 have passed")
    assert engine.alive()[0] == 0  # a drain is no illness
    docker("stop", "--time", "60", engine.name)
    assert time.monotonic() - began < 55
    state = json.loads(docker("inspect", "--format", "{{json .State}}", engine.name))
    assert state["ExitCode"] in (0, 143)
    assert state["OOMKilled"] is False
