"""Watches the load process itself: the CPU it takes, and how late its timers fire.

A client that is late measures its own delay and calls it the server's. `beat` is called
by a timer that asks to be woken every `PERIOD` seconds.
"""

import time

from deployctl_loadtest.packed import Lags

PERIOD = 0.05  # s
_CPU_EVERY = 1.0  # s; process_time over less is mostly noise


class Heartbeat:
    """Collects (seconds from start, share of one core) and (seconds from start, lag)."""

    def __init__(self, started: float) -> None:
        self._started = started
        self._due = started + PERIOD
        self._cpu_from = (started, time.process_time())
        self.cpu: list[tuple[float, float]] = []
        self.lags_s = Lags()

    def beat(self, now: float) -> None:
        """The timer fired at `now`, on the clock of `started`."""
        at = round(now - self._started, 3)
        self.lags_s.append(at, round(max(0.0, now - self._due), 6))
        self._due = now + PERIOD
        since, used = self._cpu_from
        if now - since >= _CPU_EVERY:
            total = time.process_time()
            self.cpu.append((at, round((total - used) / (now - since), 4)))
            self._cpu_from = (now, total)
