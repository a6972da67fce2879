"""rollback: to what served before, and to what should serve and does not."""

import pytest

from deployctl.errors import EngineError, InterruptedByUserError, NotFoundError
from deployctl.targets.store import ServiceRef

REF = ServiceRef("process", "tiny")


def test_rollback_makes_a_new_revision_of_the_last_that_differs(world, make_release):
    world.up(make_release())
    world.up(make_release(port=9000))
    release = world.rollout().rollback(None).release
    assert (release.revision, release.reason) == (3, "rollback to 1")
    assert release.bundle.digest == make_release().bundle.digest
    assert world.statuses() == {1: "superseded", 2: "superseded", 3: "deployed"}
    assert not world.rollout().rollback(1).changed  # it is there already


def test_rollback_to_what_should_serve_and_does_not_starts_that_one_again(world, make_release):
    """As after a restart of the machine: nothing changed, so no new revision comes of it."""
    world.up(make_release())
    world.driver.running.clear()
    outcome = world.rollout().rollback(1)
    assert (outcome.release.revision, outcome.changed) == (1, True)
    assert world.statuses() == {1: "deployed"}
    assert world.driver.running == {1}
    assert ("bring", 1) in world.driver.did
    assert not world.rollout().rollback(1).changed


@pytest.mark.parametrize(
    ("fate", "raised"), [("dies", EngineError), (KeyboardInterrupt(), InterruptedByUserError)]
)
def test_one_that_does_not_come_up_again_is_stopped_and_stays_on_record(
    world, make_release, fate, raised
):
    world.up(make_release())
    world.driver.running.clear()
    world.driver.fates[1] = fate
    with pytest.raises(raised):
        world.rollout().rollback(1)
    assert world.driver.did[-1] == ("stop", 1)
    assert (world.statuses(), world.driver.dead) == ({1: "deployed"}, {})
    del world.driver.fates[1]
    assert world.rollout().rollback(1).changed


def test_a_key_that_is_wanted_is_in_force_when_a_revision_is_started_again(world, make_release):
    world.up(make_release(expose=True, api_key_file=world.store.folder(REF) / "api_key"))
    world.driver.running.clear()
    world.environment["DEPLOYCTL_API_KEY"] = "another"
    world.rollout().rollback(1)
    assert (world.store.folder(REF) / "api_key").read_text() == "another"
    assert ("publish", 1) in world.driver.did


def test_rollback_brings_back_what_is_down(world, make_release):
    world.up(make_release())
    world.rollout().down(volumes=False)
    assert world.rollout().rollback(None).release.reason == "rollback to 1"
    assert world.driver.running == {2}


def test_rollback_to_what_never_served_is_refused(world, make_release):
    world.up(make_release())
    world.driver.fates[2] = "dies"
    with pytest.raises(EngineError):
        world.up(make_release(port=9000))
    for revision, reason in ((2, "never served"), (7, "no revision 7"), (None, "no earlier")):
        with pytest.raises(NotFoundError, match=reason):
            world.rollout().rollback(revision)
    assert world.driver.running == {1}
