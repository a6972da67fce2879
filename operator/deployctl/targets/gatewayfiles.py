"""The files of a gateway, wherever its proxy runs: what a target must be able to do with them, and
how that is done in a folder of this machine.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from deployctl.events import Tell
from deployctl.files import make_folder, state_error, write_private
from deployctl.targets import lockfile
from deployctl.targets.holder import Check
from deployctl.targets.lockfile import Patience

PATIENCE_S = 600.0  # for its lock: whoever has it starts the proxy anew at most


class GatewayFiles(Protocol):
    """Files by their path below the gateway's folder. Methods raise TargetError subclasses."""

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""

    def below(self, folder: str) -> dict[str, str]:
        """The texts of all files in a folder, by name, those aside that are being written."""

    def write(self, path: str, text: str) -> None:
        """Puts a file in the place of the one that is there: who reads meanwhile has either."""

    def move(self, path: str, to: str) -> None:
        """Puts one in another's place; fine where there is none."""

    def remove(self, path: str) -> None:
        """Removes one, or those that match a pattern; fine where there is none."""

    def where(self, path: str) -> str:
        """Where a file is, for a person."""

    def here(self, path: str) -> Path | None:
        """A file, or a copy of it, on this machine; None where there is none."""

    def locked(self, tell: Tell) -> AbstractContextManager[Check]:
        """Nobody else who changes the gateway does so meanwhile; waits for whoever does, and says
        so. What is yielded refuses to go on where that is over."""


class FolderFiles:
    """In a folder of this machine, for its owner alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, path: str) -> str | None:
        """The text of a file; None where there is none."""
        try:
            return (self._folder / path).read_text("utf-8", errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise state_error("read", self._folder / path, error) from error

    def below(self, folder: str) -> dict[str, str]:
        """The texts of all files in a folder, by name."""
        names = sorted(each.name for each in (self._folder / folder).glob("[!.]*"))
        texts = {name: self.read(f"{folder}/{name}") for name in names}
        return {name: text for name, text in texts.items() if text is not None}

    def write(self, path: str, text: str) -> None:
        """Puts a file in the place of the one that is there."""
        make_folder((self._folder / path).parent)
        write_private(self._folder / path, text.encode())

    def move(self, path: str, to: str) -> None:
        """Puts one in another's place."""
        try:
            (self._folder / path).replace(self._folder / to)
        except FileNotFoundError:
            return
        except OSError as error:
            raise state_error("write", self._folder / to, error) from error

    def remove(self, path: str) -> None:
        """Removes one, or those that match a pattern."""
        try:
            for file in self._folder.glob(path):
                file.unlink(missing_ok=True)
        except OSError as error:
            raise state_error("remove", self._folder / path, error) from error

    def where(self, path: str) -> str:
        """Its path."""
        return str(self._folder / path)

    def here(self, path: str) -> Path:
        """It is here, or will be: a certificate is made once the first client asks."""
        return self._folder / path

    @contextmanager
    def locked(self, tell: Tell) -> Iterator[Check]:
        """By a lock file, which nobody can take away."""
        file, what = self._folder / "lock", "the gateway is"
        with lockfile.held(file, what, Patience(PATIENCE_S, tell)):
            yield lambda: None
