"""Files that a user names, read whole and never without end: no pipe that nobody writes to, no
device, no more than a bound.
"""

import os
import stat
from pathlib import Path

LARGEST = 1024 * 1024 * 1024  # bytes: ShareGPT's published file has 0.7 GB


def read(path: Path, limit: int = LARGEST) -> str:
    """Returns a whole file of UTF-8 text, without a byte order mark.

    Raises:
        ValueError: it cannot be read, is not text, or has more than `limit` bytes; says which.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as stream:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("not a plain file")
            content = stream.read(limit + 1)
    except OSError as error:
        raise ValueError(error.strerror or "cannot be read") from error
    if len(content) > limit:
        raise ValueError(f"larger than {limit >> 20} MiB")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError("not text") from error
