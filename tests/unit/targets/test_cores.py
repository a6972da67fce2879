"""Which of a machine's threads engines have: near their cards, on made-up files of the kernel."""

import os

import pytest

from deployctl.targets import cores
from deployctl.targets.cores import Thread

# Two sockets; the driver lists cards in no order, and the firmware does not place the last.
NODES = {"0000:3b:00.0": 0, "0000:d8:00.0": 1, "0000:18:00.0": 0, "0001:01:00.0": -1}


@pytest.fixture
def near(tmp_path):
    """What is near cards, of eight threads."""
    gpus, pci = tmp_path / "gpus", tmp_path / "pci"
    for number, (address, node) in enumerate(NODES.items()):
        for folder in (gpus / address, pci / address):
            folder.mkdir(parents=True)
        (gpus / address / "information").write_text(
            f"Model: \t\t NVIDIA L4\nIRQ:   \t\t 1\nGPU UUID: \t GPU-{number}\nVideo BIOS: \t 1\n"
        )
        (pci / address / "numa_node").write_text(f"{node}\n")

    def asked(*cards, nodes=2):
        threads = [Thread(n // 4 % nodes, n, str(n)) for n in range(8)]
        return cores.near(cards, threads, gpus, pci)

    return asked


def test_cards_are_numbered_by_their_addresses_or_named(near):
    assert near("0", "1") == near("GPU-0") == near("GPU-2") == [0, 1, 2, 3]
    assert near("2") == near("GPU-1") == [4, 5, 6, 7]


@pytest.mark.parametrize(
    "cards", [("3",), ("2", "3"), ("4",), ("GPU-",), ("MIG-1",), ("0", "2"), ()]
)
def test_where_nobody_says_or_there_is_no_choice_none_are(near, cards):
    assert near(*cards) == []
    assert near("0", nodes=1) == []


def test_numbers_say_nothing_of_cards_of_several_models(near, tmp_path):
    """CUDA counts the fastest first."""
    other = tmp_path / "gpus" / "0000:d8:00.0" / "information"
    other.write_text(other.read_text().replace("L4", "H100"))
    assert near("0") == []
    assert near("GPU-0") == [0, 1, 2, 3]


def test_a_machine_without_the_driver(tmp_path):
    assert cores.near(["0"], cores.usable(), tmp_path, tmp_path) == []


def test_this_machine_s_cores_are_read():
    there = cores.usable()
    assert {thread.number for thread in there} == os.sched_getaffinity(0)
    assert sum(map(len, cores.shares(there, 1))) <= len(there)
