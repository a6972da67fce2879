"""Keys as they are pressed, from a terminal that gives them one by one; restored always."""

import os
import re
import select
import signal
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from deployctl.errors import InterruptedByUserError

_SEQUENCE = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|.", re.DOTALL)
_UNFINISHED = re.compile(rb"\x1b(?:[\[O][0-9;]*)?\Z")
_REST_S = 0.05  # in which the rest of a key comes that a slow line has cut in two
_NAMES = {
    b"A": "up", b"B": "down", b"5~": "pageup", b"6~": "pagedown", b"H": "home", b"F": "end",
}  # fmt: skip
_SINGLE = {b"\r": "enter", b"\n": "enter", b"\x1b": "escape", b"\x7f": "escape", b"\x08": "escape"}


def keys_in(read: bytes) -> list[str]:
    """The keys of what a terminal gave: letters as they are, others by name; unknown ones not."""
    keys = []
    for found in _SEQUENCE.findall(read):
        name = _NAMES.get(found[2:]) if len(found) > 1 else _SINGLE.get(found)
        if name is None and len(found) == 1 and found.isalpha():
            name = found.decode("ascii")
        if name is not None:
            keys.append(name)
    return keys


@contextmanager
def keyboard(fd: int) -> Iterator["Keyboard"]:
    """Has the terminal give keys as they are pressed and show none, until the end of it: whatever
    that is, a signal that ends the program too. Ctrl-C interrupts as ever; Ctrl-Z, which would
    leave a shell with our screen, does nothing.

    Raises:
        InterruptedByUserError: SIGTERM came.
    """
    before = termios.tcgetattr(fd)
    handler = signal.signal(signal.SIGTERM, _terminated)
    try:
        tty.setcbreak(fd, termios.TCSADRAIN)
        mode = termios.tcgetattr(fd)
        mode[6][termios.VSUSP] = b"\x00"
        termios.tcsetattr(fd, termios.TCSADRAIN, mode)
        yield Keyboard(fd)
    finally:
        with suppress(termios.error):  # the terminal is gone
            termios.tcsetattr(fd, termios.TCSAFLUSH, before)
        signal.signal(signal.SIGTERM, handler)


class Keyboard:
    """What is pressed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def pressed(self, within_s: float) -> list[str]:
        """The keys that are pressed in this time; returns with the first. `q` when the terminal is
        gone."""
        if not self._waits(within_s):
            return []
        read = self._read()
        while _UNFINISHED.search(read) and self._waits(_REST_S) and (more := self._read()):
            read += more
        return keys_in(read) if read else ["q"]

    def _waits(self, within_s: float) -> bool:
        return bool(select.select([self._fd], [], [], within_s)[0])

    def _read(self) -> bytes:
        try:
            return os.read(self._fd, 1024)
        except OSError:
            return b""


def _terminated(number: int, frame: FrameType | None) -> None:
    raise InterruptedByUserError("ended by SIGTERM")
