"""What deployctl itself brought onto a machine, and may remove again: a line each, in the state
folder. Records of releases go in time, and what they needed stays on the disk.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from deployctl.files import make_folder, state_error

_FILE = "brought.jsonl"
_MOST = 4 << 20  # bytes that are read; a line has a hundred

Brought = tuple[Literal["model", "image"], str]  # an image's name; a model's, with @COMMIT


def note(state_dir: Path, brought: Brought, now: Callable[[], float] = time.time) -> None:
    """Adds a line: what was removed may have come again.

    Raises:
        StateError: the disk is full or not writable.
    """
    path = state_dir / _FILE
    make_folder(state_dir)
    try:
        with path.open("ab") as stream:  # one write: of two at once neither loses its line
            stream.write(f"{json.dumps([*brought, now()])}\n".encode())
    except OSError as error:
        raise state_error("write", path, error) from error


def read(state_dir: Path) -> dict[Brought, float]:
    """All of them, and when each came last (Unix time); of a line that is damaged it is as if
    nothing had been brought.

    Raises:
        StateError: the file cannot be read.
    """
    path = state_dir / _FILE
    try:
        with path.open("rb") as stream:
            lines = stream.read(_MOST).splitlines()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise state_error("read", path, error) from error
    found: dict[Brought, float] = {}
    for line in lines:
        try:
            sort, name, *rest = json.loads(line)
            came = float(rest[0]) if rest else 0.0
        except (ValueError, TypeError, RecursionError):
            continue
        if sort in ("model", "image") and isinstance(name, str):
            found[sort, name] = came
    return found
