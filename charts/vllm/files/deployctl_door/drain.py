"""When the door closes: a file that is put there, or SIGTERM.

From then on every answer ends its connection, so that clients that keep theirs come back to
another engine; a moment later new requests are refused, and those under way end.
"""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

CHECK_S = 0.25


class Drain:
    """Whether the door is closing."""

    def __init__(
        self,
        file: Path | None,
        after_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._after_s = after_s
        self._clock = clock
        self._since: float | None = None
        self._checked = -CHECK_S

    def begin(self) -> None:
        """Begins; once is enough."""
        if self._since is None:
            self._since = self._clock()

    @property
    def began(self) -> bool:
        """Whether connections are to be closed."""
        if self._since is not None:
            return True
        if self._file is not None and self._clock() - self._checked >= CHECK_S:
            self._checked = self._clock()
            self._look(self._file)
        return self._since is not None

    def _look(self, file: Path) -> None:
        """Begins when the file was put there, which nobody may have asked this door since."""
        try:
            age = time.time() - file.stat().st_mtime
        except (OSError, ValueError):
            return
        self._since = self._clock() - max(0.0, age)

    @property
    def refuses(self) -> bool:
        """Whether new requests are to be refused."""
        return self.began and self._clock() - (self._since or 0.0) >= self._after_s

    def begin_on_sigterm(self) -> None:
        """Has SIGTERM begin the drain, and whoever handles it now handle it too.

        An event loop learns of signals through its wake-up file descriptor, whatever Python's
        handler is, so that its own handlers go on being called.
        """
        if threading.current_thread() is not threading.main_thread():
            return  # an application server in a thread: the file is what counts
        before = signal.getsignal(signal.SIGTERM)
        if before is None:
            return  # a handler that is not Python's, which cannot be called from here

        def handler(number: int, frame: FrameType | None) -> None:
            self.begin()
            if callable(before):
                before(number, frame)
            elif before is signal.SIG_DFL:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)

        signal.signal(signal.SIGTERM, handler)
