"""The two verbs: text, JSON, exit codes."""

import json
import sys
from dataclasses import replace

import pytest

from deployctl.cli import app
from deployctl.doctor import examine as gathering
from deployctl.doctor.facts import Gpus, HostFacts

BARE = HostFacts(os_id="ubuntu", os_version="24.04", port_free=True)


@pytest.fixture
def cli(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))

    def call(*argv, facts=BARE):
        asked = []

        def gather(question, **_):
            asked.append(question)
            return facts

        monkeypatch.setattr(gathering, "gather", gather)
        monkeypatch.setattr(sys, "argv", ["deployctl", *argv])
        with pytest.raises(SystemExit) as stop:
            app.main()
        return stop.value.code, *capsys.readouterr(), asked

    return call


def test_a_failed_check_ends_with_4(cli):
    code, out, err, _ = cli("doctor", "--gpu", "l4", facts=replace(BARE, gpus=Gpus("missing")))
    assert (code, err) == (4, "")
    [line] = [line for line in out.splitlines() if line.startswith("fail")]
    assert "NVIDIA driver" in line
    assert "fix: sudo" in line
    assert "1 failed (target docker, l4)" in out


def test_warnings_end_with_0(cli):
    code, out, _, _ = cli("doctor", "--gpu", "cpu", "--target", "docker")
    assert code == 0
    assert "0 failed (target docker, cpu)" in out


def test_json(cli):
    code, out, err, _ = cli("doctor", "--gpu", "cpu", "-o", "json")
    answer = json.loads(out)
    assert (code, err) == (4, "")  # vLLM is not there
    assert (answer["version"], answer["target"], answer["verdict"]) == (1, "process", "fail")
    assert [c["status"] for c in answer["checks"] if c["id"] == "vllm"] == ["fail"]


@pytest.mark.parametrize(
    ("argv", "target", "profile"),
    [
        ([], "docker", None),
        (["--gpu", "cpu"], "process", "cpu"),
        (["--gpu", "4090"], "docker", "rtx4090"),
        (["--gpu", "l4", "--target", "process"], "process", "l4"),
    ],
)
def test_the_target_follows_the_gpu(cli, argv, target, profile):
    [question] = cli("doctor", *argv)[3]
    assert question.target == target
    assert (question.profile.name if question.profile else None) == profile


@pytest.mark.parametrize(
    ("argv", "text", "port"),
    [
        ([], None, 8000),
        (["--port", "8100"], None, 8100),
        ([], "port: 8200", 8200),
        (["--port", "8100"], "port: 8200", 8100),
        ([], "port: 8200\ngateway: true", None),  # another may have it: it listens in a network
        ([], "replicas: 2", None),
        ([], "port: 8200\ngateway: true\ntarget: process", 8200),
    ],
)
def test_the_port_is_the_one_that_it_takes_of_the_machine(cli, tmp_path, argv, text, port):
    if text is not None:
        file = tmp_path / "service.yaml"
        file.write_text(f"model: {tmp_path}\ngpu: l4\n{text}\n")
        argv = [*argv, "-f", str(file)]
    [question] = cli("doctor", *argv)[3]
    assert question.port == port
    assert question.target == ("process" if text and "process" in text else "docker")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--target", "kubernets"], "there is no target 'kubernets'"),
        (["--gpu", "l5"], "did you mean l4?"),
        (["--port", "0"], "--port"),
        (["--cards", "claim"], "are for a cluster alone"),
        (["--cards", "claim", "--target", "kubernetes"], "add --model"),
        (["--cards", "rent", "--target", "kubernetes", "--model", "m"], "--cards"),
        (["--gpu", "none.yaml"], "no such file"),
    ],
)
def test_bad_input_ends_with_2(cli, argv, words):
    code, out, err, asked = cli("doctor", *argv)
    assert (code, out, asked) == (2, "", [])
    assert words in err


def test_a_host_without_gpu_is_told_of_the_cpu(cli):
    assert "doctor --gpu cpu" in cli("doctor", facts=replace(BARE, gpus=Gpus("missing")))[1]


def test_profiles_are_listed(cli):
    code, out, err, _ = cli("profiles")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "23.52" in rows["rtx4090"]
    assert " no " in rows["rtx4090"]
    assert "…" not in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_one_profile_with_its_sources(cli):
    code, out, _, _ = cli("profiles", "a100")
    assert code == 0
    assert out.startswith("a100-80gb: NVIDIA A100 SXM4 (80 GB)  (also: a100)")
    assert "datasheet" in out


def test_profiles_as_json(cli):
    listed = json.loads(cli("profiles", "-o", "json")[1])
    assert listed["version"] == 1
    assert "l4" in [p["name"] for p in listed["profiles"]]
    one = json.loads(cli("profiles", "l4", "-o", "json")[1])
    assert one["profile"]["sources"]["memory_gib"]


def test_a_profile_without_interconnect_or_price(cli):
    code, out, _, _ = cli("profiles", "cpu")
    assert code == 0
    assert "/proc/meminfo" in out
