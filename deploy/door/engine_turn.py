"""Whose turn it is to load: engines that share a card start one at a time.

vLLM measures what is free of a card as it starts, and counts as its own what others take meanwhile.
When a machine was restarted, or a card was, all engines of a card start at once. So each holds its
cards' locks from its start until it is ready: those of files in a folder that all have. The kernel
frees them, however their holder ends. In which order they come does not matter: a fleet's plan has
room on a card for any one that starts beside all others. Standard library alone.
"""

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path


class Turn:
    """The locks of an engine's cards: all of them are held, or none."""

    def __init__(self, folder: str, cards: Sequence[str]) -> None:
        """`cards` are names; without any, or a folder, it is always this one's turn."""
        self._files = [Path(folder) / f"card-{card}" for card in cards] if folder else []
        self._held: list[int] = []

    def take(self) -> bool:
        """Whether it is ours now, without waiting.

        Raises:
            OSError: there can be no locks.
        """
        if self._held:
            return True
        taken: list[int] = []
        try:
            for file in self._files:
                taken.append(_opened(file))
                fcntl.flock(taken[-1], fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BaseException as error:
            for descriptor in taken:
                os.close(descriptor)
            if isinstance(error, BlockingIOError):
                return False
            raise
        self._held = taken
        return True

    def leave(self) -> None:
        """Lets the next one have it; fine where it is not ours."""
        while self._held:
            os.close(self._held.pop())


def _opened(file: Path) -> int:
    """In a container the folder is there to read alone, and has its files."""
    try:
        return os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return os.open(file, os.O_RDONLY | os.O_CREAT, 0o600)
