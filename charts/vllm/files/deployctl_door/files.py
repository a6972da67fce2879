"""Reads a file that somebody put where the door looks: never waits for it, and never reads more
than belongs there.
"""

import errno
import os
import stat
from pathlib import Path


def read(path: Path, most: int) -> bytes:
    """What a regular file holds, up to one byte more than `most`.

    Raises:
        OSError: it cannot be read, or is none: of a pipe the door would wait for a writer.
    """
    # A pipe's end is opened at once, too, with nobody at the other.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        with open(descriptor, "rb", closefd=False) as file:
            return file.read(most + 1)
    finally:
        os.close(descriptor)
