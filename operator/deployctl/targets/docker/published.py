"""What of a service's keys its engine was last given from a state folder, by the digests of their
files: what others have changed since is told by them from what was changed here.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from deployctl.files import write_private
from deployctl.targets import keys

PUBLISHED = "published"  # the file in a service's folder
NAMES = (keys.API_KEY, keys.OPERATOR_TOKEN, keys.KEYS)


def note(folder: Path, files: Mapping[str, bytes]) -> None:
    """Notes what the engine was given. `folder` is the service's.

    Raises:
        StateError: it cannot be written.
    """
    write_private(folder / PUBLISHED, json.dumps(digests(files)).encode())


def told(text: str | None, there: Mapping[str, bytes]) -> dict[str, str] | None:
    """Digests of what the engine was given last from here, which has now what is `there`; None
    where it was given nothing."""
    if text is None:
        return None
    if text == _former_digest(there):
        return digests(there)
    try:
        noted = json.loads(text)
    except ValueError:
        return {}
    return noted if isinstance(noted, dict) else {}


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Of each file that is there."""
    return {name: hashlib.sha256(files[name]).hexdigest() for name in NAMES if name in files}


def _former_digest(files: Mapping[str, bytes]) -> str:
    """The one of all files that was noted in place of one for each."""
    digest = hashlib.sha256()
    for name in NAMES:
        content = files.get(name)
        digest.update(f"{name} {-1 if content is None else len(content)}\n".encode())
        digest.update(content or b"")
    return digest.hexdigest()
