"""Tells a folder from a Hub id, and refuses unsafe names. No I/O but `exists`."""

import re
from pathlib import Path
from typing import NamedTuple

from deployctl.errors import ModelError, NotFoundError
from deployctl.given import expanded

# What the Hub itself allows: one or two parts of letters, digits, dots, dashes, underscores.
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
_HUB_ID = re.compile(rf"{_PART}(?:/{_PART})?")
_REVISION = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._/-]*[A-Za-z0-9_])?")
MAX_ID = 96  # characters, the Hub's own limit
MAX_PATH = 4096  # bytes, Linux's limit
_HINT = "give a folder (./name), or a Hub id such as Qwen/Qwen2.5-7B-Instruct-AWQ"


class HubId(NamedTuple):
    """A repository on the Hub."""

    name: str
    revision: str | None


def locate(source: str, revision: str | None = None) -> Path | HubId:
    """Says where `source` points: whatever exists, or begins like a path, is a folder.

    Raises:
        ModelError: neither a folder that exists nor a name the Hub could have.
    """
    shown = _shown(source)
    if not source or not source.isprintable():
        raise ModelError("the model's name holds unprintable characters", where=shown, hint=_HINT)
    if source.startswith(("/", "./", "../", "~")) or source in (".", "..") or _exists(source):
        return _folder(source, shown, revision)
    for prefix in ("https://", "http://", "hf.co/", "huggingface.co/"):
        if source.startswith(prefix):
            parts = source.split("/")[-2:]
            raise ModelError(
                "a web address is not a Hub id",
                where=shown,
                hint=f"write the last two parts: --model {_shown('/'.join(parts))}",
            )
    if len(source) > MAX_ID:
        raise ModelError(
            f"a Hub id has {MAX_ID} characters at most; this has {len(source)}",
            where=shown,
            hint=_HINT,
        )
    odd = ".." in source or "--" in source or source.endswith(".git")
    if odd or not _HUB_ID.fullmatch(source):
        raise ModelError("neither an existing folder nor a Hub id", where=shown, hint=_HINT)
    return HubId(source, check_revision(revision))


def check_revision(revision: str | None) -> str | None:
    """Returns the revision if it can be a branch, tag or commit.

    Raises:
        ModelError: it cannot.
    """
    if revision is None:
        return None
    bad = len(revision) > 255 or ".." in revision or "//" in revision
    if bad or not _REVISION.fullmatch(revision):
        raise ModelError(
            "this is not a branch, tag or commit",
            where=f"revision: {_shown(revision)}",
            hint="give a name such as main or v1.0, or a commit's 40 hex digits",
        )
    return revision


def _folder(source: str, shown: str, revision: str | None) -> Path:
    if len(source.encode("utf-8", "replace")) > MAX_PATH:
        raise ModelError("the path is longer than the system allows", where=shown)
    if revision is not None:
        raise ModelError(
            "a folder has no revisions",
            where=f"revision: {_shown(revision)}",
            hint="leave the revision out, or give a Hub id as the model",
        )
    try:
        return expanded(Path(source)).absolute()
    except NotFoundError as error:
        raise ModelError(error.message, where=shown, hint=error.hint) from error


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):
        return False


def _shown(text: str) -> str:
    """A name as an error may show it: quoted where it is odd, and never a screenful."""
    cut = text if len(text) <= 100 else text[:97] + "..."
    return cut if cut and re.fullmatch(r"[\w./~@:+-]+", cut) else ascii(cut)
