"""A file whose lock the kernel frees when its holder is killed, where a lock that is the presence
of a file would stay.
"""

import fcntl
import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from deployctl.errors import LockedError
from deployctl.events import Event, Tell, silent
from deployctl.files import make_folder, state_error

_POLL_S = 0.05
_TOLD_S = 2.0  # for a lock that is held shortly, before it is said that somebody has it


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """The descriptor of a lock file, made where there is none; whoever closes it lets go.

    Raises:
        StateError: it cannot be made.
    """
    make_folder(path.parent)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise state_error("open the lock", path, error) from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def take(descriptor: int, path: Path) -> bool:
    """Whether the lock is ours now, without waiting. `path` is for the error.

    Raises:
        StateError: there can be no lock on it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise state_error("lock", path, error) from error
    return True


class Patience(NamedTuple):
    """How long a lock that somebody else has is waited for, and who is told."""

    seconds: float = 0.0
    tell: Tell = silent
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def taken(descriptor: int, path: Path, what: str, waits: Patience) -> bool:
    """Whether the lock is ours now, having waited for it, and said so; `what` is being changed by
    whoever has it.

    Raises:
        StateError: there can be no lock on it.
    """
    begun = waits.clock()
    deadline, told = begun + waits.seconds, begun + _TOLD_S
    while not take(descriptor, path):
        if waits.clock() >= deadline:
            return False
        if waits.clock() >= told:
            waits.tell(Event("note", f"waiting: {what} being changed by another deployctl"))
            told = math.inf
        waits.sleep(_POLL_S)
    return True


@contextmanager
def held(path: Path, what: str, waits: Patience) -> Iterator[None]:
    """Holds a lock, having waited for it, and said so; `what` is being changed by whoever has it.

    Raises:
        LockedError: somebody else has held it for as long as `waits` says.
        StateError: the lock file cannot be made.
    """
    with opened(path) as descriptor:
        if not taken(descriptor, path, what, waits):
            raise LockedError(
                f"{what} being changed by another deployctl",
                where=str(path),
                hint="wait until it ends, and try again",
            )
        yield
