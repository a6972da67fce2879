"""Which cores of a machine each of several engines computes on."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

VARIABLE = "VLLM_CPU_OMP_THREADS_BIND"
BINDS_ITSELF = "--numa-bind"  # vLLM, if it is told to; it does not where others have done so
_CPUS = Path("/sys/devices/system/cpu")
_GPUS = Path("/proc/driver/nvidia/gpus")  # a folder a card, named by its address on the PCI bus
_PCI = Path("/sys/bus/pci/devices")


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


def near(
    cards: Sequence[str], threads: Sequence[Thread], gpus: Path = _GPUS, pci: Path = _PCI
) -> list[int]:
    """The threads on the NUMA nodes that some cards are on, by their UUIDs or their numbers, which
    go by the address on the bus as nvidia-smi's do; CUDA's, too, of cards of one model. None where
    there is no choice, or nobody says which node a card is on.
    """
    there = {gpu: _information(gpu) for gpu in sorted(gpus.glob("*"))}
    places = {_node_of(card, there, pci) for card in cards}
    found = [thread.number for thread in sorted(threads) if thread.node in places]
    return found if None not in places and len(found) < len(threads) else []


def _node_of(card: str, gpus: Mapping[Path, Mapping[str, str]], pci: Path) -> int | None:
    if card.isdecimal():
        alike = len({told.get("Model") for told in gpus.values()}) == 1
        found = list(gpus)[int(card) : int(card) + 1] if alike else []
    else:
        found = [gpu for gpu, told in gpus.items() if told.get("GPU UUID") == card]
    try:
        node = int((pci / found[0].name / "numa_node").read_text())
    except (OSError, ValueError, IndexError):
        return None
    return node if node >= 0 else None  # -1: the firmware does not say


def _information(gpu: Path) -> dict[str, str]:
    """What the driver says of a card: its model, its UUID."""
    try:
        lines = (gpu / "information").read_text().splitlines()
    except (OSError, ValueError):
        return {}
    parts = (line.partition(":") for line in lines)
    return {name.strip(): value.strip() for name, _, value in parts}


def _thread(number: int, folder: Path) -> Thread:
    try:
        core = (folder / "topology" / "thread_siblings_list").read_text().strip()
    except OSError:
        core = str(number)
    nodes = [path.name.removeprefix("node") for path in folder.glob("node[0-9]*")]
    return Thread(int(nodes[0]) if nodes else 0, number, core)
