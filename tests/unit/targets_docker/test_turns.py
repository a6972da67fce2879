"""The volume of locks by which an engine host's containers load one at a time on a shared card."""

import pytest
from tests.unit.targets_docker.memory import Killed, MemoryCarriers

from deployctl.targets.docker import turns

NAMES = {"card-cpu", *(f"card-{number}" for number in range(16))}


@pytest.fixture
def carriers():
    return MemoryCarriers()


def files(carriers):
    return carriers.volumes_made[turns.VOLUME][1]


def test_whose_cards_are_its_own_has_no_locks(carriers, release):
    turns.make(carriers, release())
    assert turns.project(release(revision=2)) == {}
    assert (carriers.made, carriers.volumes_made) == ({}, {})


def test_all_that_share_a_card_have_the_same_files_which_nobody_writes_again(carriers, release):
    shares = release(gpu_memory_held_gib=4)
    turns.make(carriers, shares)
    assert set(files(carriers)) == NAMES
    there = files(carriers)
    carriers.write = lambda *given: pytest.fail("a lock is its file's")
    turns.make(carriers, shares)
    carriers.prune()
    turns.make(carriers, shares)
    assert files(carriers) is there


def test_of_one_who_was_killed_while_it_was_made_the_next_makes_the_rest(release):
    shares = release(gpu_memory_held_gib=4)
    for steps in range(50):
        carriers = MemoryCarriers()
        carriers.fuse = steps
        try:
            turns.make(carriers, shares)
            break
        except Killed:
            carriers.alive()
        turns.make(carriers, shares)
        assert set(files(carriers)) == NAMES
    assert steps > 3
