"""A token of the engine's own, made anew at each start, with which what watches over it from
inside its container may ask the operator's routes: no Secret has to hold it.
"""

import hmac
import os
import secrets
from pathlib import Path

from deployctl_door import files

LARGEST = 4096  # bytes of the token's file


def make(path: Path) -> None:
    """Writes a new token, for the engine's user alone.

    Raises:
        OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_urlsafe(32))


def read(path: Path | None) -> str | None:
    """The token; None where none was made."""
    if path is None:
        return None
    try:
        return files.read(path, LARGEST).decode("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def shown(presented: str, token: str | None) -> bool:
    """Whether that is the token; nothing is, where there is none."""
    return token is not None and hmac.compare_digest(
        presented.encode("latin-1", "replace"), token.encode()
    )
