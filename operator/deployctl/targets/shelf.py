"""Where the records of a target are kept: as files of this machine, or elsewhere."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from deployctl.files import make_folder, state_error, write_private


class Stored(NamedTuple):
    """A document that is kept: its revision, a place to name, and how to read it.

    `read` raises StateError where it cannot be read, and ValueError where nothing is in it.
    """

    number: int
    where: str
    read: Callable[[], bytes]


class Shelf(Protocol):
    """The records of one target. Methods raise TargetError subclasses and nothing else."""

    def folder(self, service: str) -> Path:
        """The folder of a service on this machine, for its lock, keys and logs."""

    def services(self) -> list[str]:
        """Every service that has a record: of this state folder, where others have some too."""

    def others(self) -> list[str]:
        """Every other that has a record on the target."""

    def stored(self, service: str) -> list[Stored]:
        """The documents of a service, oldest first."""

    def write(self, service: str, number: int, content: bytes) -> None:
        """Writes one, whole or not at all."""

    def set_aside(self, service: str, number: int) -> str:
        """Takes a damaged one out of the way; returns where it is now."""

    def has(self, service: str) -> bool:
        """Whether there is any record of a service, or a place for one."""

    def remove(self, service: str) -> None:
        """Removes every record of a service, and its folder on this machine."""


_NAME = re.compile(r"[0-9]{6,18}\.json")


class FileShelf:
    """`SERVICE/releases/000001.json` and so on, below a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, service: str) -> Path:
        """The folder of a service."""
        return self._folder / service

    def services(self) -> list[str]:
        """Every service that has a folder of records.

        Raises:
            StateError: the folder cannot be read.
        """
        try:
            return [f.name for f in self._folder.iterdir() if (f / "releases").is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise state_error("read the records", self._folder, error) from error

    def others(self) -> list[str]:
        """None: the folder is the state folder's own."""
        return []

    def stored(self, service: str) -> list[Stored]:
        """The documents of a service, oldest first.

        Raises:
            StateError: the folder cannot be read.
        """
        folder = self._folder / service / "releases"
        try:
            paths = [p for p in folder.iterdir() if _NAME.fullmatch(p.name)]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise state_error("read the records", folder, error) from error
        return [Stored(int(path.stem), str(path), partial(_read, path)) for path in sorted(paths)]

    def write(self, service: str, number: int, content: bytes) -> None:
        """Writes one, whole or not at all.

        Raises:
            StateError: the disk is full or not writable; the former content stays.
        """
        path = self._path(service, number)
        make_folder(path.parent)
        write_private(path, content)

    def set_aside(self, service: str, number: int) -> str:
        """Renames a damaged one.

        Raises:
            StateError: it cannot be renamed.
        """
        path = self._path(service, number)
        aside = path.with_name(path.name + ".damaged")
        try:
            path.replace(aside)
        except OSError as error:
            raise state_error("set aside", path, error) from error
        return str(aside)

    def has(self, service: str) -> bool:
        """Whether it has a folder of records."""
        return (self._folder / service / "releases").is_dir()

    def remove(self, service: str) -> None:
        """Removes its folder.

        Raises:
            StateError: it cannot be removed.
        """
        remove_folder(self._folder / service)

    def _path(self, service: str, number: int) -> Path:
        return self._folder / service / "releases" / f"{number:06d}.json"


def remove_folder(folder: Path) -> None:
    """Removes the folder of a service; fine where there is none.

    Raises:
        StateError: it cannot be removed.
    """
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except OSError as error:
        raise state_error("remove", folder, error) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise state_error("read the record", path, error) from error
