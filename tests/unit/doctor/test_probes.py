"""Thin probes: what they make of what they are told, and that none of them hangs or breaks."""

import json
import socket
import sys
import threading

import psutil
import pytest

from deployctl import host
from deployctl.doctor import probes
from deployctl.doctor.detect import ask_gpus
from deployctl.doctor.examine import gather
from deployctl.doctor.facts import HostFacts, Question
from deployctl.doctor.probes import (
    ask_clock,
    ask_disks,
    ask_docker,
    ask_host,
    ask_hub,
    ask_port,
    ask_toolkit,
    cpu_flags,
    os_release,
    token_shape,
)
from deployctl.doctor.shell import Ran, bounded, run, there
from deployctl.hardware import load_profile
from deployctl.targets.docker import commands
from deployctl.targets.process.runs import reservation

TOKEN = "hf_" + "a1B2c3D4e5" * 3 + "abcd"
MISSING = Ran(None, err="No such file or directory")


def answers(**by_word):
    """A `run` that answers by the first word of the command that is a key."""

    def fake(argv, timeout_s):
        assert 0 < timeout_s <= 20
        line = "_".join(argv)
        return next((ran for key, ran in by_word.items() if key in line), MISSING)

    return fake


def test_run_reports_output_and_status():
    ran = run([sys.executable, "-c", "import sys; print('a'); sys.exit(3)"], 20)
    assert (ran.code, ran.out, ran.hung) == (3, "a\n", False)


def test_run_of_what_is_not_installed():
    assert run(["no-such-command-at-all"], 1).code is None


def test_what_is_asked_there_is_not_what_ssh_does_for_who_logs_in_by_hand():
    said = []

    def asked(words, timeout_s):
        said.append(words)
        return Ran(127, err="sh: nvidia-smi: not found")

    ran = there(asked, {"DOCKER_HOST": "ssh://ops@gpu1"})(["nvidia-smi", "-L"], 6)
    assert ran.code is None  # not installed there
    [words] = said
    assert words[-3:] == ["--", "ssh://ops@gpu1", "nvidia-smi -L"]
    assert {"RemoteCommand=none", "RequestTTY=no", "BatchMode=yes"} <= {*words}
    assert there(asked, {}) is asked


def test_an_engine_elsewhere_is_asked_by_the_line_that_there_is():
    """An ssh of docker's own refuses what ~/.ssh/config has for who logs in: RemoteCommand."""
    asked = []

    def run(words, timeout_s):
        asked.append(words)
        return Ran(1)

    by_line = ["docker", "--host", "unix:///tmp/line/docker.sock"]
    assert ask_docker(run, {"DOCKER_HOST": "ssh://ops@gpu1"}, by_line).host == "ssh://ops@gpu1"
    assert [words[:3] for words in asked] == [by_line, by_line]


def test_run_ends_with_its_children_when_time_is_up():
    ran = run(["sh", "-c", "sleep 60 & sleep 60"], 0.1)
    assert ran.hung
    assert ran.code is None


def test_bounded_gives_up_and_swallows():
    forever = threading.Event()
    try:
        assert bounded(forever.wait, 0.05, False) is False
    finally:
        forever.set()
    assert bounded(lambda: 1 // 0, 1, 7) == 7
    assert bounded(lambda: 5, 1, 7) == 5


DOCKER_INFO = {
    "ServerVersion": "27.5.1",
    "Runtimes": {"io.containerd.runc.v2": {}, "nvidia": {}, "runc": {}},
    "DockerRootDir": "/data/docker",
    "SecurityOptions": ["name=apparmor", "name=rootless"],
    "DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}],
}


def test_docker_as_it_answers():
    docker = ask_docker(
        answers(info=Ran(0, json.dumps(DOCKER_INFO)), compose=Ran(0, "v2.33.0\n")), {}
    )
    assert (docker.server, docker.compose, docker.host) == ("27.5.1", "2.33.0", None)
    assert "nvidia" in docker.runtimes
    assert docker.cdi_devices == ("nvidia.com/gpu=0",)
    assert docker.rootless
    assert docker.root_dir == "/data/docker"


@pytest.mark.parametrize(
    ("info", "denied", "words"),
    [
        (
            Ran(
                0,
                '{"ServerErrors":["Cannot connect to the Docker daemon at '
                'unix:///var/run/docker.sock. Is the docker daemon running?"]}',
            ),
            False,
            "Cannot connect",
        ),
        (
            Ran(
                1,
                "{}",
                "permission denied while trying to connect to the Docker daemon socket at "
                "unix:///var/run/docker.sock",
            ),
            True,
            "permission denied",
        ),
        (Ran(None, hung=True), False, "no answer in 10 s"),
        (Ran(0, "not json"), False, "no version"),
        (Ran(0, "[1]"), False, "no version"),
    ],
)
def test_docker_that_does_not_answer(info, denied, words):
    docker = ask_docker(answers(info=info), {})
    assert docker.client
    assert docker.server is None
    assert docker.denied is denied
    assert words in docker.error


def test_no_docker_at_all_and_one_elsewhere():
    assert not ask_docker(answers(), {}).client
    assert ask_docker(answers(), {"DOCKER_HOST": "ssh://box"}).host == "ssh://box"
    assert ask_docker(answers(), {"DOCKER_HOST": "unix:///run/docker.sock"}).host is None


def test_an_engine_that_a_context_names_is_told_as_one_of_docker_host_is(tmp_path, monkeypatch):
    """By `docker context use`, as Docker Desktop, colima and an engine without root have it."""
    for named, address, other in (
        ("far", "tcp://far:2376", "tcp://far:2376"),
        ("colima", "unix:///home/ann/.colima/docker.sock", None),
    ):
        folder = tmp_path / named
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"currentContext": named}))
        said = commands.Result(0, f"{address}\n", "")
        monkeypatch.setattr(commands, "run", lambda words, more, said=said: said)
        docker = ask_docker(answers(info=Ran(1, "{}", "refused")), {"DOCKER_CONFIG": str(folder)})
        assert (docker.address, docker.host) == (address, other)


def test_the_toolkit_s_version():
    said = "NVIDIA Container Toolkit CLI version 1.18.0\ncommit: f8daa5e\n"
    assert ask_toolkit(answers(nvidia_ctk=MISSING)) is None
    assert ask_toolkit(lambda argv, timeout_s: Ran(0, said)) == "1.18.0"


def test_cards_are_asked_about_processes_and_peers():
    cards = "index, name, uuid\n0, NVIDIA L4, GPU-0\n1, NVIDIA L4, GPU-1\n"
    found = ask_gpus(
        lambda argv, timeout_s: Ran(
            0,
            cards
            if "--query-gpu" in argv[1]
            else "gpu_uuid, pid, process_name, used_gpu_memory [MiB]\nGPU-0, 7, python, 9 MiB\n"
            if "--query-compute-apps" in argv[1]
            else "\tGPU0\tGPU1\nGPU0\tX\tOK\nGPU1\tOK\tX\n",
        )
    )
    assert len(found.cards) == 2
    assert found.apps[0].pid == 7
    assert found.peers == {(0, 1): "OK", (1, 0): "OK"}


def test_a_driver_that_hangs_or_is_absent():
    assert ask_gpus(lambda argv, timeout_s: Ran(None, hung=True)).failure == "hang"
    assert ask_gpus(lambda argv, timeout_s: MISSING).failure == "missing"


def test_the_host_from_its_own_files(tmp_path, monkeypatch):
    monkeypatch.setattr(host, "memory", lambda: host.HostMemory(1.0, 0.5))
    (tmp_path / "etc").mkdir()
    (tmp_path / "proc").mkdir()
    (tmp_path / "etc/os-release").write_text(
        'PRETTY_NAME="Ubuntu 24.04.3 LTS"\nID=ubuntu\nVERSION_ID="24.04"\n'
    )
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nflags\t\t: fpu avx2\n\n")
    facts = HostFacts(**ask_host(tmp_path))
    assert (facts.os_id, facts.os_version, facts.os_name) == (
        "ubuntu",
        "24.04",
        "Ubuntu 24.04.3 LTS",
    )
    assert (facts.memory_gib, facts.memory_available_gib) == (1.0, 0.5)
    assert facts.cpu_flags == {"fpu", "avx2"}
    assert facts.shm_gib is None


def test_files_that_are_not_there_leave_unknowns(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    facts = HostFacts(**ask_host(tmp_path / "nowhere"))
    assert facts.os_id is facts.memory_gib is facts.cpu_flags is None
    assert os_release("") == {}
    assert cpu_flags("Features\t: fp asimd\n") == {"fp", "asimd"}


def test_room_is_measured_where_the_folder_will_be(tmp_path):
    [disk] = ask_disks([("models", tmp_path / "not" / "yet")])
    assert disk.free_gib > 0
    assert disk.writable


@pytest.mark.parametrize(
    ("said", "expected"), [("yes\n", True), ("no\n", False), ("", None), ("n/a\n", None)]
)
def test_the_clock(said, expected):
    assert ask_clock(lambda argv, timeout_s: Ran(0, said)) is expected
    assert ask_clock(lambda argv, timeout_s: MISSING) is None


def test_a_port_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        free, why = ask_port(taken.getsockname()[1])
    assert free is False
    assert why == "Address already in use"


def test_a_port_whose_engine_is_started_again_just_then_is_taken():
    """Nothing listens there for the moment, and `up` refuses it."""
    port = host.free_port()
    assert ask_port(port)[0]
    with socket.socket(socket.AF_UNIX) as supervisor:
        supervisor.bind(f"\0{reservation(port)}")
        assert ask_port(port)[0] is False


@pytest.mark.parametrize(
    ("token", "problem"),
    [
        (TOKEN, None),
        ("", "it is empty"),
        ("my password", "blanks"),
        ("sk-" + "x" * 40, "does not look like"),
        ("hf_short", "does not look like"),
    ],
)
def test_the_token_is_judged_and_never_shown(tmp_path, token, problem):
    source, found = token_shape({"HF_TOKEN": token}, tmp_path)
    assert source == "HF_TOKEN"
    assert (found is None) if problem is None else problem in found
    assert len(token) < 8 or token not in f"{source} {found}"


def test_the_saved_token_is_found(tmp_path):
    assert token_shape({}, tmp_path) == (None, None)
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert token_shape({"HF_TOKEN_PATH": str(file)}, tmp_path) == (str(file), None)
    assert token_shape({"HF_HOME": str(tmp_path)}, tmp_path) == (str(file), None)


def test_the_hub_offline_and_out_of_reach(tmp_path, monkeypatch):
    def no_network(endpoint):
        raise AssertionError("asked although offline")

    monkeypatch.setattr(probes, "_head", no_network)
    assert ask_hub({"HF_HUB_OFFLINE": "1"}, tmp_path).offline
    monkeypatch.setattr(probes, "_head", lambda endpoint: (None, f"no {endpoint}", None))
    hub = ask_hub({"HF_ENDPOINT": "http://127.0.0.1:9"}, tmp_path)
    assert (hub.status, hub.error) == (None, "no http://127.0.0.1:9")


def test_a_nonsense_endpoint_is_a_finding_not_a_traceback():
    assert probes._head("http://[")[0] is None


@pytest.mark.parametrize("target", ["docker", "process"])
@pytest.mark.parametrize("profile", [None, "l4", "cpu"])
def test_a_bare_machine_is_gathered_without_a_word(tmp_path, monkeypatch, target, profile):
    monkeypatch.setattr(probes, "_head", lambda endpoint: (None, "no route", None))
    question = Question(
        target=target,
        profile=load_profile(profile) if profile else None,
        port=18790,
        places=(("models", tmp_path),),
    )
    facts = gather(question, run=lambda argv, timeout_s: MISSING, environ={}, root=tmp_path)
    assert (facts.gpus is None) == (profile == "cpu")
    assert (facts.docker is None) == (target == "process")
    assert facts.vllm is None or target == "process"
