"""What /proc says of processes: who they are, whose children, who listens on a port.

A pid alone names nobody for long; (pid, start time) does, until the machine restarts. Start times
are read from /proc and not from psutil, whose are seconds by a clock that can be set; and so are
environments, of which psutil gives the part before the first hole.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

PROC = Path("/proc")


class Identity(NamedTuple):
    """One process, told from any later one with the same pid."""

    pid: int
    start: int  # clock ticks since boot


class _Stat(NamedTuple):
    identity: Identity
    state: str
    parent: int
    session: int


def boot_id() -> str:
    """Names this boot of the machine; identities of another boot are void."""
    try:
        return (PROC / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _stat(pid: int) -> _Stat | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name, in parentheses, may itself hold parentheses and spaces: split after the last.
    fields = text[text.rindex(")") + 2 :].split()
    return _Stat(Identity(pid, int(fields[19])), fields[0], int(fields[1]), int(fields[3]))


def _all() -> Iterator[_Stat]:
    for entry in PROC.iterdir():
        if entry.name.isdecimal():
            stat = _stat(int(entry.name))
            if stat is not None and stat.state not in "ZX":
                yield stat


def identify(pid: int) -> Identity | None:
    """Tells who has this pid now; None when nobody does, or only a zombie."""
    stat = _stat(pid)
    return None if stat is None or stat.state in "ZX" else stat.identity


def alive(who: Identity) -> bool:
    """Whether this very process still runs."""
    return identify(who.pid) == who


def descendants(who: Identity) -> list[Identity]:
    """Children, their children and so on of a process, without itself."""
    children: dict[int, list[Identity]] = {}
    for stat in _all():
        children.setdefault(stat.parent, []).append(stat.identity)
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
    for stat in _all():
        pid = stat.identity.pid
        if pid == os.getpid():
            continue
        by_session = stat.session == session and _works_in(pid, folder)
        if by_session or entry in _environment(pid):
            result.append(stat.identity)
    return result


def running(job: str) -> Identity | None:
    """The process whose last argument is `job`: a supervisor whose own record is lost."""
    for stat in _all():
        try:
            words = (PROC / str(stat.identity.pid) / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[-2:-1] == [job.encode()] and stat.session == stat.identity.pid:
            return stat.identity
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
    """Says who listens on a TCP port, as far as this user may know: `nginx (pid 12)`."""
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
        words = psutil.Process(pid).cmdline()
    except psutil.Error:
        words = []
    return " ".join(filter(None, words[:3]))[:60] or "a process"
