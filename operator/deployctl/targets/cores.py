"""Which cores of a machine each of several engines computes on."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

VARIABLE = "VLLM_CPU_OMP_THREADS_BIND"
_CPUS = Path("/sys/devices/system/cpu")


class Thread(NamedTuple):
    """One hardware thread: where it is, and which it shares its core with."""

    node: int  # of NUMA
    number: int
    core: str  # the same for all threads of one


def shares(threads: Sequence[Thread], count: int) -> list[list[int]]:
    """The threads of each of `count` engines: as many cores each, one thread a core, and of one
    NUMA node as far as that goes. Where there are fewer cores than engines, none is given any.
    """
    first: dict[str, Thread] = {}
    for thread in sorted(threads):
        first.setdefault(thread.core, thread)
    cores = sorted(first.values())
    size = len(cores) // count
    return [[t.number for t in cores[n * size : (n + 1) * size]] for n in range(count)]


def usable(cpus: Path = _CPUS) -> list[Thread]:
    """Those that this process may run on."""
    return [_thread(number, cpus / f"cpu{number}") for number in os.sched_getaffinity(0)]


def _thread(number: int, folder: Path) -> Thread:
    try:
        core = (folder / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        core = str(number)
    nodes = [path.name.removeprefix("node") for path in folder.glob("node[0-9]*")]
    return Thread(int(nodes[0]) if nodes else 0, number, core)
