"""Writes files: those that a user asked for, and deployctl's own records.

A user's (reports, rendered folders, recommendations) are text, and folders above them are made.
Records are for their owner alone, whole or absent, and outlive a power cut.
"""

import errno
import os
import stat
import sys
from contextlib import suppress
from pathlib import Path

from deployctl.errors import StateError

# Half of a surrogate pair, which UTF-8 cannot hold, is no reason to lose a report.
ODD = "backslashreplace"
# Nothing can be put in a file's place: it is a mount point (of a container, say), or its folder is
# another's or read-only. The file itself may be written all the same.
_IN_PLACE = {errno.EBUSY, errno.EACCES, errno.EPERM, errno.EROFS}
_HINTS = {
    errno.ENOSPC: "the disk is full: free space, or set DEPLOYCTL_STATE_DIR to another disk",
    errno.EDQUOT: "the disk quota is used up: free space, or set DEPLOYCTL_STATE_DIR",
    errno.EROFS: "the disk is read-only: set DEPLOYCTL_STATE_DIR to a writable folder",
    errno.EACCES: "run as the user who owns it, or set DEPLOYCTL_STATE_DIR",
    errno.EPERM: "run as the user who owns it, or set DEPLOYCTL_STATE_DIR",
    errno.ENOTDIR: "a file is where a folder should be: move it away",
    errno.EFBIG: "the file-size limit (ulimit -f) is too low for deployctl's records",
}


def write_text(path: Path, text: str, *, what: str = "the report", hint: str | None = None) -> None:
    """Writes a file whole or not at all, and the folders above it that are missing.

    The old file stays until the new one, with its permissions, is complete. What is no plain file
    (a link, a pipe, a device), is another user's or cannot be replaced is written as it comes, and
    stays what it is. `what` names the file in the error.

    Raises:
        StateError: the disk is full, or neither the file nor its folder is writable.
    """
    try:
        if _is_to_stay(path):
            _write_in_place(path, text)
        else:
            _replace_or_write(path, text)
    except OSError as error:
        raise StateError(
            f"{what} could not be written: {error.strerror}", where=str(path), hint=hint
        ) from error


def _is_to_stay(path: Path) -> bool:
    """Whether another file in its place would not be the same: `/dev/stdout` is a link."""
    if path.is_symlink() or not path.exists():
        return path.is_symlink()
    another_s = path.stat().st_uid != os.geteuid()
    return not path.is_file() or (another_s and os.access(path, os.W_OK))


def _replace_or_write(path: Path, text: str) -> None:
    mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else None
    try:
        replace_text(path, text, mode=mode)
    except OSError as error:
        if mode is None or error.errno not in _IN_PLACE:
            raise
        _write_in_place(path, text)


def _write_in_place(path: Path, text: str) -> None:
    descriptor = _standard_output(path)
    if descriptor is None:
        path.write_text(text, encoding="utf-8", errors=ODD)
        return
    with os.fdopen(descriptor, "w", encoding="utf-8", errors=ODD) as stream:
        stream.write(text)


def _standard_output(path: Path) -> int | None:
    """A copy of its descriptor, where the path leads to it. Opened anew, a file that a shell sends
    it to would begin anew too: what is printed and what is written would lie over one another."""
    with suppress(OSError):
        if os.path.samestat(path.stat(), os.fstat(1)):
            sys.stdout.flush()
            return os.dup(1)
    return None


def replace_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Writes a file whole, or leaves the old one. `mode`: its permissions, else the umask's.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.unlink(missing_ok=True)  # of a process that had our number, or planted
        with temporary.open("x", encoding="utf-8", errors=ODD) as stream:
            stream.write(text)
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def state_error(doing: str, where: Path, error: OSError) -> StateError:
    """Turns an OSError on deployctl's own files into an error with a hint."""
    reason = error.strerror or type(error).__name__
    return StateError(
        f"cannot {doing}: {reason}",
        where=str(where),
        hint=_HINTS.get(error.errno or 0, "check the disk and the folder's permissions"),
    )


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it that are missing, for the owner alone (0700).

    Raises:
        StateError: it cannot be made.
    """
    try:
        for level in (*reversed(folder.parents), folder):
            if not level.is_dir():  # `parents=True` would give those above the umask's mode
                level.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise state_error("make the folder", folder, error) from error


def write_private(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Writes a file so that a reader, or a crash, meets the old or the new, never a part.

    Raises:
        StateError: the disk is full or the folder is not writable; the old content stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    try:
        descriptor = os.open(temporary, flags, 0o600)
        try:
            view = memoryview(content)
            while view:
                view = view[os.write(descriptor, view) :]
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise state_error("write", path, error) from error


def _sync_folder(folder: Path) -> None:
    """Makes the rename itself last through a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
