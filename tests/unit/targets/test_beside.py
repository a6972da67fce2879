"""An engine that comes up beside the one that serves and takes over, on a driver of memory."""

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError, InputError, InterruptedByUserError, TargetError
from deployctl.targets.driver import Room

from .conftest import REF
from .test_front import MemoryGateway, said

TAKES_OVER = ["start", "lead", "close", "stop"]


class Killed(BaseException):
    """What SIGKILL is to us: nothing after it happens."""


@pytest.fixture
def beside(world, make_release):
    """A world with room for two, in which revision 1 serves behind a gateway."""
    world.driver.gateway = MemoryGateway(world.driver.did)
    world.under_way = lambda revision: 0
    world.room = Room(True, "there is room")
    world.beside = lambda old, state, new: world.room
    world.up(make_release(gateway=True))
    world.driver.did.clear()
    world.make = lambda **more: make_release(gateway=True, **more)
    return world


def changed(world, **more):
    return world.make(env={"A": "1"}, **more)


def test_it_takes_over_and_the_former_is_stopped_then(beside):
    rollout, release = beside.rollout(), changed(beside)
    outcome = rollout.up(release.spec, release.plan, release.bundle)
    assert outcome.changed
    assert said(beside) == TAKES_OVER
    assert (rollout.gaps_s, rollout.front.held()) == ([], None)
    assert beside.statuses() == {1: "superseded", 2: "deployed"}
    assert beside.driver.running == {2}
    assert beside.driver.served == {1: None, 2: 1}  # the first is not to be touched
    assert any("revision 2 comes up beside revision 1" in note for note in beside.notes())


def test_of_another_host_it_is_said_where_it_is_there(beside, monkeypatch):
    at = Endpoint("http://127.0.0.1:40190", "2", None, there="http://127.0.0.1:20190/engines/b")
    monkeypatch.setattr(beside.driver, "endpoint", lambda release: at)
    beside.up(changed(beside))
    assert f"requests go to revision 2 now, at {at.there}" in beside.notes()


def test_without_room_requests_wait_and_why_is_said(beside):
    beside.room = Room(False, "they have 0.90 and 0.90 of a card's memory")
    beside.up(changed(beside))
    assert said(beside) == ["hold", "close", "stop", "start", "lead"]
    assert beside.driver.served[2] is None
    said_why = "one engine at a time (they have 0.90 and 0.90 of a card's memory): requests wait"
    assert any(note.startswith(said_why) for note in beside.notes())


def test_where_it_is_asked_for_and_there_is_no_room_nothing_is_touched(beside):
    def none(old, state, new):
        raise TargetError("there is no room for two engines")

    beside.beside = none
    with pytest.raises(TargetError, match="no room"):
        beside.up(changed(beside))
    assert said(beside) == []
    assert beside.statuses() == {1: "deployed", 2: "failed"}


@pytest.mark.parametrize("fate", ["dies", "silent", "refuses"])
def test_a_bad_revision_never_takes_the_old_one_away(beside, fate):
    beside.driver.fates[2] = fate
    with pytest.raises(EngineError) as caught:
        beside.up(changed(beside))
    assert "revision 1 served all the while" in caught.value.hint
    assert ("stop", 1) not in beside.driver.did
    assert ("hold", "tiny") not in beside.driver.did
    assert beside.driver.running == {1}
    assert beside.statuses() == {1: "deployed", 2: "failed"}


def test_one_that_is_not_kept_gives_the_requests_back(beside):
    def no(release):
        raise TargetError("too slow")

    release = changed(beside)
    with pytest.raises(TargetError, match="too slow"):
        beside.rollout().up(release.spec, release.plan, release.bundle, verify=no)
    assert said(beside) == ["start", "lead", "lead", "close", "stop"]
    assert beside.driver.running == {1}


@pytest.mark.parametrize("room", [True, False])
def test_a_bad_one_that_does_not_end_is_ended_by_the_next_up(beside, monkeypatch, room):
    """It was on record as failed, and ran on beside whatever came next."""
    beside.room = Room(room, "as it is")
    beside.driver.fates[2] = "silent"
    stop = beside.driver.stop

    def hangs(release, tell):
        if release.revision == 2:
            raise TargetError("processes of tiny do not end: 7")
        stop(release, tell)

    monkeypatch.setattr(beside.driver, "stop", hangs)
    with pytest.raises(EngineError) as caught:
        beside.up(changed(beside))
    assert "do not end: 7; deployctl down tiny tries again" in caught.value.hint
    assert beside.driver.running == {1, 2}
    assert beside.statuses() == {1: "deployed", 2: "pending"}
    monkeypatch.setattr(beside.driver, "stop", stop)
    beside.up(beside.make(env={"B": "1"}))
    assert beside.driver.running == {3}
    assert beside.statuses() == {1: "superseded", 2: "failed", 3: "deployed"}


def test_ctrl_c_leaves_the_old_one_alone(beside):
    beside.driver.fates[2] = [KeyboardInterrupt()]
    with pytest.raises(InterruptedByUserError) as caught:
        beside.up(changed(beside))
    assert "served all the while" in caught.value.hint
    assert beside.driver.running == {1}


def test_ctrl_c_once_the_new_one_serves_ends_the_waiting_for_the_old_one(beside):
    asked = []

    def under_way(revision):
        asked.append(revision)
        if len(asked) > 2:
            raise KeyboardInterrupt
        return 1

    beside.under_way = under_way
    with pytest.raises(InterruptedByUserError, match="revision 2 of tiny serves"):
        beside.up(changed(beside))
    assert set(asked) == {1}
    assert beside.driver.running == {2}
    assert beside.statuses() == {1: "superseded", 2: "deployed"}
    assert not beside.up(changed(beside)).changed


def test_where_the_old_one_dies_meanwhile_it_is_brought_back(beside):
    def dies(release):
        beside.driver.running.discard(1)
        raise TargetError("too slow")

    release = changed(beside)
    with pytest.raises(TargetError) as caught:
        beside.rollout().up(release.spec, release.plan, release.bundle, verify=dies)
    assert "revision 1 serves again" in caught.value.hint
    assert beside.driver.running == {1}


def test_one_that_does_not_end_is_ended_by_the_next_up(beside):
    stop = beside.driver.stop

    def hangs(release, tell):
        raise TargetError("processes of tiny do not end: 7", where="runs/000001")

    beside.driver.stop = hangs
    assert beside.up(changed(beside)).changed
    assert beside.statuses() == {1: "deployed", 2: "deployed"}
    assert "processes of tiny do not end: 7 (runs/000001)" in beside.notes()
    beside.driver.stop = stop
    assert not beside.up(changed(beside)).changed
    assert beside.statuses() == {1: "superseded", 2: "deployed"}
    assert beside.driver.running == {2}


@pytest.mark.parametrize("more", [{"gateway": False}, {"expose": True}])
def test_only_what_is_behind_the_same_gateway_does(beside, make_release, more):
    beside.environment = {"DEPLOYCTL_API_KEY": "sk-" + "a" * 40}
    beside.beside = lambda *_: pytest.fail("nobody is to look for room")
    beside.up(make_release(**{"gateway": True, "env": {"A": "1"}, **more}))
    assert beside.driver.most_at_once == 1


@pytest.mark.parametrize(
    ("of_old", "of_new", "why"),
    [
        ({"gateway": False}, {"gateway": True}, "revision 1 is behind no gateway"),
        ({"gateway": True}, {"gateway": False}, "revision 2 is behind no gateway"),
        ({"gateway": True}, {"gateway": True, "expose": True}, "gateway exposes revision 2 alone"),
        ({"gateway": True, "expose": True}, {"gateway": True}, "gateway exposes revision 1 alone"),
        (
            {"gateway": True},
            {"plan": {"replicas": 2}, "port": 9000},
            "replicas are not started beside",
        ),
    ],
)
def test_where_it_is_asked_for_and_nothing_is_made_for_it_nothing_is_touched(
    world, make_release, of_old, of_new, why
):
    world.environment = {"DEPLOYCTL_API_KEY": "sk-" + "a" * 40}
    world.driver.gateway = MemoryGateway(world.driver.did)
    world.beside, world.asked = lambda *_: pytest.fail("nobody is to look for room"), True
    world.up(make_release(**of_old))  # the first one has nobody to be beside
    world.driver.did.clear()
    with pytest.raises(InputError, match=why) as caught:
        world.up(make_release(env={"A": "1"}, **of_new))
    assert caught.value.where == "--beside yes"
    assert [what for what, _ in world.driver.did if what in ("start", "stop", "hold")] == []
    assert world.statuses() == {1: "deployed", 2: "failed"}


def killed(world, release, step):
    """A deployctl that ends when `step` is about to be done."""

    what, where, *of = step

    def killing(*given):
        if not {*of} <= {each for each in given if isinstance(each, str)}:
            return former(*given)
        raise Killed

    rollout = world.rollout()
    rollout._undo = lambda *_: Killed()
    former = getattr(where(rollout), what)
    setattr(where(rollout), what, killing)
    with pytest.raises(Killed):
        rollout.up(release.spec, release.plan, release.bundle)
    setattr(where(rollout), what, former)
    world.driver.did.clear()


STEPS = {
    "before it starts": ("start", lambda rollout: rollout._driver),
    "before requests go there": ("lead", lambda rollout: rollout.front),
    "before it is on record": ("_mark", lambda rollout: rollout),
    "before the former is stopped": ("stop", lambda rollout: rollout._driver),
    "before that is on record": ("_mark", lambda rollout: rollout, "superseded"),
}


@pytest.mark.parametrize("step", STEPS)
def test_the_next_up_goes_on_from_wherever_one_was_killed(beside, step):
    killed(beside, changed(beside), STEPS[step])
    assert beside.driver.running & {1, 2}
    beside.up(changed(beside))
    newest = max(beside.statuses())
    assert beside.driver.running == {newest}
    assert beside.statuses()[newest] == "deployed"
    assert list(beside.statuses().values()).count("deployed") == 1
    assert "hold" not in said(beside)


@pytest.mark.parametrize("step", STEPS)
def test_what_another_up_ends_of_a_killed_one_gets_no_requests_any_more(beside, step):
    killed(beside, changed(beside), STEPS[step])
    beside.up(beside.make(env={"B": "1"}))
    order = [(what, of) for what, of in beside.driver.did if what in ("lead", "close", "stop")]
    if beside.statuses()[2] == "failed":
        assert order[0][0] == "lead"  # back to the one that serves
    assert beside.driver.running == {3}
    assert beside.statuses()[3] == "deployed"
    assert REF.service in beside.driver.gateway.served


@pytest.mark.parametrize("again", ["up", "rollback"])
def test_where_the_new_one_dies_once_its_deployctl_was_killed_the_former_gets_the_requests(
    beside, again
):
    """Both were on record as serving, and requests stayed where nobody was any more: the former
    runs, and is what serves."""
    killed(beside, changed(beside), STEPS["before the former is stopped"])
    assert beside.statuses() == {1: "deployed", 2: "deployed"}
    beside.driver.running.discard(2)
    led, rollout = [], beside.rollout()
    rollout.front.lead = lambda release, **more: led.append(release.revision)
    rollout._settle(None)
    assert led == [1]
    assert beside.statuses() == {1: "deployed", 2: "failed"}
    if again == "up":
        beside.up(changed(beside))
    else:
        beside.rollout().rollback(1)
    assert beside.driver.running == {max(beside.statuses()) if again == "up" else 1}


def test_down_ends_both(beside):
    killed(beside, changed(beside), STEPS["before it is on record"])
    beside.rollout().down(volumes=False)
    assert beside.driver.running == set()
