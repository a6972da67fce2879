"""What /proc says of processes: whose children they are, what they carry, who listens on a port.

Environments are read from there and not from psutil, which gives the part before the first hole.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil

from deployctl.targets.identity import PROC as PROC
from deployctl.targets.identity import Identity as Identity
from deployctl.targets.identity import Stat, stat
from deployctl.targets.identity import alive as alive
from deployctl.targets.identity import boot_id as boot_id
from deployctl.targets.identity import identify as identify
from deployctl.targets.process.command import MARKER

_OUTERMOST = f"pid:[{0xEFFFFFFC}]"  # PROC_PID_INIT_INO of Linux's proc_ns.h


def outermost() -> bool:
    """Whether pids are here what a driver of cards says: in a container they may be others'."""
    try:
        return str((PROC / "self" / "ns" / "pid").readlink()) == _OUTERMOST
    except OSError:
        return False


def _all() -> Iterator[Stat]:
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            found = stat(int(entry.name))
            if found is not None and found.state not in "ZX":
                yield found


def descendants(who: Identity) -> list[Identity]:
    """Children, their children and so on of a process, without itself."""
    children: dict[int, list[Identity]] = {}
    for each in _all():
        children.setdefault(each.parent, []).append(each.identity)
    result: list[Identity] = []
    queue = [who.pid] if alive(who) else []
    while queue:
        below = children.pop(queue.pop(), [])
        result += below
        queue += [child.pid for child in below]
    return result


def marked(name: str, value: str, *, session: int, folder: Path) -> list[Identity]:
    """Processes that carry `name=value` in their environment, or belong to the run otherwise.

    A process that renames itself (vLLM's workers do, with setproctitle) overwrites the
    environment that /proc shows. So those of `session` that work in `folder` count too.
    """
    entry = f"{name}={value}".encode()
    result = []
    for each in _all():
        pid = each.identity.pid
        if pid == os.getpid():
            continue
        by_session = each.session == session and _works_in(pid, folder)
        if by_session or entry in _environment(pid):
            result.append(each.identity)
    return result


def running(job: str) -> Identity | None:
    """The process whose last argument is `job`: a supervisor whose own record is lost."""
    for each in _all():
        try:
            words = (PROC / str(each.identity.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[-2:-1] == [job.encode()] and each.session == each.identity.pid:
            return each.identity
    return None


def _works_in(pid: int, folder: Path) -> bool:
    try:
        return (PROC / str(pid) / "cwd").readlink() == folder
    except OSError:
        return False


def _environment(pid: int) -> list[bytes]:
    try:
        return (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return []


def send(who: Identity, number: signal.Signals) -> None:
    """Signals this very process, never another that got its pid since."""
    try:
        descriptor = os.pidfd_open(who.pid)
    except OSError:
        return
    try:
        if identify(who.pid) == who:
            signal.pidfd_send_signal(descriptor, number)
    except ProcessLookupError:
        return
    finally:
        os.close(descriptor)


def resident_bytes(members: list[Identity]) -> int:
    """Resident memory of processes together; pages they share are counted once."""
    total = 0
    for who in members:
        with contextlib.suppress(psutil.Error, OSError):  # it ended, or is another user's
            total += psutil.Process(who.pid).memory_full_info().pss
    return total


def listener(port: int) -> str | None:
    """Says who listens on a TCP port, as far as this user may know: `nginx (pid 12)`, or
    `the engine of chat (pid 12)`."""
    try:
        sockets = psutil.net_connections("tcp")
    except (psutil.Error, OSError):
        return None
    for socket in sockets:
        if socket.status == psutil.CONN_LISTEN and socket.laddr and socket.laddr.port == port:
            if socket.pid is None:
                return "a process of another user"
            return f"{_name(socket.pid)} (pid {socket.pid})"
    return None


def _name(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        *_, kind, service, runs, _run = ("", "", "", *process.environ().get(MARKER, "").split("/"))
        if (kind, runs) == ("process", "runs"):
            return f"the engine of {service}"
        words = process.cmdline()
    except psutil.Error:
        words = []
    return " ".join(filter(None, words[:3]))[:60] or "a process"
