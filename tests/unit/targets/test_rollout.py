"""up, rollback and down, whatever goes wrong, on a driver that is all memory."""

import pytest

from deployctl.errors import (
    EngineError,
    HubError,
    InterruptedByUserError,
    LockedError,
    PortTakenError,
    StateError,
)
from deployctl.targets.guards import lock
from deployctl.targets.store import ServiceRef
from deployctl.units import duration

REF = ServiceRef("process", "tiny")


def test_up_records_starts_and_deploys(world, make_release):
    outcome = world.up(make_release())
    assert (outcome.changed, outcome.release.revision) == (True, 1)
    assert world.statuses() == {1: "deployed"}
    assert world.driver.running == {1}
    assert "loading weights" in world.notes()


def test_up_twice_changes_nothing(world, make_release):
    world.up(make_release())
    did = list(world.driver.did)
    assert not world.up(make_release()).changed
    assert world.driver.did == did
    assert world.statuses() == {1: "deployed"}


def test_an_update_stops_the_old_before_it_starts_the_new(world, make_release):
    world.up(make_release())
    world.up(make_release(port=9000))
    assert world.statuses() == {1: "superseded", 2: "deployed"}
    assert world.driver.running == {2}
    assert world.driver.most_at_once == 1


@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("fate", ["dies", "silent", "hangs", "refuses"])
def test_a_failed_update_brings_the_old_one_back(world, make_release, fate, replaces):
    world.driver.replaces = replaces
    world.up(make_release())
    world.driver.fates[2] = fate
    with pytest.raises(EngineError) as caught:
        world.up(make_release(port=9000))
    assert "revision 1 serves again" in caught.value.hint
    assert world.statuses() == {1: "deployed", 2: "failed"}
    assert world.driver.running == {1}
    assert (("stop", 2) in world.driver.did) is not replaces  # else it is replaced


def test_a_failed_update_says_for_how_long_nothing_answered(world, make_release):
    """From the stop of the old one on, and not from the moment when the new one was given up."""
    world.up(make_release())
    world.driver.fates[2] = "silent"
    rollout, release = world.rollout(), make_release(port=9000, startup_timeout=70)
    with pytest.raises(EngineError) as caught:
        rollout.up(release.spec, release.plan, release.bundle)
    (gap,) = rollout.gaps_s
    assert gap >= 70
    assert f"after {duration(gap)} in which nothing answered" in caught.value.hint


def test_the_engine_s_own_words_are_told_and_translated(world, make_release):
    world.driver.fates[1] = "dies"
    with pytest.raises(EngineError) as caught:
        world.up(make_release())
    error = caught.value
    assert error.message == (
        "the engine died (exit code 1): the weights leave no memory for the KV cache"
    )
    assert "gpu_memory_utilization" in error.hint
    assert "ValueError: No available memory for the cache blocks." in error.log_tail
    assert world.store.releases(REF)[0].message == error.message
    assert world.driver.running == set()


def test_the_startup_timeout_of_the_spec_counts(world, make_release):
    world.driver.fates[1] = "silent"
    with pytest.raises(EngineError, match=r"within 7\.0 s.*loading weights"):
        world.up(make_release(startup_timeout=7))
    assert 7 <= world.now < 9


def test_an_engine_that_gave_up_and_hangs_is_not_waited_for(world, make_release):
    world.driver.fates[1] = "hangs"
    with pytest.raises(EngineError, match="gave up and hangs"):
        world.up(make_release(startup_timeout=600))
    assert world.now < 30
    assert world.driver.running == set()


def test_a_refused_preflight_touches_nothing_that_runs(world, make_release):
    world.up(make_release())
    world.driver.fates["preflight", 2] = PortTakenError("taken")
    with pytest.raises(PortTakenError):
        world.up(make_release(port=9000))
    assert world.driver.running == {1}
    assert world.statuses() == {1: "deployed", 2: "failed"}
    assert ("stop", 1) not in world.driver.did


def test_the_model_is_brought_before_the_old_one_is_stopped(world, make_release):
    world.up(make_release())
    world.up(make_release(port=9000))
    did = world.driver.did
    assert did.index(("fetch", 2)) < did.index(("bring", 2)) < did.index(("stop", 1))


def test_what_is_fetched_is_no_part_of_the_start(world, make_release):
    def bring(driver, release):
        world.now += 1200.0

    world.bring = bring
    outcome = world.up(make_release())
    assert (outcome.seconds, outcome.fetch_seconds) == (0.0, 1200.0)


def test_a_model_that_cannot_be_had_touches_nothing_that_runs(world, make_release):
    world.up(make_release())

    def bring(driver, release):
        raise HubError("the Hub answered HTTP 503")

    world.bring = bring
    with pytest.raises(HubError):
        world.up(make_release(port=9000))
    assert world.driver.running == {1}
    assert ("stop", 1) not in world.driver.did
    assert world.statuses() == {1: "deployed", 2: "failed"}


def test_ctrl_c_stops_the_new_and_starts_the_old(world, make_release):
    world.up(make_release())
    world.driver.fates[2] = [KeyboardInterrupt()]
    with pytest.raises(InterruptedByUserError) as caught:
        world.up(make_release(port=9000))
    assert "revision 1 is starting again" in caught.value.hint
    assert world.driver.running == {1}
    assert world.store.releases(REF)[1].message == "interrupted"


def test_ctrl_c_on_a_first_start_leaves_nothing(world, make_release):
    world.driver.fates[1] = [KeyboardInterrupt()]
    with pytest.raises(InterruptedByUserError):
        world.up(make_release())
    assert world.driver.running == set()
    assert world.statuses() == {1: "failed"}


def test_an_old_one_that_was_dead_is_not_brought_back(world, make_release):
    world.up(make_release())
    world.driver.running.clear()
    world.driver.dead[1] = "killed by signal 9"
    world.driver.fates[2] = "dies"
    with pytest.raises(EngineError) as caught:
        world.up(make_release(port=9000))
    assert "again" not in caught.value.hint
    assert world.driver.running == set()


def test_a_dead_engine_is_started_anew_by_the_same_spec(world, make_release):
    world.up(make_release())
    world.driver.running.clear()
    world.driver.dead[1] = "killed by signal 9"
    assert world.up(make_release()).changed
    assert world.statuses() == {1: "superseded", 2: "deployed"}


class Killed(BaseException):
    """Stands for SIGKILL: nothing of deployctl runs after it."""


@pytest.fixture
def killed_at(world, monkeypatch):
    """Makes `up` vanish at a moment, without any of its cleaning up."""

    def kill(release, moment):
        world.driver.fates[release.revision] = [Killed()] if moment == "waiting" else Killed()
        monkeypatch.setattr(
            "deployctl.targets.rollout.Rollout._undo", lambda self, r, p, k, error: error
        )
        with pytest.raises(Killed):
            world.up(release)
        monkeypatch.undo()
        world.driver.fates.clear()
        world.told.clear()

    return kill


def test_killed_while_waiting_the_next_up_adopts(world, make_release, killed_at):
    world.up(make_release())
    update = make_release(revision=2, port=9000)
    killed_at(update, "waiting")
    assert world.statuses() == {1: "deployed", 2: "pending"}
    outcome = world.up(update)
    assert outcome.release.revision == 2
    assert world.statuses() == {1: "superseded", 2: "deployed"}
    assert world.driver.did.count(("start", 2)) == 2  # the second found it running
    assert world.driver.running == {2}


def test_killed_before_the_start_the_next_up_begins_anew(world, make_release, killed_at):
    killed_at(make_release(), "starting")
    assert world.up(make_release()).release.revision == 2
    assert world.statuses() == {1: "failed", 2: "deployed"}


def test_killed_and_then_another_spec_the_rest_is_cleaned_up(world, make_release, killed_at):
    killed_at(make_release(), "waiting")
    assert world.driver.running == {1}
    world.up(make_release(port=9000))
    assert world.driver.running == {2}
    assert world.statuses() == {1: "failed", 2: "deployed"}
    assert any("left unfinished" in note for note in world.notes())


def test_killed_and_then_down_leaves_nothing(world, make_release, killed_at):
    killed_at(make_release(), "waiting")
    world.rollout().down(volumes=False)
    assert world.driver.running == set()
    assert world.statuses() == {1: "removed"}


def test_a_second_one_is_told_who_holds_the_lock(world, make_release):
    with (
        lock(world.store.folder(REF), "tiny", "deployctl up"),
        pytest.raises(LockedError, match=r"by deployctl up \(pid \d+, since 20"),
    ):
        world.up(make_release())
    assert world.driver.did == []


def test_down_twice_is_fine_and_keeps_the_history(world, make_release):
    world.up(make_release())
    assert [r.revision for r in world.rollout().down(volumes=False)] == [1]
    assert world.rollout().down(volumes=True) == []
    assert world.statuses() == {1: "removed"}
    assert ("purge", "tiny") in world.driver.did


def test_keys_outlive_down_unless_volumes_go_too(world, make_release):
    world.up(make_release(expose=True))
    folder = world.store.folder(REF)
    secrets = [folder / name for name in ("api_key", "keys.json", "operator_token")]
    for path in secrets[1:]:
        path.write_text("{}")
    world.rollout().down(volumes=False)
    assert all(path.exists() for path in secrets)
    world.rollout().down(volumes=True)
    assert not [path for path in secrets if path.exists()]


def test_down_stops_what_a_damaged_record_started(world, make_release):
    world.up(make_release())
    record = world.store.folder(REF) / "releases" / "000001.json"
    record.write_text("{")
    with pytest.raises(StateError, match="damaged") as caught:
        world.up(make_release())
    assert caught.value.where == str(record)
    world.rollout().down(volumes=False)
    assert world.driver.running == set()
    assert world.store.releases(REF) == []


def test_a_record_that_cannot_be_written_starts_nothing(world, make_release, monkeypatch):
    def full(*_):
        raise StateError("cannot write: No space left on device")

    monkeypatch.setattr("deployctl.targets.shelf.write_private", full)
    with pytest.raises(StateError):
        world.up(make_release())
    assert world.driver.did == []


def test_a_disk_that_fills_up_while_it_starts_leaves_the_old_one(world, make_release, monkeypatch):
    world.up(make_release())
    save = world.store.save

    def full(ref, release):
        if release.revision == 2 and release.status != "pending":
            raise StateError("cannot write: No space left on device")
        save(ref, release)

    monkeypatch.setattr(world.store, "save", full)
    with pytest.raises(StateError):
        world.up(make_release(port=9000))
    assert world.driver.running == {1}
    monkeypatch.undo()
    assert world.statuses() == {1: "deployed", 2: "pending"}
    assert not world.up(make_release()).changed  # and the leftover is settled
    assert world.statuses() == {1: "deployed", 2: "failed"}


def test_a_key_is_made_once_and_a_new_one_restarts_nothing(world, make_release):
    spec = {"expose": True}
    world.up(make_release(**spec))
    path = world.store.folder(REF) / "api_key"
    made = path.read_text()
    assert len(made) > 30
    assert path.stat().st_mode & 0o777 == 0o600
    assert not world.up(make_release(**spec)).changed
    world.environment["DEPLOYCTL_API_KEY"] = "another-key"
    world.driver.did.clear()
    assert not world.up(make_release(**spec)).changed
    assert path.read_text() == "another-key"
    assert world.driver.did == [("publish", 1)]
    assert "the new API key is in force" in world.notes()[-1]
    path.unlink()  # one that was lost is made anew
    del world.environment["DEPLOYCTL_API_KEY"]
    world.up(make_release(**spec))
    assert len(path.read_text()) > 30
    records = (world.store.folder(REF) / "releases").iterdir()
    assert not [r for r in records if made in r.read_text() or "another-key" in r.read_text()]


def test_a_failed_update_brings_the_old_key_back(world, make_release):
    world.up(make_release(expose=True))
    path = world.store.folder(REF) / "api_key"
    made = path.read_text()
    world.environment["DEPLOYCTL_API_KEY"] = "another-key"
    world.driver.fates[2] = "dies"
    with pytest.raises(EngineError):
        world.up(make_release(expose=True, port=9000))
    assert path.read_text() == made
