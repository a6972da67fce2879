"""Looks at something again and again while something else runs. A thread, no network."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

Seen = TypeVar("Seen")
AT_MOST = 600  # looks a run: enough for a plot, and little work for the one looked at
LAST_TRIES = 2  # without a last look, all that was seen is of a part


def every(planned_s: float) -> float:
    """Seconds between two looks at a run of that length."""
    return max(1.0, planned_s / AT_MOST)


class Watch(Generic[Seen]):
    """Looks once at its beginning, every `every_s` seconds, and once at its end.

    `look` returns None when there is nothing to be seen just then; if that is so at the
    beginning, there is no further look; at the end it looks up to `LAST_TRIES` times, and
    `to_the_end` says whether it saw something then. What was seen is in `seen`, as (seconds of a
    monotonic clock, what). A look takes its time: it is stamped with the clock when it was asked.
    """

    def __init__(
        self,
        look: Callable[[], Seen | None],
        every_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.seen: list[tuple[float, Seen]] = []
        self.to_the_end = False
        self._look = look
        self._every_s = every_s
        self._clock = clock
        self._stop = threading.Event()
        self._wait = wait or self._stop.wait
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Watch[Seen]":
        self._once()
        if self.seen:
            self._thread = threading.Thread(target=self._run, name="watch", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        self.to_the_end = any(self._once() for _ in range(LAST_TRIES))

    def _run(self) -> None:
        while not self._wait(self._every_s):
            self._once()

    def _once(self) -> bool:
        at = self._clock()
        what = self._look()
        if what is not None:
            self.seen.append((at, what))
        return what is not None
