"""A fleet brought up on one host: whose turn it is, and what one that fails leaves."""

from types import SimpleNamespace

import pytest

from deployctl.errors import (
    EngineError,
    InterruptedByUserError,
    LockedError,
    PlanRefusedError,
    TargetError,
)
from deployctl.operations.deploy import oncards
from deployctl.operations.deploy.deployed import Deployed
from deployctl.operations.deploy.deployment import Deployment
from deployctl.operations.deploy.inorder import in_order, up_in_order
from deployctl.operations.deploy.oncards import (
    cards_held,
    refuse_crowded,
    refuse_no_room,
    running_here,
)
from deployctl.planning.fleet.make import PlannedFleet
from deployctl.planning.fleet.order import CardHolding, held_by
from deployctl.planning.fleet.result import FleetCard, FleetPlan
from deployctl.spec import ServiceSpec
from deployctl.targets.driver import EngineState
from deployctl.targets.store import ServiceRef, Store
from known import planned


def holding(name, gib, *cards):
    return CardHolding(name, cards or (0,), gib, gib)


class Host:
    """A host of cards with 22 GiB: what is brought up is there, unless it has another fate."""

    def __init__(self, make_release, wanted, running=(), cards=1):
        self.running = {each.service: each for each in running}
        self.fates, self.begun, self.told = {}, [], []
        self.still_ours = lambda: None
        self.make_release, self.wanted = make_release, {each.service: each for each in wanted}
        self.deployments = [
            Deployment(ServiceSpec(model="m", name=each.service)) for each in wanted
        ]
        card = {"gpu": "l4", "memory_gib": 22.0, "held_gib": 0.0, "shares": (), "left_gib": 0.0}
        each = [FleetCard(index=i, **card) for i in range(cards)]
        [service] = planned("awq", "l4")[:1]
        plan = FleetPlan(verdict="fits", cards=each, services=[service])
        self.planned = PlannedFleet(plan, (), tuple(wanted))

    def bring_up(self, deployment):
        name = deployment.spec.service
        self.begun.append(name)
        if error := self.fates.get(name):
            raise error
        self.running[name] = self.wanted[name]
        release = self.make_release().model_copy(update={"service": name})
        endpoint = SimpleNamespace(url="http://y", shown="http://y")
        return Deployed(release, "docker", True, 1.0, 0.0, endpoint, None, None, None)

    def up(self):
        how = self.planned, self.bring_up, self.told.append, lambda: self.running
        return in_order(self.deployments, *how, self.still_ours)


def test_the_largest_is_first_on_empty_cards(make_release):
    host = Host(make_release, [holding("a", 6), holding("b", 15)])
    fleet = host.up()
    assert host.begun == ["b", "a"]
    assert not fleet.failed
    fleet.enforce()


def test_what_shrinks_makes_room_before_another_starts(make_release):
    wanted = [holding("new", 12), holding("old", 9)]
    host = Host(make_release, wanted, running=[holding("old", 21)])
    assert not host.up().failed
    assert host.begun == ["old", "new"]


def test_one_that_fails_stops_no_other_and_what_is_left_is_said(make_release):
    host = Host(make_release, [holding("a", 6), holding("b", 6), holding("c", 6)])
    host.fates["b"] = EngineError("it died", hint="look")
    fleet = host.up()
    assert host.begun == ["a", "b", "c"]
    assert [each.service for each in host.told] == ["b"]
    with pytest.raises(TargetError, match="1 of 3 services did not come up: b") as caught:
        fleet.enforce()
    assert "the others serve" in caught.value.hint
    # Again, it alone is brought up; the others are there.
    host.fates.clear()
    assert not host.up().failed


def test_one_that_fell_back_to_its_larger_share_keeps_another_waiting(make_release):
    wanted = [holding("new", 12), holding("old", 9), holding("apart", 9, 1)]
    host = Host(make_release, wanted, running=[holding("old", 21)], cards=2)
    host.fates["old"] = EngineError("it died")
    fleet = host.up()
    assert host.begun == ["old", "apart"]
    assert [each.service for each in fleet.failed] == ["old", "new"]
    waits = fleet.failed[1].error
    assert waits.message == "it needs 12.0 GiB of card 0, where old holds 21.0 GiB"
    assert waits.hint.startswith("deployctl down old ")


def test_what_is_no_part_of_the_fleet_is_in_the_way(make_release):
    host = Host(make_release, [holding("a", 9, 0, 1)], running=[holding("gone", 15, 1)], cards=2)
    [failed] = host.up().failed
    assert "of each of the cards 0, 1, where gone holds 15.0 GiB" in failed.error.message
    assert not host.begun


def test_one_that_is_as_it_is_to_be_is_not_to_be_ended(make_release):
    wanted, gone = [holding("a", 6), holding("b", 6)], holding("gone", 12)
    host = Host(make_release, wanted, running=[holding("a", 6), gone])
    [failed] = host.up().failed
    assert failed.error.message.endswith("where a holds 6.0 GiB, gone holds 12.0 GiB")
    assert failed.error.hint.startswith("deployctl down gone ends")


def test_two_that_change_places_say_which_to_end(make_release):
    wanted = [holding("a", 15, 1), holding("b", 15, 0)]
    host = Host(make_release, wanted, [holding("a", 15, 0), holding("b", 15, 1)], cards=2)
    failed = {each.service: each.error.hint for each in host.up().failed}
    assert failed["a"].startswith("deployctl down b ")
    assert failed["b"].startswith("deployctl down a ")


def test_ctrl_c_begins_no_other(make_release):
    host = Host(make_release, [holding("a", 9), holding("b", 6)])
    host.fates["a"] = InterruptedByUserError("interrupted")
    fleet = host.up()
    assert host.begun == ["a"]
    with pytest.raises(InterruptedByUserError, match="0 of 2 services"):
        fleet.enforce()


def test_what_a_plan_holds():
    plan, *_ = planned("awq", "l4", gpu_memory_utilization=0.5)
    assert held_by(plan) == CardHolding(plan.name, (0,), *[pytest.approx(22.03 / 2 + 0.75)] * 2)
    pinned, *_ = planned("awq", "l4", env={"CUDA_VISIBLE_DEVICES": "1"})
    assert held_by(pinned).cards == (1,)
    several, *_ = planned("awq", "l4", gpus=2, replicas=2)
    assert held_by(several).cards == (0, 1)
    elsewhere, *_ = planned("awq", "l4", env={"CUDA_VISIBLE_DEVICES": "GPU-7f57f032"})
    assert held_by(elsewhere).cards == ()  # which one that is, is not known


def test_what_runs_here_is_of_the_cards_or_of_the_cpu(make_release, tmp_path, monkeypatch):
    """An engine on the CPU has nothing of a card, and one that was left unfinished has its own; one
    that died has nothing, unless some of it is left."""
    store = Store(tmp_path / "state")
    states = {}

    def state(release):
        return states.get(release.service, EngineState("running"))

    monkeypatch.setattr(oncards, "open_store", lambda: (None, store))
    monkeypatch.setattr(oncards, "open_driver", lambda *_: SimpleNamespace(state=state))
    kinds = {"chat": "cuda", "words": "cpu"}
    for name, accelerator in kinds.items():
        release = make_release(status="deployed", name=name, plan={"accelerator": accelerator})
        store.save(ServiceRef("process", name), release)
    left = make_release(status="pending", name="left", plan={"accelerator": "cuda"})
    store.save(ServiceRef("process", "left"), left)
    assert sorted(running_here("cuda", ["process"])) == ["chat", "left"]
    assert sorted(running_here("cpu", ["process"])) == ["words"]
    states["left"] = EngineState("absent")
    assert sorted(running_here("cuda", ["process"])) == ["chat"]
    states["left"] = EngineState("dead", lingers=True)
    states["chat"] = EngineState("dead")
    assert sorted(running_here("cuda", ["process"])) == ["left"]


def test_of_two_fleets_at_once_the_second_begins_nothing(make_release, tmp_path, monkeypatch):
    """Each would count on room that the other is about to take."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    host = Host(make_release, [holding("a", 9)])
    host.deployments = [Deployment(ServiceSpec(model="m", name="a", target="process"))]
    how = host.planned, host.bring_up, host.told.append
    with cards_held(["process"], "deployctl up -f"):
        with pytest.raises(LockedError, match=r"cards is being changed by deployctl up -f \(pid"):
            up_in_order(host.deployments, *how)
        assert not host.begun
    assert not up_in_order(host.deployments, *how).failed
    assert host.begun == ["a"]


def test_once_another_has_the_cards_nothing_more_is_begun(make_release):
    """This machine slept, and its lock on a Docker engine was over."""
    host = Host(make_release, [holding("a", 9), holding("b", 9)])

    def still_ours():
        if host.begun:
            raise LockedError("the cards of host are being changed by deployctl up -f")

    host.still_ours = still_ours
    fleet = host.up()
    assert host.begun == [fleet.deployed[0].release.service]
    [left] = fleet.failed
    assert "the cards of host are being changed" in left.error.message
    assert host.told == [left]


@pytest.mark.parametrize(
    ("share", "others", "refused"),
    [
        (0.5, [], ""),
        (0.5, [holding("b", 9)], ""),
        (0.5, [holding("b", 12)], "needs 11.8 GiB of card 0, which has 22.0 GiB: b holds 12.0 GiB"),
        (0.5, [holding("b", 12, 1)], ""),  # on another card
        (0.5, [holding("b", 12), holding("tiny", 12)], ""),  # as much of it is there already
        (0.9, [holding("b", 9), holding("tiny", 12)], "card 0, which has 22.0 GiB: b holds 9.0"),
    ],
)
def test_a_revision_without_room_beside_the_others_is_not_gone_back_to(
    make_release, share, others, refused
):
    plan, *_ = planned("awq", "l4", name="tiny", gpu_memory_utilization=share)
    release = make_release().model_copy(update={"plan": plan})
    running = {each.service: each for each in others}
    if not refused:
        refuse_crowded(release, running)
        return
    with pytest.raises(PlanRefusedError, match=refused) as caught:
        refuse_crowded(release, running)
    assert caught.value.exit_code == 3
    assert caught.value.hint.startswith("deployctl down b makes room")


def test_what_is_in_place_has_the_room_that_it_had_whatever_we_count(
    make_release, tmp_path, monkeypatch
):
    """After a restart of the machine it is brought up as it was: it served beside the others. So
    may any other revision be that takes no more, whether the one in place has died or not."""
    store, ref = Store(tmp_path), ServiceRef("process", "tiny")
    monkeypatch.setattr(oncards, "running_here", lambda *_: {"b": holding("b", 12)})
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for revision, share in enumerate((0.95, 0.8, 0.9), start=1):
        plan, *_ = planned("awq", "l4", name="tiny", gpu_memory_utilization=share)
        status = "deployed" if revision == 3 else "superseded"
        release = make_release(revision=revision, status=status)
        store.save(ref, release.model_copy(update={"service": "tiny", "plan": plan}))
    refuse_no_room(store, ref, 3)
    refuse_no_room(store, ref, 2)
    with pytest.raises(PlanRefusedError, match="revision 1 needs"):
        refuse_no_room(store, ref, 1)
    # Where the shell says which card it gets, it is the first no more than that of the others was.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    refuse_no_room(store, ref, 1)


def test_what_this_host_has_is_told_without_a_cluster(make_release, tmp_path, monkeypatch):
    """It may be out of reach, and asks for a login where nobody is."""
    store = Store(tmp_path, {"kubernetes": lambda: pytest.fail("the cluster is asked")})
    monkeypatch.setattr(oncards, "open_store", lambda: (None, store))
    runs = SimpleNamespace(state=lambda release: EngineState("running"))
    monkeypatch.setattr(oncards, "open_driver", lambda *_: runs)
    release = make_release(status="deployed", name="chat", plan={"accelerator": "cuda"})
    store.save(ServiceRef("process", "chat"), release)
    (tmp_path / "kubernetes").mkdir()
    assert sorted(running_here("cuda", ["process"])) == ["chat"]
