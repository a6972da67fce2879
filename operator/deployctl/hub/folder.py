"""A checkpoint's folder on this machine, read safely: no links to nowhere, no devices."""

import contextlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

from deployctl.errors import ModelError
from deployctl.hub import card
from deployctl.hub.jsonfile import too_large

MAX_FILES = 20_000
MAX_LEVELS = 3


class FolderCheckpoint:
    """A folder, or a folder of which only one GGUF file counts. Files are never all read."""

    gated = False
    files: Mapping[str, int | None]
    digests: Mapping[str, str] = {}

    def __init__(self, path: Path, *, hub_id: str | None = None, commit: str | None = None) -> None:
        """`hub_id` and `commit` are given when the folder is the Hub's own cache of them."""
        self.source = hub_id or str(path)
        self.local = hub_id is None
        self.revision = commit
        try:
            kind = path.stat().st_mode
        except OSError as error:
            raise _unreadable(error, str(path)) from error
        if stat.S_ISDIR(kind):
            self._root = path
            self.files = _list(path)
        elif stat.S_ISREG(kind) and path.suffix == ".gguf":
            self._root = path.parent
            self.files = {path.name: path.stat().st_size}
        else:
            raise ModelError(
                "this is a file, not a checkpoint's folder",
                where=str(path),
                hint="give the folder that holds config.json, or a .gguf file",
            )

    def read(self, name: str, limit: int) -> bytes:
        """Returns a whole file.

        Raises:
            ModelError: unreadable, no regular file, or more than `limit` bytes.
        """
        data = self.span(name, 0, limit + 1)
        if len(data) > limit:
            raise too_large(self.place(name), limit)
        return data

    def span(self, name: str, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start`.

        Raises:
            ModelError: unreadable, or no regular file.
        """
        where = self.place(name)
        try:
            # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
            handle = os.open(self._root / name, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(handle, "rb") as stream:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise ModelError(
                        "this is not a regular file", where=where, hint="put a plain file there"
                    )
                stream.seek(start)
                return stream.read(length)
        except OSError as error:
            raise _unreadable(error, where) from error

    def base_models(self) -> tuple[str, ...]:
        """The models that README.md names as what this one was made of."""
        if "README.md" not in self.files:
            return ()
        try:
            head = self.span("README.md", 0, card.MAX_CARD)
        except ModelError:
            return ()  # a card is no condition
        return card.base_models(card.metadata(head.decode("utf-8", "replace")))

    def place(self, name: str) -> str:
        """The file's path."""
        return str(self._root / name)


def _list(root: Path) -> dict[str, int | None]:
    """Lists regular files (links to them too, as the Hub's cache has).

    Folders inside are looked into only beside a config.json: a mistyped `..` must not walk a disk.
    """
    try:
        files, folders = _scan(root, "")
    except OSError as error:
        raise _unreadable(error, str(root)) from error
    level = 1
    while "config.json" in files and folders and level <= MAX_LEVELS:
        deeper = []
        for folder in folders:
            with contextlib.suppress(OSError):  # not needed, or it fails when it is
                more, inside = _scan(root / folder, folder + "/")
                files |= {name: size for name, size in more.items() if size is not None}
                deeper += inside
            if len(files) > MAX_FILES:
                break
        folders, level = deeper, level + 1
    if len(files) > MAX_FILES:
        raise ModelError(
            f"the folder holds more than {MAX_FILES} files",
            where=str(root),
            hint="give the checkpoint's own folder",
        )
    return dict(sorted(files.items()))


def _scan(folder: Path, prefix: str) -> tuple[dict[str, int | None], list[str]]:
    files: dict[str, int | None] = {}
    folders: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.isprintable():
                continue  # no file of a checkpoint is called so
            if not entry.is_dir():
                files[prefix + entry.name] = _size(entry)
            elif not entry.is_symlink() and not entry.name.startswith("."):
                folders.append(prefix + entry.name)
    return files, sorted(folders)


def _size(entry: "os.DirEntry[str]") -> int | None:
    """Bytes; None for a broken link or a special file, which fails only if it is needed."""
    try:
        info = entry.stat()
    except OSError:
        return None
    return info.st_size if stat.S_ISREG(info.st_mode) else None


def _unreadable(error: OSError, where: str) -> ModelError:
    if isinstance(error, FileNotFoundError):
        if Path(where).is_symlink():
            return ModelError("the link is broken", where=where, hint="download it again")
        return ModelError(
            "there is no such folder",
            where=where,
            hint="check the path; a Hub id is written without a leading . or /",
        )
    reason = (error.strerror or str(error)).lower()
    return ModelError(f"cannot be read: {reason}", where=where, hint="check its permissions")
