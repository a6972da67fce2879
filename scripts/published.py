"""What a registry has of a version already, before it is published: a version is published once.

    scripts/published.py image REFERENCE COMMIT    an image that was built of that commit
    scripts/published.py chart REFERENCE FILE      a chart's very archive

Prints the digest where it is there and the same: then it is signed, and not published again. Prints
nothing where nothing is there. Exit code 1 where another one is there, as of a tag that was moved,
or the registry does not say. What it asks is `docker buildx imagetools`, logged in or not.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

REVISION = "org.opencontainers.image.revision"  # an annotation, which release.yml gives
_WITHIN_S = 120


class RefusedError(Exception):
    """It is not to be published."""


def manifest(reference: str) -> bytes | None:
    """The manifest or index of a reference as the registry has it; None where there is none.

    Raises:
        RefusedError: the registry does not say.
    """
    words = ["docker", "buildx", "imagetools", "inspect", "--raw", reference]
    try:
        done = subprocess.run(words, capture_output=True, timeout=_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RefusedError(f"{reference}: the registry was not asked: {error}") from error
    if done.returncode == 0:
        return done.stdout
    said = done.stderr.decode("utf-8", "replace").strip()
    if said.endswith("not found"):
        return None
    raise RefusedError(f"{reference}: the registry does not say whether it is there: {said}")


def same(kind: str, found: bytes, ours: str) -> bool:
    """Whether a manifest is of our commit (image) or holds our file (chart)."""
    try:
        document = json.loads(found)
        if kind == "image":
            return bool(document["annotations"][REVISION] == ours)
        digest = hashlib.sha256(Path(ours).read_bytes()).hexdigest()
        return [layer["digest"] for layer in document["layers"]] == [f"sha256:{digest}"]
    except (ValueError, KeyError, TypeError):
        return False


def published(kind: str, reference: str, ours: str) -> str:
    """The digest of what is there and the same; empty where nothing is.

    Raises:
        RefusedError: another one is there, or the registry does not say.
    """
    found = manifest(reference)
    if found is None:
        return ""
    digest = f"sha256:{hashlib.sha256(found).hexdigest()}"
    if not same(kind, found, ours):
        raise RefusedError(
            f"{reference} is there already, as {digest}, and is another one: a version is "
            "published once. Give what changed the next version."
        )
    return digest


def main(words: list[str]) -> int:
    """The command."""
    if len(words) != 3 or words[0] not in ("image", "chart"):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        digest = published(*words)
    except RefusedError as error:
        # A line of a command to the runner: what a registry said begins no other.
        said = str(error).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        print(f"::error title=release::{said}", file=sys.stderr)
        return 1
    if digest:
        print(digest)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
