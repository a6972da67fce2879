"""A disk that is full at each write, and a clock that is set back: nothing is lost, and whoever
comes next says what there was to settle.
"""

from contextlib import suppress
from datetime import UTC, datetime

import pytest

from deployctl.errors import DeployctlError
from deployctl.targets.store import ServiceRef
from full_disk import Disk
from unit.targets.conftest import World

REF = ServiceRef("process", "tiny")


def first(world, make_release):
    world.up(make_release())


def update(world, make_release):
    world.up(make_release(port=9000))


def failed_update(world, make_release):
    world.driver.fates[2] = "dies"
    try:
        world.up(make_release(port=9000))
    finally:
        del world.driver.fates[2]


def rollback(world, _):
    world.rollout().rollback(None)


def down(world, _):
    world.rollout().down(volumes=False)


STEPS = {
    "first": ([], first),
    "update": ([first], update),
    "failed update": ([first], failed_update),
    "rollback": ([first, update], rollback),
    "down": ([first, update], down),
}


def attempt(disk, world, make_release, step, after):
    """Whether the disk was full before a step came to its end."""
    disk.fill(after)
    with suppress(DeployctlError):
        step(world, make_release)
    full = disk.last is not None and disk.written >= disk.last
    disk.free()
    return full


@pytest.mark.parametrize("name", STEPS)
def test_a_disk_that_is_full_at_each_write_loses_nothing(tmp_path, monkeypatch, make_release, name):
    before, step = STEPS[name]
    disk = Disk(monkeypatch)
    for after in range(1, 200):
        world = World(tmp_path / str(after))
        for former in before:
            former(world, make_release)
        known = world.store.releases(REF)
        full = attempt(disk, world, make_release, step, after)
        releases = world.store.releases(REF)  # each can be read
        assert [r.revision for r in releases][: len(known)] == [r.revision for r in known]
        live = {r.revision for r in releases if r.status in ("pending", "deployed")}
        assert world.driver.running <= live, "an engine runs that no record tells of"
        unfinished = [r.revision for r in releases if r.status == "pending"]
        told = len(world.told)
        world.up(make_release(port=9001))
        said = " ".join(event.text for event in world.told[told:])
        for revision in unfinished:
            assert f"revision {revision}" in said
        releases = world.store.releases(REF)
        assert [r.revision for r in releases if r.status == "deployed"] == [releases[-1].revision]
        assert world.driver.running == {releases[-1].revision}
        assert not [p for p in world.store.root.rglob(".*") if p.is_file()], "a part was left"
        if not full:
            assert after > 3
            return
    raise AssertionError("it never came to an end")


def test_a_clock_that_is_set_back_changes_no_order(world, make_release):
    world.up(make_release())
    for year, port in ((2020, 9000), (1999, 9001)):
        world.clock = datetime(year, 1, 1, tzinfo=UTC)
        world.up(make_release(port=port))
    assert world.statuses() == {1: "superseded", 2: "superseded", 3: "deployed"}
    assert [r.created[:4] for r in world.store.releases(REF)][1:] == ["2020", "1999"]
    assert world.rollout().rollback(None).release.reason == "rollback to 2"
    assert world.driver.running == {4}
