"""The keys of a folder as they are now: its files are read again when they change.

Each file stands for itself: one that goes missing, or cannot be read, or is of a newer version,
counts as it did when it could last be read. So who could come in before still can, a key that is
revoked in one file is out though another is damaged, and nobody comes in who should not.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from deployctl_door.keys import FILES, Contents, KeyRing, KeysError, read_file, ring

CHECK_S = 0.25  # how often the files are looked at: a revoked key works no longer than that
AGAIN_S = 2.0  # how often one that could not be read is tried again, though it has not changed
# A file that is there, and could not be read yet: it may hold keys, so that they are needed.
_UNREAD = Contents(((), frozenset()), "", "")


class KeyFolder:
    """The key ring of a folder. `complain` is told what is wrong, once.

    Raises:
        KeysError: without keys that can be read there is no door.
    """

    def __init__(
        self,
        folder: Path,
        complain: Callable[[str], None],
        *,
        keyless: bool = False,
        processes: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._complain = complain
        self._keyless = keyless
        self._processes = processes
        self._clock = clock
        self._told = ""
        self._seen = _marks(folder)
        self._contents = Contents(*(read_file(folder / name) for name in FILES))
        self._ring = self._together()
        self._checked = self._read = clock()

    @property
    def stale(self) -> bool:
        """Whether a file could not be read the last time, so that the keys before count."""
        return bool(self._told)

    def now(self) -> KeyRing:
        """The ring; its files are looked at again after CHECK_S."""
        now = self._clock()
        if now - self._checked >= CHECK_S:
            self._checked = now
            marks = _marks(self._folder)
            if marks != self._seen or (self._told and now - self._read >= AGAIN_S):
                self._seen, self._read = marks, now
                self._look()
        return self._ring

    def _look(self) -> None:
        """Reads the files, and takes over of them what can be read."""
        wrong = []
        contents: list[Any] = list(self._contents)
        for place, name in enumerate(FILES):
            try:
                found = read_file(self._folder / name)
                if found is None and contents[place] is not None:
                    raise KeysError(f"{self._folder / name}: is gone")
                contents[place] = found
            except KeysError as error:
                wrong.append(str(error))
                if contents[place] is None:
                    contents[place] = _UNREAD[place]
        self._contents = Contents(*contents)
        try:
            self._ring = self._together()
        except KeysError as error:
            wrong.append(str(error))
            self._ring = self._as_before()
        told = "; ".join(wrong)
        if told and told != self._told:
            kept = "the keys read before go on being valid"
            none = "nobody but the operator is let in"
            self._complain(f"{told}; {kept if self._ring.keys else none}")
        self._told = told

    def _together(self) -> KeyRing:
        return ring(self._folder, self._contents, keyless=self._keyless, processes=self._processes)

    def _as_before(self) -> KeyRing:
        """The keys so far, without those revoked now; where none were needed, they are now."""
        _, revoked = self._contents.named or ((), frozenset[str]())
        keys = tuple(key for key in self._ring.keys if key.name not in revoked)
        return KeyRing(keys, self._contents.operator_token)


def _marks(folder: Path) -> dict[str, Any]:
    """What changes when a file does, also when a mounted Secret is exchanged as a whole."""
    marks: dict[str, Any] = {}
    for name in FILES:
        try:
            stat = (folder / name).stat()
        except OSError as error:
            marks[name] = error.errno
        else:
            marks[name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return marks
