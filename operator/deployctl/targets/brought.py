"""What deployctl itself brought onto a machine, and may remove again: a line each, in the state
folder. Records of releases go in time, and what they needed stays on the disk.
"""

import json
from pathlib import Path
from typing import Literal

from deployctl.files import make_folder, state_error

_FILE = "brought.jsonl"
_MOST = 4 << 20  # bytes that are read; a line has a hundred

Brought = tuple[Literal["model", "image"], str]  # an image's name; a model's, with @COMMIT


def note(state_dir: Path, brought: Brought) -> None:
    """Adds a line, unless it is there.

    Raises:
        StateError: the disk is full or not writable.
    """
    if brought in read(state_dir):
        return
    path = state_dir / _FILE
    make_folder(state_dir)
    try:
        with path.open("ab") as stream:  # one write: of two at once neither loses its line
            stream.write(f"{json.dumps(list(brought))}\n".encode())
    except OSError as error:
        raise state_error("write", path, error) from error


def read(state_dir: Path) -> set[Brought]:
    """All of them; of a line that is damaged it is as if nothing had been brought.

    Raises:
        StateError: the file cannot be read.
    """
    path = state_dir / _FILE
    try:
        with path.open("rb") as stream:
            lines = stream.read(_MOST).splitlines()
    except FileNotFoundError:
        return set()
    except OSError as error:
        raise state_error("read", path, error) from error
    found: set[Brought] = set()
    for line in lines:
        try:
            sort, name = json.loads(line)
        except (ValueError, TypeError, RecursionError):
            continue
        if sort in ("model", "image") and isinstance(name, str):
            found.add((sort, name))
    return found
