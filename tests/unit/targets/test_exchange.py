"""Replicas that take each other's places one by one, on a driver that is all memory."""

from types import SimpleNamespace

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError, InterruptedByUserError, TargetError
from deployctl.render.gateway import SEEN_S
from deployctl.targets.exchange import rolls
from deployctl.targets.history import replicas
from deployctl.targets.readiness import Reply
from deployctl.targets.store import ServiceRef
from deployctl.targets.waits import Waits

REF = ServiceRef("process", "tiny")


def number(release):
    """Of an engine: 10 is revision 1's only one or its first, 21 revision 2's second."""
    return release.revision * 10 + (release.replica or 0)


class SeveralEngines:
    """Tells a MemoryDriver of each engine by itself, as if it were a revision."""

    def __init__(self, one):
        self._one, self.gateway = one, None
        self.ports = {}  # of engines that have another than their own

    def __getattr__(self, name):
        return getattr(self._one, name)

    def _each(self, release):
        return [SimpleNamespace(revision=number(each)) for each in replicas(release)]

    def start(self, release, tell, *, serves=None):
        for each in self._each(release):
            if each.revision not in self._one.running:
                self._one.start(each, tell, serves=serves)

    def stop(self, release, tell):
        for each in self._each(release):
            self._one.stop(each, tell)

    def publish_keys(self, release):
        for each in self._each(release):
            self._one.publish_keys(each)

    def close_door(self, release):
        told = [self._one.close_door(each) for each in self._each(release)]
        return all(told)

    def state(self, release):
        states = [self._one.state(each) for each in self._each(release)]
        running = [state for state in states if state.condition == "running"]
        return running[0] if running else states[0]

    def endpoint(self, release):
        port = self.ports.get(number(release), release.spec.port + (release.replica or 0))
        return Endpoint(f"http://127.0.0.1:{port}", str(number(release)), None)

    def logs(self, release, *, tail, follow):
        return self._one.logs(self._each(release)[0], tail=tail, follow=follow)


class Pool:
    """A gateway that writes down what it was told, and for whom requests could wait."""

    def __init__(self, did):
        self.did, self.entry, self.contained = did, None, False

    def exposes(self, service):
        return self.entry is not None and self.entry.exposed

    def admit(self, wanted, *addresses, tell):
        self.entry = wanted
        self.did.append(("lead", [int(each[-4:]) for each in addresses]))

    def begin(self, wanted, tell):
        return None

    def await_answer(self, entry):
        return None

    def lead(self, service, *addresses):
        self.did.append(("lead", addresses))

    def hold(self, service, numbers=None):
        if self.entry is not None:
            self.did.append(("hold", numbers))
        return self.entry is not None

    def leave(self, service, tell, *, to=()):
        self.did.append(("leave", service))

    def end_unused(self, service, tell):
        return True

    def waits(self, service, since):
        return Waits(0, 0, 0.0, 0)


@pytest.fixture
def several(world, make_release):
    """A world in which revision 1 serves with two replicas; `make` makes another."""
    world.driver = SeveralEngines(world.driver)
    world.driver.gateway = Pool(world.driver.did)
    world.under_way = lambda engine: 0
    world.make = lambda count=2, **more: make_release(plan={"replicas": count}, **more)
    world.up(world.make())
    assert world.driver.running == {10, 11}
    world.driver.did.clear()
    world.before = world.now
    return world


def said(world):
    kept = ("hold", "close", "stop", "start", "lead", "publish")
    return [f"{what} {of}" for what, of in world.driver.did if what in kept]


def taken(old, new, at, count=2):
    """How one engine takes another's place, which has the pool's number `at`."""
    ports = [8000 + n for n in range(count)]
    return [f"hold {{{at}}}", f"close {old}", f"stop {old}", f"start {new}", f"lead {ports}"]


def test_where_one_is_asked_to_come_up_beside_others_it_is_said_what_replicas_do(several):
    several.asked, several.beside = True, lambda *_: pytest.fail("nobody is to look for room")
    several.up(several.make(env={"A": "1"}))
    assert [note for note in several.notes() if note.startswith("--beside yes: replicas take")]
    assert several.driver.running == {20, 21}


def test_all_are_started_at_once_where_nothing_serves(world, make_release):
    world.driver = SeveralEngines(world.driver)
    world.driver.gateway = Pool(world.driver.did)
    world.up(make_release(plan={"replicas": 3}))
    assert said(world) == ["start 10", "start 11", "start 12", "lead [8000, 8001, 8002]"]


def test_one_is_replaced_after_the_other_and_only_it_gets_no_requests(several):
    rollout, release = several.rollout(), several.make(env={"A": "1"})
    rollout.up(release.spec, release.plan, release.bundle)
    assert said(several) == [*taken(10, 20, 0), *taken(11, 21, 1)]
    assert several.now - several.before >= SEEN_S  # the first gets requests again
    assert (rollout.gaps_s, rollout.front.held()) == ([], None)
    assert several.statuses() == {1: "superseded", 2: "deployed"}


@pytest.mark.parametrize("fate", ["dies", "silent"])
def test_a_bad_revision_takes_the_place_of_one_and_the_others_are_not_touched(several, fate):
    several.driver.fates[20] = fate
    with pytest.raises(EngineError) as caught:
        several.up(several.make(env={"A": "1"}))
    assert "revision 1 serves again" in caught.value.hint
    assert several.driver.running == {10, 11}
    assert not [each for each in said(several) if "11" in each]
    assert several.statuses() == {1: "deployed", 2: "failed"}


def test_one_that_fails_later_has_all_before_it_brought_back_one_by_one(several):
    """First in its own place: of two, the one before it is all that serves."""
    several.driver.fates[21] = "dies"
    with pytest.raises(EngineError):
        several.up(several.make(env={"A": "1"}))
    back = said(several)[len(taken(10, 20, 0)) + 4 :]
    first = ["hold {1}", "stop 21", "start 11", "lead [8000, 8001]"]
    assert back == [*first, *taken(20, 10, 0), "lead [8000, 8001]"]
    assert several.driver.running == {10, 11}


def test_what_of_a_bad_revision_serves_on_is_on_record_and_ended_by_the_next_up(several):
    several.driver.fates |= {21: "dies", 11: "dies"}
    with pytest.raises(EngineError) as caught:
        several.up(several.make(env={"A": "1"}))
    assert "revision 1 could not be restored" in caught.value.hint
    assert "some of revision 2 is left; deployctl up or down tiny ends it" in caught.value.hint
    assert several.driver.running == {20}
    assert several.statuses() == {1: "deployed", 2: "pending"}
    several.driver.fates.clear()
    several.up(several.make(env={"B": "1"}))
    assert several.driver.running == {30, 31}
    assert several.statuses() == {1: "superseded", 2: "failed", 3: "deployed"}


def test_what_does_not_hold_its_slo_is_taken_back_one_by_one(several):
    def no(release):
        raise TargetError("too slow")

    release = several.make(env={"A": "1"})
    with pytest.raises(TargetError):
        several.rollout().up(release.spec, release.plan, release.bundle, verify=no)
    assert said(several)[10:-1] == [*taken(20, 10, 0), *taken(21, 11, 1)]


def test_ctrl_c_leaves_those_alone_that_were_not_replaced(several):
    several.driver.fates[20] = [KeyboardInterrupt()]
    with pytest.raises(InterruptedByUserError):
        several.up(several.make(env={"A": "1"}))
    assert several.driver.running == {10, 11}
    assert "stop 11" not in said(several)


def test_ctrl_c_while_one_ends_has_it_started_again(several, monkeypatch):
    """It runs still, and will not: it was told to end, and its door is closed for good."""
    stop, cut = several.driver.stop, [KeyboardInterrupt()]

    def ends(release, tell):
        if cut:
            raise cut.pop()
        stop(release, tell)

    monkeypatch.setattr(several.driver, "stop", ends)
    with pytest.raises(InterruptedByUserError):
        several.up(several.make(env={"A": "1"}))
    order = said(several)
    assert order[:4] == ["hold {0}", "close 10", "stop 10", "hold {0}"]
    assert order[4:] == ["stop 20", "start 10", "lead [8000, 8001]", "lead [8000, 8001]"]
    assert several.driver.running == {10, 11}


def test_one_that_is_not_replaced_yet_gets_its_requests_where_it_is(several):
    """An only one that came up beside the former has another port than its own."""
    several.up(several.make(1, gateway=True))
    several.driver.ports[20] = 9999
    several.driver.did.clear()
    several.up(several.make())
    assert said(several) == ["hold set()", "start 31", "lead [9999, 8001]", *taken(20, 30, 0)]


def test_more_come_before_and_fewer_go_after(several):
    several.up(several.make(3))
    assert said(several)[1:3] == ["start 22", "lead [8000, 8001, 8002]"]
    several.driver.did.clear()
    several.up(several.make(1, gateway=True))
    assert said(several)[:5] == taken(20, 30, 0, 1)
    assert said(several)[5:-1] == ["close 21", "stop 21", "close 22", "stop 22"]
    assert several.driver.running == {30}


@pytest.mark.parametrize(
    "other", [{"port": 9000}, {"env": {"CUDA_VISIBLE_DEVICES": "3,4"}}], ids=["ports", "cards"]
)
def test_what_wants_other_ports_or_cards_takes_the_place_of_all_at_once(several, other):
    release = several.make(**other)
    assert not rolls(several.make(), release)
    several.up(release)
    order = said(several)
    assert order[0] == "hold None"
    assert order.index("stop 11") < order.index("start 20")


def test_what_is_as_it_is_wanted_is_not_touched_and_one_that_died_is_replaced(several):
    assert not several.up(several.make()).changed
    several.driver.fates[11] = "silent"
    assert several.up(several.make()).changed
    assert several.driver.running == {20, 21}


def test_one_that_has_died_is_replaced_before_the_one_that_serves(several):
    several.driver.running.remove(10)
    several.driver.dead[10] = "exit code 1"
    several.up(several.make(env={"A": "1"}))
    first = ["hold {0}", "stop 10", "start 20", "lead [8000, 8001]"]
    assert said(several) == [*first, *taken(11, 21, 1)]
    several.driver.did.clear()
    several.driver.running.remove(21)
    several.up(several.make(env={"B": "1"}))
    first = ["hold {1}", "stop 21", "start 31", "lead [8000, 8001]"]
    assert said(several) == [*first, *taken(20, 30, 0)]


def test_one_that_was_killed_in_the_middle_is_gone_on_with(several):
    release = several.make(revision=2, env={"A": "1"})
    several.store.save(REF, release)
    several.driver.running.symmetric_difference_update({10, 20})
    outcome = several.up(release)
    assert (outcome.release.revision, several.driver.running) == (2, {20, 21})
    assert "stop 20" not in said(several)
    assert said(several)[-5:] == taken(11, 21, 1)


def test_all_go_together_and_their_doors_close_before_the_first_ends(several):
    several.rollout().down(volumes=False)
    assert said(several) == ["close 10", "close 11", "stop 10", "stop 11"]


def test_a_key_that_changes_counts_in_those_that_are_not_replaced_yet(several):
    several.environment["DEPLOYCTL_API_KEY"] = "k" * 32
    several.up(several.make(expose=True))
    several.driver.did.clear()
    several.environment["DEPLOYCTL_API_KEY"] = "l" * 32
    several.up(several.make(env={"A": "1"}, expose=True))
    order = said(several)
    assert order.index("publish 21") < order.index("start 30")


def test_none_without_a_key_serves_once_the_gateway_is_exposed(several):
    """The first replica that had one was led to by an exposed gateway, and the others with it."""
    several.environment["DEPLOYCTL_API_KEY"] = "k" * 32
    several.up(several.make(expose=True))
    order = said(several)
    assert order[0] == "hold None"
    assert order.index("stop 11") < order.index("lead [8000, 8001]")


def test_a_part_is_not_on_record(make_release):
    engine = replicas(make_release(plan={"replicas": 2}))[1]
    assert (engine.replica, "replica" in engine.model_dump()) == (1, False)
    assert replicas(engine) == [engine]


def test_going_back_to_what_is_in_place_changes_nothing(several):
    outcome = several.rollout().rollback(1)
    assert (outcome.release.revision, outcome.changed) == (1, False)
    assert not [each for each in said(several) if each.startswith(("stop", "start", "close"))]


def test_of_replicas_that_should_serve_only_those_that_do_not_are_started(several):
    """`rollback` to the revision in place, as `boot --start` calls it, ended those that served."""
    running = several.driver.running
    several._ask = lambda endpoint, timeout: Reply(int(endpoint.model) in running)
    running.remove(11)
    outcome = several.rollout().rollback(1)
    assert (outcome.release.revision, outcome.changed) == (1, True)
    assert [each for each in said(several) if "11" in each or "10" in each] == [
        "stop 11", "start 11",
    ]  # fmt: skip
    assert several.driver.running == {10, 11}
    running.remove(11)
    several.driver.did.clear()
    several.driver.fates[11] = "dies"
    with pytest.raises(EngineError):
        several.rollout().rollback(1)
    assert several.driver.running == {10}, "the other serves on"
    assert not [each for each in said(several) if each == "lead ()"]
