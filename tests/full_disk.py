"""A disk that is full from a write on."""

import errno
import os
from pathlib import Path


class Disk:
    """Counts what is written to it, and is full from the `last` of these on."""

    def __init__(self, monkeypatch):
        self.written, self.last = 0, None
        for owner, name in (
            *((os, name) for name in ("write", "pwrite", "fsync", "open")),
            *((Path, name) for name in ("replace", "mkdir")),
        ):
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name), name))

    def _guarded(self, real, name):
        def guarded(*given, **more):
            if name != "open" or (len(given) > 1 and given[1] & os.O_CREAT):
                self.written += 1
                if self.last is not None and self.written >= self.last:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(given[0]))
            return real(*given, **more)

        return guarded

    def fill(self, after):
        self.written, self.last = 0, after

    def free(self):
        self.last = None
