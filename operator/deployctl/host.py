"""This host: how much memory, which processor, which port is free, what names stand for. Nothing
else asks for them.

psutil is imported where it is used: most verbs do not ask.
"""

import errno
import os
import random
import re
import socket
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NamedTuple

from deployctl.errors import PortTakenError
from deployctl.units import GIB

_CPUINFO = Path("/proc/cpuinfo")
_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")
_CONNECTIONS = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_FIRST_PORT = 10_000


class HostMemory(NamedTuple):
    """Main memory in GiB."""

    total_gib: float
    available_gib: float  # what the kernel says can be had without swapping


def memory() -> HostMemory | None:
    """The host's memory; None where it is unknown. Limits of a container are not looked at."""
    import psutil

    try:
        state = psutil.virtual_memory()
    except (OSError, KeyError, ValueError):  # no /proc, or not the one of a Linux kernel
        return None
    return HostMemory(state.total / GIB, state.available / GIB)


def cores() -> int:
    """How many logical processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def read_memory(meminfo: str) -> HostMemory | None:
    """The same of another machine, from its /proc/meminfo."""
    told = dict(re.findall(r"^(MemTotal|MemAvailable):\s+([0-9]{1,15}) kB$", meminfo, re.MULTILINE))
    if len(told) < 2:
        return None
    return HostMemory(*(int(told[name]) * 1024 / GIB for name in ("MemTotal", "MemAvailable")))


def processor(cpuinfo: Path = _CPUINFO) -> str | None:
    """The processor's name: `AMD EPYC 9R14`; `CPU` where it has none, None where nobody says."""
    try:
        return read_processor(cpuinfo.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def read_processor(text: str) -> str:
    """The same, from the text of /proc/cpuinfo."""
    named = re.search(r"^(?:model name|Model|CPU part)\s*:\s*(.+)$", text, re.MULTILINE)
    return named[1].strip() if named else "CPU"


def addresses(name: str, port: int, within_s: float | None) -> list[str]:
    """What a name stands for, in the system's order; None: it may take as long as it likes.

    The system asks name servers that are silent for half a minute and more, and cannot be told to
    stop: so a thread asks it, which is left behind when the time is over.

    Raises:
        TimeoutError: it took longer.
        OSError: nobody knows the name, or it is none.
    """
    told: SimpleQueue[list[str] | Exception] = SimpleQueue()

    def ask() -> None:
        numbers = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        try:
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            known = (socket.getnameinfo(each, numbers)[0] for *_, each in found)
            told.put(list(dict.fromkeys(known)))
        except Exception as error:  # whatever it is, somebody waits to hear of it
            told.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = told.get(timeout=within_s)
    except Empty:
        raise TimeoutError("the name servers do not answer") from None
    if isinstance(answer, UnicodeError):  # between two dots, nothing or too much
        raise OSError(f"no name of a host: {answer}") from answer
    if isinstance(answer, Exception):
        raise answer
    return answer


def port_error(port: int, address: str = "127.0.0.1") -> OSError | None:
    """Why nobody can listen on a port now; None: it is free."""
    error = _refusal(port, address, reuse=True)  # TIME_WAIT is no listener
    if error is None and not _has_connections(port):
        # An engine that loads has its port for minutes before it listens.
        error = _refusal(port, address, reuse=False)
    return error


def _refusal(port: int, address: str, *, reuse: bool) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, int(reuse))
        try:
            probe.bind((address, port))
            probe.listen(1)
        except OSError as error:
            return error
    return None


def _has_connections(port: int) -> bool:
    """Whether there are any, those that ended a minute ago among them; also where nobody says."""
    there, newer = _CONNECTIONS
    try:
        text = there.read_text() + (newer.read_text() if newer.exists() else "")
    except OSError:
        return True
    return re.search(rf"^ *\d+: [0-9A-F]+:{port:04X} ", text, re.MULTILINE) is not None


def refuse_taken(
    port: int, address: str, *, flag: str, who: Callable[[int], str | None] = lambda port: None
) -> None:
    """Refuses a port on which nobody can listen; `who` says what does, and `flag` another port.

    Raises:
        PortTakenError: something listens there, or this user may not.
    """
    error = port_error(port, address)
    if error is None:
        return
    where = f"{address}:{port}"
    if error.errno == errno.EACCES:
        raise PortTakenError(
            f"this user may not listen on ports below 1024: {port}",
            where=where,
            hint=f"choose another with {flag}, for example {flag} 8000",
        ) from error
    if error.errno != errno.EADDRINUSE:
        raise PortTakenError(
            f"nobody can listen on port {port} of {address}: {error.strerror}",
            where=where,
            hint=f"name an address of this machine, or another port, with {flag}",
        ) from error
    raise PortTakenError(
        f"port {port} is taken by {who(port) or 'another program'}",
        where=where,
        hint=f"stop it, or choose another port with {flag}",
    ) from error


def free_port(
    after: int | None = None, *, within: int = 100, taken: Collection[int] | None = None
) -> int:
    """A port of the loopback interface on which nobody listens, for whoever takes it at once.

    With `after`, the first free one of the `within` ports above it. Otherwise any from 10000,
    below those that the kernel gives to connections: a load that runs at the same time takes
    thousands of these, and could take this one too. Of another host, whose `taken` ports are
    known, it is the first above `after` that is none of these.

    Raises:
        PortTakenError: none is free.
    """
    if after is not None:
        tries: Iterable[int] = range(after + 1, min(after + within, 65535) + 1)
        said = f"none of the {within} ports above {after} is free"
        if taken is not None:
            if free := [port for port in tries if port not in taken]:
                return free[0]
            raise PortTakenError(said)
    else:
        tries, said = [*_quiet_ports(), 0], "no port is free"
    for port in tries:
        with suppress(OSError), socket.create_server(("127.0.0.1", port)) as server:
            return int(server.getsockname()[1])
    raise PortTakenError(said)


def _quiet_ports() -> list[int]:
    """Some at random of those that the kernel gives to no connection."""
    try:
        lowest = int(_OUTGOING.read_text(encoding="ascii").split()[0])
    except (OSError, ValueError, IndexError):
        lowest = 32768
    return random.sample(range(_FIRST_PORT, lowest), 50) if lowest > _FIRST_PORT + 50 else []
