"""What a change to a service is wrapped in: its lock, and a say over Ctrl-C and kind signals."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from deployctl.errors import LockedError
from deployctl.targets import lockfile

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


@contextmanager
def lock(folder: Path, service: str, command: str) -> Iterator[None]:
    """Holds `folder/lock` for the time of a change. The kernel frees it if we are killed, where a
    lock that is the presence of a file would stay; and it says who holds it.

    Raises:
        LockedError: another deployctl holds it; says which, and since when.
        StateError: the lock file cannot be made.
    """
    path = folder / "lock"
    with lockfile.opened(path) as descriptor:
        if not lockfile.take(descriptor, path):
            raise _locked(descriptor, path, service)
        _sign(descriptor, command)
        yield


def _sign(descriptor: int, command: str) -> None:
    """Writes who holds it. On a full disk the lock holds all the same, unsigned."""
    holder = {
        "pid": os.getpid(),
        "command": command,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)
    except OSError:
        return


def _locked(descriptor: int, path: Path, service: str) -> LockedError:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        who = f"{holder['command']} (pid {holder['pid']}, since {holder['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another deployctl"
    return LockedError(
        f"{service} is being changed by {who}",
        where=str(path),
        hint="wait until it ends, or stop it with Ctrl-C; it cleans up after itself",
    )


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM (a cancelled pipeline) and SIGHUP (a closed terminal) act as Ctrl-C does."""
    with _handling(_interrupt):
        yield


@contextmanager
def shielded(say: Callable[[], None]) -> Iterator[None]:
    """Work here is not interrupted; `say` tells the user so if they try.

    The handler is a function and not SIG_IGN, which programs started here would inherit.
    """
    with _handling(lambda number, frame: say()):
        yield


@contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in _STOP}
    for number in _STOP:
        # nohup and the like have said that this signal is none of ours
        if former[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in former.items():
            if old is not None:
                signal.signal(number, old)
