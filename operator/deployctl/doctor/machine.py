"""The machine that a target's engines run on: this one, or the one on which the Docker engine is,
where it is reached by ssh. That one is asked once, for all at a time.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

from deployctl import host
from deployctl.doctor.shell import Run, away, bounded, run, there
from deployctl.host import HostMemory

TIMEOUT_S = 15.0
_FILES = ("/etc/os-release", "/proc/meminfo", "/proc/net/tcp", "/proc/net/tcp6")
_COMMANDS = {"uname": "uname -m", "nproc": "nproc", "cpuinfo": "head -n 40 /proc/cpuinfo"}
_ASK = "; ".join(
    f'echo; echo "==> {name}"; {command} 2>/dev/null'  # a file may end in no newline
    for name, command in [*((file, f"cat {file}") for file in _FILES), *_COMMANDS.items()]
)
_LISTENS = "0A"  # of the states in /proc/net/tcp


class Machine(NamedTuple):
    """What it is and has. None, or empty: it could not be told."""

    memory: HostMemory | None
    cores: int | None
    processor: str | None
    release: str = ""  # its /etc/os-release
    architecture: str | None = None  # x86_64
    cpuinfo: str = ""
    ports: frozenset[int] | None = None  # on which somebody listens

    @property
    def named(self) -> str | None:
        """Its CPU and how many threads of it there are: `AMD EPYC 9R14, 16 threads`."""
        return f"{self.processor}, {self.cores} threads" if self.processor else None


def of(target: str | None, run: Run = run, environ: Mapping[str, str] = os.environ) -> Machine:
    """The one that a target's engines run on."""
    if target != "docker" or not away(environ):
        return Machine(host.memory(), host.cores(), host.processor())
    return read(there(run, environ)(["sh", "-c", _ASK], TIMEOUT_S).out)


def memory_gib(target: str | None) -> float | None:
    """The memory in GiB of the one that a target's engines run on. The Docker engine may be in a
    virtual machine on this one, or elsewhere: what it says counts, where it can be asked. None: it
    could not be told.

    Raises:
        DockerError: the other host, which ssh reaches, does not answer.
    """
    if target == "docker" and not away(os.environ):
        from deployctl.targets.docker.engine import here

        told = bounded(lambda: here().memory_gib(), TIMEOUT_S, None)
        if told is not None:
            return told
    memory = of(target).memory
    if memory is None and target == "docker" and away(os.environ):
        from deployctl.targets.docker.engine import here

        here()  # where it cannot be reached, says why
    return memory and memory.total_gib


def read(said: str) -> Machine:
    """What another machine said of itself. Pure."""
    pieces = re.split(r"^==> (\S+)$", said, flags=re.MULTILINE)
    told = {name: text.strip() for name, text in zip(pieces[1::2], pieces[2::2], strict=True)}
    told = {**dict.fromkeys((*_FILES, *_COMMANDS), ""), **told}
    cores, cpuinfo = told["nproc"], told["cpuinfo"]
    sockets = "\n".join(told[f"/proc/net/{table}"] for table in ("tcp", "tcp6"))
    return Machine(
        memory=host.read_memory(told["/proc/meminfo"]),
        cores=int(cores) if re.fullmatch(r"[0-9]{1,6}", cores) else None,
        processor=host.read_processor(cpuinfo) if cpuinfo else None,
        release=told["/etc/os-release"],
        architecture=told["uname"] or None,
        cpuinfo=cpuinfo,
        ports=_listening(sockets) if sockets.strip() else None,
    )


def _listening(table: str) -> frozenset[int]:
    """The ports of the rows that listen, of whatever address: Docker takes it for its own."""
    rows = re.findall(r"^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ ([0-9A-F]{2}) ", table, re.MULTILINE)
    return frozenset(int(port, 16) for port, state in rows if state == _LISTENS)
