"""Ctrl-C and kind ways to kill us: one interrupts the work, none interrupts the cleaning up."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_Handler = Callable[[int, FrameType | None], object]


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def interruptible() -> Iterator[None]:
    """SIGTERM (a cancelled pipeline) and SIGHUP (a closed terminal) act as Ctrl-C does."""
    with _handling(_interrupt):
        yield


@contextmanager
def shielded(say: Callable[[], None]) -> Iterator[None]:
    """Work here is not interrupted; `say` tells the user so if they try.

    The handler is a function and not SIG_IGN, which programs started here would inherit.
    """
    with _handling(lambda number, frame: say()):
        yield


@contextmanager
def _handling(handler: _Handler) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.getsignal(number) for number in _STOP}
    for number in _STOP:
        # nohup and the like have said that this signal is none of ours
        if former[number] is not signal.SIG_IGN:
            signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in former.items():
            if old is not None:
                signal.signal(number, old)
