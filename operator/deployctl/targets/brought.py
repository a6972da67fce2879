"""What deployctl itself brought onto a machine, and may remove again: a line each, in the state
folder. Records of releases go in time, and what they needed stays on the disk.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from deployctl.files import state_error, write_private
from deployctl.targets import lockfile

_FILE, _LOCK = "brought.jsonl", "brought.lock"
_MOST = 4 << 20  # bytes that are read; a line has a hundred or two
_KEPT = 1000  # lines: what came before the last thousand others, deployctl knows no more of
_PATIENCE = lockfile.Patience(20.0)


class Brought(NamedTuple):
    """What was brought, and where to."""

    sort: Literal["model", "image"]
    name: str  # an image's; a model's, with @COMMIT
    engine: str = ""  # of an image: the Docker engine's own id; a model is in this machine's cache


def note(state_dir: Path, brought: Brought, now: Callable[[], float] = time.time) -> None:
    """Notes it, also of what came before: what was removed may have come again.

    Raises:
        LockedError: another deployctl has been at it for long.
        StateError: the disk is full or not writable; what was noted before stays.
    """
    with lockfile.held(state_dir / _LOCK, "what deployctl has brought is", _PATIENCE):
        found = read(state_dir)
        found.pop(brought, None)  # the last that came is the last line
        last = [*found.items(), (brought, now())][-_KEPT:]
        lines = (json.dumps([each.sort, each.name, came, each.engine]) for each, came in last)
        write_private(state_dir / _FILE, "".join(f"{line}\n" for line in lines).encode())


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
        engine = rest[1] if len(rest) > 1 else ""
        if sort in ("model", "image") and isinstance(name, str) and isinstance(engine, str):
            found[Brought(sort, name, engine)] = came
    return found
