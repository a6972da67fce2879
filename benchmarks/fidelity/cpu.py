"""CPU time of a process and all that it starts, over time. Linux: reads /proc."""

import os
import threading
import time
from bisect import bisect_left
from contextlib import suppress
from pathlib import Path

_EVERY_S = 0.1
_PROC = Path("/proc")


class Watch:
    """Looks at a process tree now and then, in a thread, until `stop`."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._used: dict[int, float] = {}  # by thread; those that have ended keep their last
        self._looks: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watch."""
        self._over.set()
        self._thread.join()

    @property
    def total_s(self) -> float:
        """All that was used, start-up and report included."""
        return self._looks[-1][1] if self._looks else 0.0

    def between(self, begin: float, end: float) -> float:
        """CPU seconds used from `begin` to `end`, on the monotonic clock."""
        return self._at(end) - self._at(begin)

    def pids(self) -> list[int]:
        """The tree as it is now."""
        children: dict[int, list[int]] = {}
        for entry in _PROC.iterdir():
            if entry.name.isdigit():
                with suppress(OSError, ValueError, IndexError):
                    stat = (entry / "stat").read_text()
                    parent = int(stat.rpartition(")")[2].split()[1])
                    children.setdefault(parent, []).append(int(entry.name))
        found, todo = [], [self._pid]
        while todo:
            pid = todo.pop()
            found.append(pid)
            todo += children.get(pid, [])
        return found

    def _watch(self) -> None:
        rounds = 0
        known: list[int] = []
        while not self._over.is_set():
            if rounds % 5 == 0:
                known = sorted({*known, *self.pids()})
            rounds += 1
            for pid in known:
                with suppress(OSError, ValueError, IndexError):
                    for task in (_PROC / str(pid) / "task").iterdir():
                        self._used[int(task.name)] = spent(task)
            self._looks.append((time.monotonic(), sum(self._used.values())))
            self._over.wait(_EVERY_S)

    def _at(self, when: float) -> float:
        looks = self._looks
        place = bisect_left(looks, (when, 0.0))
        if place == 0:
            return looks[0][1] if looks else 0.0
        if place == len(looks):
            return looks[-1][1]
        (t0, v0), (t1, v1) = looks[place - 1], looks[place]
        return v0 + (v1 - v0) * (when - t0) / (t1 - t0)


def spent(task: Path) -> float:
    """Seconds that a thread has been on a core; `task` is its folder in /proc.

    By the nanosecond, or by the hundredth of a second where the kernel counts no finer.

    Raises:
        OSError, ValueError, IndexError: it has ended.
    """
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        fields = (task / "stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
