"""How many requests of users have come in and not ended: what a drain waits for.

Of an engine with several API-server processes, each keeps its number in a file that all of them
see, for whoever asks is answered by one of them and has to hear of all.
"""

import mmap
import os
from pathlib import Path

_WIDTH = 8  # bytes of a number


def folder(drain_file: Path) -> Path:
    """Where the processes of an engine keep their numbers: beside what begins their drain."""
    return drain_file.with_name(f"{drain_file.name}-under-way")


def forget(place: Path) -> None:
    """Empties the folder, which is made if need be: nothing is under way before a start.

    Raises:
        OSError: it cannot be written.
    """
    place.mkdir(mode=0o700, exist_ok=True)
    for file in place.iterdir():
        file.unlink()


class UnderWay:
    """The number of this process, and of all; `place` is None where there is one alone.

    Raises:
        OSError: its file cannot be written.
    """

    def __init__(self, place: Path | None = None) -> None:
        self._place = place
        self._number = 0
        self._shared: mmap.mmap | None = None
        if place is None:
            return
        place.mkdir(mode=0o700, exist_ok=True)
        descriptor = os.open(place / str(os.getpid()), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.truncate(descriptor, _WIDTH)
            self._shared = mmap.mmap(descriptor, _WIDTH)
        finally:
            os.close(descriptor)

    def add(self, number: int) -> None:
        """So many came in; below 0: have ended."""
        self._number += number
        if self._shared is not None:
            self._shared[:] = self._number.to_bytes(_WIDTH, "little")

    def total(self) -> int:
        """Those of all processes that live."""
        if self._place is None:
            return self._number
        total = 0
        for file in self._place.iterdir():
            if _lives(file.name):
                total += int.from_bytes(file.read_bytes(), "little")
        return total


def _lives(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except OSError as error:
        return not isinstance(error, ProcessLookupError)
    return True
