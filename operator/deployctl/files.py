"""Writes the text files that a user asked for: reports, rendered folders, recommendations.

deployctl's own records, which are private and have to outlive a power cut, are written by
`targets.atomic`.
"""

import os
from contextlib import suppress
from pathlib import Path

from deployctl.errors import StateError


def write_text(
    path: Path, text: str, *, what: str = "the report", hint: str | None = None, whole: bool = False
) -> None:
    """Writes a file, and the folders above it that are missing. `what` names it in the error.

    `whole`: the old file stays until the new one is complete (not for pipes and devices).

    Raises:
        StateError: the disk is full, or the folder is not writable.
    """
    try:
        if whole:
            replace_text(path, text)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8", errors="replace")
    except OSError as error:
        raise StateError(
            f"{what} could not be written: {error.strerror}", where=str(path), hint=hint
        ) from error


def replace_text(path: Path, text: str, *, mode: int | None = None) -> None:
    """Writes a file whole, or leaves the old one. `mode`: its permissions, else the umask's.

    Raises:
        OSError: the disk is full, or the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text, encoding="utf-8", errors="replace")
        if mode is not None:
            temporary.chmod(mode)
        temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
