"""One deployctl at a time on a service; the second is told who holds the lock."""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from deployctl.errors import LockedError
from deployctl.targets.atomic import make_folder, state_error


@contextmanager
def lock(folder: Path, service: str, command: str) -> Iterator[None]:
    """Holds `folder/lock` for the time of a change. The kernel frees it if we are killed.

    Raises:
        LockedError: another deployctl holds it; says which, and since when.
        StateError: the lock file cannot be made.
    """
    make_folder(folder)
    path = folder / "lock"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise state_error("open the lock", path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _locked(descriptor, path, service) from error
        except OSError as error:
            raise state_error("lock", path, error) from error
        _sign(descriptor, command)
        yield
    finally:
        os.close(descriptor)


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
