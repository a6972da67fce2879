"""Where a checkpoint's files belong, what of them is there, and whether it is whole."""

import hashlib
import json
import os
import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

_CHUNK = 8 * 1024 * 1024
_RECORD = ".deployctl-verified.json"  # digests that were right, by file: size, time and inode
_DIGEST = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


class DownloadError(Exception):
    """What went wrong, as a line of the answer says it."""

    def __init__(self, kind: str, **more: Any) -> None:
        super().__init__(kind)
        self.line = {"event": "error", "kind": kind, **more}


class Destination:
    """Where files belong: a repository of the Hub's cache, or a plain folder."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.commit, self.plain = job["commit"], bool(job.get("folder"))
        if self.plain:
            self.root = Path(job["folder"])
            self.blobs = self.root / ".deployctl"
        else:
            from huggingface_hub import constants

            name = "models--" + job["model"].replace("/", "--")
            self.root = Path(job.get("cache") or constants.HF_HUB_CACHE) / name
            self.blobs = self.root / "blobs"
        self._record = self.root / _RECORD
        self._lock = threading.Lock()
        self._known: dict[str, list[int]] = {}
        with suppress(OSError, ValueError):
            self._known = dict(json.loads(self._record.read_text()))

    @property
    def path(self) -> Path:
        """What a program that wants the model is given."""
        return self.root if self.plain else self.root / "snapshots" / self.commit

    def file(self, name: str) -> Path:
        """A file's place."""
        return self.path / name

    def store(self, file: dict[str, Any]) -> Path:
        """Where its bytes are: in the cache below the name of their digest."""
        return self.file(file["name"]) if self.plain else self.blobs / file["digest"]

    def partial(self, file: dict[str, Any]) -> Path:
        """What has come of it."""
        return self.blobs / f"{file['digest']}.deployctl.incomplete"

    def is_whole(self, path: Path, file: dict[str, Any]) -> bool:
        """Whether a file is there as the Hub has it. What was hashed once is not hashed again."""
        try:
            info = path.stat()
        except OSError:
            return False
        if info.st_size != file["size"]:
            return False
        # The cache names a file's bytes after their digest.
        digest = file["digest"] or path.resolve().name
        if not is_digest(digest) or self._known.get(digest) == _mark(info):
            return True
        if digest_of(path, digest) != digest:
            return False
        self.remember(path, digest)
        return True

    def remember(self, path: Path, digest: str) -> None:
        """Keeps in mind that a file's bytes have their digest."""
        if not is_digest(digest):
            return
        with self._lock, suppress(OSError):  # a read-only cache is hashed each time
            self._known[digest] = _mark(path.stat())
            temporary = self._record.with_name(f"{_RECORD}.{os.getpid()}")
            temporary.write_text(json.dumps(self._known))
            temporary.replace(self._record)

    def link(self, file: dict[str, Any]) -> None:
        """Puts a file that is whole where the engine looks for it."""
        if self.plain:
            return
        pointer, blob = self.file(file["name"]), self.store(file)
        pointer.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            pointer.unlink()
        with suppress(FileExistsError):  # another fetch was faster
            pointer.symlink_to(os.path.relpath(blob, pointer.parent))

    def refer(self, revision: str | None) -> None:
        """Says which commit a branch is, for whoever looks without the network."""
        if not self.plain and revision != self.commit:
            reference = self.root / "refs" / (revision or "main")
            reference.parent.mkdir(parents=True, exist_ok=True)
            reference.write_text(self.commit)


def _mark(info: os.stat_result) -> list[int]:
    """What changes when a file's bytes do."""
    return [info.st_size, info.st_mtime_ns, info.st_ino]


def is_digest(text: str) -> bool:
    """Whether it is the digest of a large file (SHA-256) or of a small one (git's SHA-1)."""
    return _DIGEST.fullmatch(text) is not None


def digest_of(path: Path, like: str) -> str:
    """SHA-256 in hex; or git's SHA-1 of a blob, where `like` has its length."""
    if len(like) == 40:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
    else:
        digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
