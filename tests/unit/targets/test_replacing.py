"""up and rollback on a target that puts a release in the place of the former by itself."""

import pytest

from deployctl.errors import EngineError
from deployctl.targets.driver import EngineState
from deployctl.targets.store import ServiceRef

REF = ServiceRef("process", "tiny")


@pytest.fixture
def world(world):
    world.driver.replaces = True
    return world


def test_the_former_serves_until_it_is_replaced(world, make_release):
    world.up(make_release())
    world.up(make_release(port=9000))
    assert world.statuses() == {1: "superseded", 2: "deployed"}
    assert [what for what, _ in world.driver.did if what == "stop"] == []
    assert world.driver.running == {2}


def test_the_first_one_that_fails_is_stopped(world, make_release):
    world.driver.fates[1] = "dies"
    with pytest.raises(EngineError):
        world.up(make_release())
    assert world.driver.did[-1] == ("stop", 1)


def test_what_a_killed_deployctl_left_is_replaced_and_not_stopped(world, make_release):
    world.up(make_release())
    left = make_release(port=9000).model_copy(update={"revision": 2})
    world.store.save(REF, left)
    world.driver.running = {2}
    world.up(make_release(port=9001))
    assert world.statuses() == {1: "superseded", 2: "failed", 3: "deployed"}
    assert ("stop", 2) not in world.driver.did


def test_what_it_waits_for_is_told_once_and_costs_no_patience(world, make_release, monkeypatch):
    waits = [("a node",)] * 400 + [("a node", "an image")] * 3

    def state(release):
        return EngineState("running", waits_for=waits.pop(0) if waits else ())

    monkeypatch.setattr(world.driver, "state", state)
    assert world.up(make_release()).release.status == "deployed"
    assert [text for text in world.notes() if text in ("a node", "an image")] == [
        "a node",
        "an image",
    ]


def test_what_it_waits_for_has_an_end_where_nothing_moves(world, make_release, monkeypatch):
    looks = iter(range(10_000))

    def state(release):  # a pod a quarter of an hour for as long as there are any: it goes on
        return EngineState("running", waits_for=(f"{min(next(looks) // 450, 8)} of 9 are ready",))

    monkeypatch.setattr(world.driver, "state", state)
    with pytest.raises(EngineError, match=r"changed for .*: 8 of 9 are ready") as caught:
        world.up(make_release())
    assert "--startup-timeout" in caught.value.hint
    assert caught.value.timed_out
    assert [text for text in world.notes() if "of 9" in text][-1] == "8 of 9 are ready"


def test_a_problem_of_the_target_comes_with_its_hint(world, make_release, monkeypatch):
    gone = EngineState("dead", "no node takes it", hint="n1 has 4 L4")
    monkeypatch.setattr(world.driver, "state", lambda release: gone)
    with pytest.raises(EngineError, match="no node takes it") as caught:
        world.up(make_release())
    assert caught.value.message == "no node takes it"
    assert "n1 has 4 L4" in caught.value.hint
