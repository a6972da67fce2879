"""What a folder and a Hub repository have in common, as far as reading documents goes."""

from collections.abc import Mapping
from typing import Protocol


class Shelf(Protocol):
    """A place with a checkpoint's files. Errors of the world come out as DeployctlError."""

    @property
    def source(self) -> str:
        """The folder (absolute), or the Hub id."""
        ...

    @property
    def local(self) -> bool:
        """Whether `source` is a path on this machine."""
        ...

    @property
    def revision(self) -> str | None:
        """The commit, for the Hub."""
        ...

    @property
    def gated(self) -> bool:
        """Whether access is granted by asking."""
        ...

    @property
    def files(self) -> Mapping[str, int | None]:
        """Path inside the checkpoint -> bytes, where known."""
        ...

    def read(self, name: str, limit: int) -> bytes:
        """Returns a whole file; ModelError if it has more than `limit` bytes."""
        ...

    def span(self, name: str, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start`; fewer only at the file's end."""
        ...

    def place(self, name: str) -> str:
        """Names a file as an error's `where` does."""
        ...
