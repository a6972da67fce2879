"""From a spec to a plan."""

import json
import threading
from types import SimpleNamespace

import pytest

import deployctl.doctor
from deployctl.doctor.machine import Machine
from deployctl.errors import (
    DockerError,
    InputError,
    ModelError,
    PlanRefusedError,
    ProfileError,
    SpecError,
)
from deployctl.hardware import load_profile
from deployctl.host import HostMemory
from deployctl.operations import prepare
from deployctl.spec import ServiceSpec

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "vocab_size": 256,
    "max_position_embeddings": 512,
    "torch_dtype": "bfloat16",
}


@pytest.fixture
def model(tmp_path, monkeypatch):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "")
    return folder


@pytest.mark.parametrize(
    ("gpu", "target", "expected"),
    [
        ("cpu", None, "process"),
        ("l4", None, "docker"),
        ("l4", "process", "process"),
        ("cpu", "docker", "docker"),
    ],
)
def test_the_target_follows_the_hardware(model, gpu, target, expected):
    prepared = prepare.prepare(ServiceSpec(model="./small", gpu=gpu, target=target))
    assert prepared.spec.target == expected
    assert prepared.spec.gpu == gpu
    assert prepared.profile.name == gpu
    assert prepared.plan.gpu == gpu


def test_what_another_host_has_is_not_guessed_where_that_does_not_answer(model, monkeypatch):
    """The plan would be for the memory of the profile's file, and say that it is the host's."""

    def here():
        raise DockerError("the host does not answer", where="ssh://ops@gpu1")

    spec = ServiceSpec(model="./small", gpu="cpu", target="docker")
    monkeypatch.setenv("DOCKER_HOST", "ssh://ops@gpu1")
    monkeypatch.setattr("deployctl.doctor.machine.of", lambda target: Machine(None, None, None))
    monkeypatch.setattr("deployctl.targets.docker.engine.here", here)
    with pytest.raises(DockerError, match="the host does not answer"):
        prepare.prepare(spec)
    monkeypatch.setattr("deployctl.targets.docker.engine.here", lambda: None)
    assert prepare.prepare(spec).profile == load_profile("cpu")  # one that has no /proc


def test_a_service_in_docker_is_planned_for_the_memory_that_its_engine_has(model, monkeypatch):
    """In a virtual machine, as Docker Desktop's, or on another host: not what this one has."""
    there = SimpleNamespace(memory_gib=lambda: 7.659)
    monkeypatch.setattr("deployctl.targets.docker.engine.here", lambda: there)
    monkeypatch.setattr("deployctl.host.memory", lambda: HostMemory(64.0, 60.0))
    profiles = {
        target: prepare.prepare(ServiceSpec(model="./small", gpu="cpu", target=target)).profile
        for target in ("docker", "process")
    }
    assert profiles["docker"].memory_gib == 7.65
    assert profiles["process"].memory_gib == 64.0

    def unanswered():
        raise DockerError("Docker is not running")

    hangs, waited = threading.Event(), []
    monkeypatch.setattr(
        "deployctl.doctor.shell.threading.Thread.join", lambda _, within: waited.append(within)
    )
    spec = ServiceSpec(model="./small", gpu="cpu", target="docker")
    for here in (unanswered, lambda: hangs.wait(5)):
        monkeypatch.setattr("deployctl.targets.docker.engine.here", here)
        assert prepare.prepare(spec).profile.memory_gib == 64.0
    hangs.set()
    assert waited == [15.0, 15.0]


def test_a_relative_folder_becomes_absolute(model):
    prepared = prepare.prepare(ServiceSpec(model="small", gpu="l4"))
    assert prepared.spec.model == str(model)
    assert prepared.facts.source == str(model)
    assert prepared.spec.service == "small"


def test_auto_is_settled_by_the_card_found(model, monkeypatch):
    monkeypatch.setattr(deployctl.doctor, "detect_profile", lambda run: load_profile("rtx4090"))
    prepared = prepare.prepare(ServiceSpec(model="./small"))
    assert prepared.spec.gpu == "rtx4090"
    assert prepared.plan.gpu == "rtx4090"


def test_errors_come_from_the_part_that_is_wrong(model):
    with pytest.raises(ModelError):
        prepare.prepare(ServiceSpec(model="./absent", gpu="l4"))
    with pytest.raises(ProfileError):
        prepare.prepare(ServiceSpec(model="./small", gpu="no-such-card"))


def test_a_refusal_is_a_verdict_and_no_error(model):
    prepared = prepare.prepare(ServiceSpec(model="./small", gpu="l4", max_model_len=10**9))
    assert prepared.plan.verdict != "fits"


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"gateway": True, "name": "v1"}, InputError, "cannot be called v1"),
        ({"gateway": True, "gateway_port": 8000, "target": "process"}, InputError, "an engine's"),
        ({"gateway": True, "gateway_port": 20190}, InputError, "its own health and metrics"),
        ({"gateway_port": 9090}, InputError, "behind none"),
        (
            {"gpus": 2, "replicas": 2, "port": 65535, "target": "process"},
            InputError,
            "none above 65535",
        ),
        ({"gateway": True, "target": "kubernetes"}, PlanRefusedError, "of a host alone"),
    ],
)
def test_what_no_gateway_can_do_is_refused_where_it_is_planned(model, given, error, said):
    with pytest.raises(error, match=said):
        prepare.prepare(ServiceSpec(model="./small", gpu="l4", **given))
    refused = prepare.prepare(ServiceSpec(model="./small", gpu="l4", max_model_len=10**9, **given))
    assert refused.plan.verdict != "fits"  # which is said first


def test_the_token_comes_from_the_file_then_from_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_environment")
    file = tmp_path / "token"
    file.write_text("hf_file\n")
    assert prepare.hub_token(file) == "hf_file"
    assert prepare.hub_token(None) == "hf_environment"
    monkeypatch.delenv("HF_TOKEN")
    assert prepare.hub_token(None) is None


@pytest.mark.parametrize(
    "content", [b"", b"  \n", b"two words", b"a\nb", "tökén".encode(), b"\xff\xfe", b"x" * 5000]
)
def test_a_file_that_holds_no_token(tmp_path, content):
    file = tmp_path / "token"
    file.write_bytes(content)
    with pytest.raises(SpecError) as caught:
        prepare.hub_token(file)
    assert str(file) in caught.value.where
    shown = f"{caught.value.message} {caught.value.hint}"
    assert content.decode("utf-8", "replace").strip() == "" or "two words" not in shown


def test_a_token_file_that_is_missing(tmp_path):
    with pytest.raises(SpecError, match="cannot read the Hub token: there is no such file"):
        prepare.hub_token(tmp_path / "absent")


def test_a_cluster_does_not_have_the_card_that_is_here(model, monkeypatch):
    monkeypatch.setattr(deployctl.doctor, "detect_profile", lambda: load_profile("l4"))
    with pytest.raises(SpecError, match="which card") as refused:
        prepare.prepare(ServiceSpec(model="./small", target="kubernetes"))
    assert refused.value.where == "--gpu"
