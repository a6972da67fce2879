"""`deployctl diff`, as a user and a pipeline run it; Docker is a stand-in."""

import json
import re
import shutil
import sys
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import yaml

from deployctl.cli.app import main
from deployctl.operations.rendered import MARKER
from deployctl.targets.docker import engine, running
from known import tiny_folder


class Done(NamedTuple):
    code: int
    stdout: str
    stderr: str


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    tiny_folder(tmp_path / "tiny")
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)

    def call(verb, *words, model=("--model", "tiny", "--gpu", "cpu")):
        monkeypatch.setattr(sys, "argv", ["deployctl", verb, *model, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        return Done(ended.value.code, *capsys.readouterr())

    return call


@pytest.mark.parametrize("target", ["docker", "process"])
def test_against_what_was_rendered(run, target):
    run("render", "--target", target, "-o", "out")
    same = run("diff", "--target", target, "--against", "out", "--exit-code")
    assert (same.code, same.stdout.splitlines()[-1]) == (0, "nothing differs")
    other = run("diff", "--target", target, "--against", "out", "--max-model-len", "512")
    assert other.code == 0
    assert "--max-model-len: 2048 -> 512" in other.stdout
    assert "the engine restarts" in other.stdout
    words = ("--target", target, "--against", "out", "--max-model-len", "512", "--exit-code")
    assert run("diff", *words).code == 3


@pytest.mark.parametrize("marked", [True, False])
def test_the_gateway_that_a_folder_has_for_whoever_starts_it_by_hand_is_no_change(
    run, tmp_path, marked
):
    run("render", "--target", "docker", "--gateway", "-o", "out")
    assert (tmp_path / "out/gateway/compose.yaml").is_file()
    if not marked:
        (tmp_path / "out" / MARKER).unlink()
    words = ("--target", "docker", "--gateway", "--against", "out")
    assert run("diff", *words).stdout.splitlines()[1:] == ["nothing differs"]
    held = run("diff", *words, "--hold", "20").stdout.splitlines()
    assert held[1].split() == ["in", "place", "gateway.json", "hold_s:", "300", "->", "20"]
    assert held[-1] == "nothing restarts"


@pytest.mark.parametrize("marked", [True, False])
@pytest.mark.parametrize("target", ["docker", "process"])
def test_another_door_is_one_change(run, tmp_path, target, marked):
    run("render", "--target", target, "-o", "out")
    words = ("--target", target, "--against", "out")
    if not marked:
        (tmp_path / "out" / MARKER).unlink()
        (tmp_path / "out" / "secrets" / "keys.json").write_text('{"keys": []}')
        assert run("diff", *words).stdout.splitlines()[-1] == "nothing differs"
    for file in ("alive.py", "deployctl_door/door.py", "deployctl_door/keys.py"):
        (tmp_path / "out" / "door" / file).write_text("# of another time")
    done = run("diff", *words)
    assert re.search(r"\n  restarts  door  code: [0-9a-f]{12} -> [0-9a-f]{12}\n", done.stdout)
    assert len(done.stdout.splitlines()) == 4
    done = run("diff", *words, "--request-log")
    assert "restarts  door/door.json  request_log: False -> True" in done.stdout
    shutil.rmtree(tmp_path / "out" / "door")
    done = run("diff", *words, "--request-log")
    assert "restarts  door  code: (not there) -> " in done.stdout
    assert "door.json" not in done.stdout


def test_the_folder_says_which_target_it_is_of(run):
    run("render", "--target", "docker", "-o", "out")
    document = json.loads(run("diff", "--against", "out", "--output", "json").stdout)
    assert document["version"] == 1
    assert document["services"][0]["target"] == "docker"
    assert document["services"][0]["effect"] is None


def test_json_is_a_documented_document(run):
    run("render", "--target", "docker", "-o", "out")
    words = ("--against", "out", "--max-model-len", "512", "--output", "json")
    (service,) = json.loads(run("diff", *words).stdout)["services"]
    assert service["effect"] == "restarts"
    assert service["changes"] == [
        {
            "file": "compose.yaml",
            "where": "services.engine.command --max-model-len",
            "old": "2048",
            "new": "512",
            "effect": "restarts",
            "why": "the label io.deployctl.digest changes with it",
            "drift": False,
        }
    ]


def test_against_another_plan(run, tmp_path):
    (tmp_path / "main.yaml").write_text("model: tiny\ngpu: cpu\nmax_model_len: 1024\n")
    done = run("diff", "--against-file", "main.yaml", "--max-model-len", "512")
    assert "--max-model-len: 1024 -> 512" in done.stdout
    assert "plan      context, tokens: 1024 -> 512" in done.stdout


def test_several_services_have_a_folder_each(run, tmp_path):
    text = "model: tiny\nname: one\nport: 8001\n---\nmodel: tiny\nname: two\nport: 8002\n"
    (tmp_path / "fleet.yaml").write_text(text)
    fleet = ("-f", "fleet.yaml", "--gpu", "cpu")
    run("render", "--target", "docker", "-o", "out", model=fleet)
    done = run("diff", "--against", "out", "--port", "8003", model=(*fleet[:2], "--gpu", "cpu"))
    assert done.code == 2  # one port for two services
    (tmp_path / "fleet.yaml").write_text(text.replace("8002", "9002"))
    done = run("diff", "--against", "out", model=fleet)
    assert "one: docker, against out/one\nnothing differs" in done.stdout
    assert "published: 8002 -> 9002" in done.stdout


def keep(folder, more=None):
    """A release that is deployed."""
    from deployctl.operations.prepare import prepare
    from deployctl.render import render_process
    from deployctl.spec import load_specs
    from deployctl.targets.history import Release
    from deployctl.targets.store import ServiceRef, Store

    (spec,) = load_specs([], {"model": "tiny", "gpu": "cpu", **(more or {})})
    made = prepare(spec)
    release = Release(
        service="tiny", revision=3, status="deployed", created="2026-01-01T00:00:00+00:00",
        reason="up", spec=made.spec, plan=made.plan, bundle=render_process(made.plan, made.spec),
    )  # fmt: skip
    Store(folder / "state").save(ServiceRef("process", "tiny"), release)


def test_against_a_release_every_byte_counts(run, tmp_path):
    keep(tmp_path)
    same = run("diff")
    assert same.stdout == "tiny: process, against revision 3, which is deployed\nnothing differs\n"
    done = run("diff", "--port", "8001")
    assert "restarts  command.json  arguments --port: 8000 -> 8001" in done.stdout


def test_what_the_gateway_alone_does_restarts_nothing(run, tmp_path):
    keep(tmp_path, {"gateway": True})
    done = run("diff", "--gateway", "--hold", "60")
    assert "in place  gateway.json  hold_s: 300 -> 60" in done.stdout
    assert done.stdout.endswith("nothing restarts\n")
    done = run("diff", "--gateway", "--hold", "60", "--port", "8001")
    assert "restarts  gateway.json  hold_s: 300 -> 60" in done.stdout


def test_nothing_runs(run):
    done = run("diff")
    assert done.code == 2
    assert "nothing of tiny runs on target process" in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--against", "nowhere"), "there is no such folder"),
        (("--against", "tiny"), "there is no rendered folder"),
        (("--against", "a", "--against-file", "b"), "one thing at a time"),
        (("--against-file", "nowhere.yaml"), "cannot read the file"),
    ],
)
def test_wrong_use_is_said(run, words, says):
    done = run("diff", *words)
    assert done.code == 2
    assert says in done.stderr


class Engine:
    """Docker with these containers."""

    def __init__(self, containers):
        self.address = SimpleNamespace(remote=False)
        self.carriers = SimpleNamespace(volume=lambda name: None)  # it has no records
        self._containers = list(containers)

    def memory_gib(self):
        return None  # nor does it say what its host has

    def image_environment(self, container):
        return ["PATH=/bin"]

    def engines(self, project):
        assert project == "deployctl-tiny"
        return self._containers


@pytest.fixture
def docker(monkeypatch):
    def put(*containers):
        for module in (running, engine):
            monkeypatch.setattr(module, "find", lambda environment, run: None)
            monkeypatch.setattr(module, "connect", lambda address: Engine(containers))

    return put


def container(labels, name="engine", **config):
    labels = {"com.docker.compose.service": name, **labels}
    return SimpleNamespace(
        name=f"deployctl-tiny-{name}-1",
        labels=labels,
        attrs={"Config": {"Labels": labels, **config}},
    )


def test_against_a_project_that_compose_started(run, docker, tmp_path):
    run("render", "--target", "docker", "-o", "out")
    text = (tmp_path / "out" / "compose.yaml").read_text()
    digest = text.split("io.deployctl.digest: ")[1].split()[0].strip('"')
    docker(container({
        "io.deployctl.digest": digest,
        "com.docker.compose.project.config_files": str(tmp_path / "out" / "compose.yaml"),
    }))  # fmt: skip
    same = run("diff", "--target", "docker")
    assert same.stdout.endswith("nothing differs\n")
    assert "out/compose.yaml" in same.stdout
    assert (
        "--max-model-len: 2048 -> 512"
        in run("diff", "--target", "docker", "--max-model-len", "512").stdout
    )


def test_against_a_container_whose_files_are_gone(run, docker):
    docker(container(
        {"io.deployctl.digest": "0", "com.docker.compose.project.config_files": "/gone"},
        Image="deployctl/vllm-cpu:0.31.0",
        Cmd=["--model", "/models/tiny", "--host", "0.0.0.0", "--port", "8000"],
        Env=["PATH=/bin", "HOME=/root"],
    ))  # fmt: skip
    done = run("diff", "--target", "docker")
    assert "container deployctl-tiny-engine-1" in done.stdout
    assert "services.engine.image: deployctl/vllm-cpu:0.31.0 -> deployctl/vllm-cpu:0.32.0" in (
        done.stdout
    )
    assert "environment.HOME: /root -> /tmp" in done.stdout
    assert "environment.PATH" not in done.stdout


def test_against_the_containers_of_several_replicas(run, docker, tmp_path):
    """Of two revisions, where one was replaced: the file of one of them does not say what runs."""
    several = ("--target", "docker", "--kv-cache-gib", "0.25", "--replicas")
    run("render", *several, "2", "-o", "out")
    text = (tmp_path / "out" / "compose.yaml").read_text()
    engine = yaml.safe_load(text)["services"]["engine"]
    labels = {
        **engine["labels"],
        "com.docker.compose.project.config_files": str(tmp_path / "out" / "compose.yaml"),
    }
    env = {**engine["environment"], "VLLM_CPU_OMP_THREADS_BIND": "0,1", "HF_HUB_OFFLINE": "1"}
    told = {
        "Image": engine["image"],
        "Cmd": engine["command"],
        "Env": [f"{name}={value}" for name, value in env.items()],
    }
    other = {**told, "Image": "deployctl/vllm-cpu:0.31.0"}
    before = {**labels, "io.deployctl.digest": "f" * 16}
    docker(container(labels, **told), container(labels, "engine-1", **told))
    assert run("diff", *several, "2").stdout.endswith("nothing differs\n")
    docker(container(labels, **told), container(before, "engine-1", **other))
    done = run("diff", *several, "3")
    assert "container deployctl-tiny-engine-1, container deployctl-tiny-engine-1-1" in done.stdout
    assert f"services.engine-1.image: {other['Image']} -> {told['Image']}" in done.stdout
    changed = set(re.findall(r"services\.([a-z0-9-]+)", done.stdout))
    assert changed == {"engine-1", "engine-2"}, done.stdout


def test_no_container_at_all(run, docker):
    docker()
    assert run("diff", "--target", "docker").code == 2
