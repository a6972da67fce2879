"""Who holds a lock that is seen from other machines: in words that tell a holder that was killed
from one at work, where both are of one table of processes; and the signs that one is at work.
"""

import hashlib
import os
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Raises LockedError where the lock is another's by now.
Check = Callable[[], None]

# Behind a holder's pid: the table of processes that it is in.
_TABLE = re.compile(r", pid (?P<pid>\d{1,9})(?P<of> of (?P<table>[0-9a-f]+))\)\Z")


def myself(command: str) -> str:
    """This process, at a command."""
    return f"{command} ({person()}, {_process()})"


def is_myself(holder: str) -> bool:
    """Whether a holder is this process, whatever its command."""
    return holder.endswith(f" ({person()}, {_process()})")


def person() -> str:
    """Whoever runs it, and where: `alice@build-3`."""
    user = os.environ.get("USER") or f"uid{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def shown(holder: str) -> str:
    """The same for a person, to whom the table is nothing."""
    table = _TABLE.search(holder)
    return holder if table is None else holder[: table.start("of")] + ")"


def was_killed(holder: str) -> bool:
    """Whether a holder was a process that we would see, and is no more."""
    seen = _TABLE.search(holder)
    if seen is None or seen["table"] != _table():
        return False
    try:
        os.kill(int(seen["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


@contextmanager
def beating(sign: Callable[[], None], every_s: float) -> Iterator[None]:
    """Has `sign` say every so many seconds, in a thread, that the holder is at work. Whatever keeps
    it from that, it is tried again the next time: without signs the lock would be another's."""
    done = threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            with suppress(Exception):
                sign()

    thread = threading.Thread(target=beat, name="lock", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _process() -> str:
    table = _table()
    return f"pid {os.getpid()}" + (f" of {table}" if table else "")


def _table() -> str:
    """Which table of processes ours is in, by the boot and the namespace of pids; "" where neither
    is told. A hostname is not enough: containers and clones share one, and no processes."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return ""
    return hashlib.sha256(f"{boot} {namespace}".encode()).hexdigest()[:8]
