"""A pair of servers: loaded on one core, and compared by what they take of it."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
from benchmarks.door.client import Seen, chat, load

from deployctl.load.intervals import t_quantile

KEPT, MISSED, UNRESOLVED = 0, 1, 2  # exit codes


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


class Measured(NamedTuple):
    """One run: CPU seconds of the server a stream, and what the client saw."""

    cpu_s: float
    seen: Seen


async def measure(server: Server, streams: int, chunks: int) -> Measured:
    """One run of streams of so many texts."""
    before = server.cpu_s()
    seen = await load(server.port, streams, chat(chunks))
    return Measured((server.cpu_s() - before) / streams, seen)


async def pair(servers: list[Server], streams: int, chunks: int) -> list[Measured]:
    """The same load on each at the same time, so that what else the machine does is in both."""
    return await asyncio.gather(*(measure(each, streams, chunks) for each in servers))


@contextmanager
def apart(servers: list[Server]) -> Iterator[None]:
    """This process, which is the client, has one core, and the servers share another, if there is
    one."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) > 1:
        os.sched_setaffinity(0, cores[:1])
        for each in servers:
            each.pin(cores[1:2], cores[:1])
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def interval(differences: np.ndarray) -> tuple[float, float]:
    """Mean of paired differences, and half its 95% interval (Student's t)."""
    count = len(differences)
    half = t_quantile(0.975, count - 1) * differences.std(ddof=1) / np.sqrt(count)
    return float(differences.mean()), float(half)


def judged(differences: np.ndarray, most: float) -> int:
    """An exit code: whether the whole interval of the differences is below the most."""
    centre, half = interval(differences)
    if centre - half > most:
        return MISSED
    return KEPT if centre + half <= most else UNRESOLVED
