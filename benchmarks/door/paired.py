"""What a pair of servers is compared by."""

import os
import socket
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

from deployctl.load.intervals import t_quantile


class Server(NamedTuple):
    """A server process."""

    pid: int
    port: int

    def cpu_s(self) -> float:
        """CPU seconds of all its threads so far, to the nanosecond."""
        tasks = Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def pin(self, own: list[int], others: list[int]) -> None:
        """Gives all its threads the cores `own`; the processes that it started get `others`."""
        for task in Path(f"/proc/{self.pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), own)
        for child in psutil.Process(self.pid).children(recursive=True):
            child.cpu_affinity(others)


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Mean of paired differences, and half its 95% interval (Student's t)."""
    count = len(differences)
    half = t_quantile(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count)
    return float(differences.mean()), float(half)
