"""When a rollout has requests held and led, by what its driver and its gateway did in turn."""

import pytest

from deployctl.errors import EngineError, StateError, TargetError
from deployctl.render.gateway import NOBODY, entry_of
from deployctl.targets.drain import ARRIVES_S
from deployctl.targets.waits import Waits

from .conftest import REF


class MemoryGateway:
    """Writes down what it was told, among what the driver did."""

    def __init__(self, did):
        self.did, self.served = did, set()
        self.fails = {}  # an error to raise, by what is asked
        self.runs = True
        self.exposed, self.contained, self.took = False, False, None

    def exposes(self, service):
        return self.exposed

    def begin(self, wanted, tell):
        self.did.append(("begin", ""))
        self.runs = self.runs or wanted is not None

    def admit(self, wanted, address, tell):
        self.served.add(wanted.service)
        self.did.append(("lead", address))
        return wanted

    def await_answer(self, entry):
        self.did.append(("asked", entry.service))
        if "asked" in self.fails:
            raise self.fails["asked"]

    def lead(self, service, address):
        if service in self.served:
            self.did.append(("lead", address))

    def hold(self, service):
        if service in self.served:
            self.did.append(("hold", service))
        return service in self.served

    def leave(self, service, tell, *, to=()):
        self.did.append(("leave", service))
        self.took = to
        if "leave" in self.fails:
            raise self.fails["leave"]
        self.served.discard(service)
        return []

    def end_unused(self, service, tell):
        if self.served and "leave" not in self.fails:
            return False
        self.did.append(("end", ""))
        if "end" in self.fails:
            raise self.fails["end"]
        return True

    def waits(self, service, since):
        return Waits(3, 2, 1.5, 0)


@pytest.fixture
def behind(world, make_release):
    """A world with a gateway, in which revision 1 serves behind it."""
    world.driver.gateway = MemoryGateway(world.driver.did)
    world.under_way = lambda revision: 0
    world.up(make_release(gateway=True))
    assert ("lead", "127.0.0.1:1") in world.driver.did
    world.driver.did.clear()
    return world


def said(world):
    kept = ("hold", "close", "stop", "start", "lead", "leave", "end")
    return [what for what, _ in world.driver.did if what in kept]


def test_requests_are_held_before_the_door_closes_and_led_once_the_engine_answers(
    behind, make_release
):
    rollout, release = behind.rollout(), make_release(gateway=True, env={"A": "1"})
    rollout.up(release.spec, release.plan, release.bundle)
    assert said(behind) == ["hold", "close", "stop", "start", "lead"]
    held = rollout.front.held()
    assert held.seconds > 0
    assert held.document() == {
        "seconds": round(held.seconds, 1), "requests": 3, "waited": 2, "longest_s": 1.5,
        "turned_away": 0,
    }  # fmt: skip
    assert "new requests wait in the gateway" in behind.notes()


@pytest.mark.parametrize(
    ("more", "first"), [({"gateway_port": 9090}, "begin"), ({"expose": True}, "hold")]
)
def test_it_is_made_ready_before_requests_wait_but_exposes_no_engine_that_is_not(
    behind, make_release, more, first
):
    behind.environment = {"DEPLOYCTL_API_KEY": "sk-" + "a" * 40}
    release = make_release(gateway=True, env={"A": "1"}, **more)
    behind.rollout().up(release.spec, release.plan, release.bundle)
    assert next(what for what, _ in behind.driver.did if what in ("begin", "hold")) == first


def test_what_the_gateway_has_sent_on_arrives_before_the_door_closes(behind, monkeypatch):
    begun, closed, close = behind.now, [], behind.driver.close_door
    monkeypatch.setattr(
        behind.driver, "close_door", lambda release: closed.append(behind.now) or close(release)
    )
    behind.rollout().down(volumes=False)
    assert closed == [begun + ARRIVES_S]


def test_a_bad_revision_leads_requests_back(behind, make_release):
    behind.driver.fates[2] = "dies"
    with pytest.raises(EngineError):
        behind.up(make_release(gateway=True, env={"A": "1"}))
    assert said(behind) == ["hold", "close", "stop", "start", "stop", "stop", "start", "lead"]


def test_one_that_was_led_to_and_does_not_stay_is_held_before_its_door_closes(behind, make_release):
    def no(release):
        raise TargetError("too slow")

    rollout, release = behind.rollout(), make_release(gateway=True, env={"A": "1"})
    with pytest.raises(TargetError, match="too slow"):
        rollout.up(release.spec, release.plan, release.bundle, verify=no)
    up, back = said(behind)[:5], said(behind)[5:]
    assert up == ["hold", "close", "stop", "start", "lead"]
    assert back == ["hold", "close", "stop", "stop", "start", "lead"]


def test_requests_are_not_held_for_one_that_is_restored_and_late(behind, make_release):
    behind.driver.fates |= {1: "silent", 2: "dies"}
    with pytest.raises(EngineError) as caught:
        behind.up(make_release(gateway=True, env={"A": "1"}))
    assert "could not be restored" in caught.value.hint
    assert said(behind)[-2:] == ["start", "lead"]


@pytest.mark.parametrize("starts", [True, False])
def test_where_nothing_is_left_to_serve_nothing_is_held(behind, make_release, starts):
    if starts:  # what served is started again, which fails
        behind.driver.fates |= {1: StateError("no room"), 2: "dies"}
    else:
        behind.driver.running.clear()
        behind.driver.fates[2] = "dies"
    with pytest.raises(EngineError):
        behind.up(make_release(gateway=True, env={"A": "1"}))
    addresses = [what for kind, what in behind.driver.did if kind in ("hold", "lead")]
    assert addresses == ["tiny", "127.0.0.1:1" if starts else NOBODY]


def test_a_gateway_that_was_started_for_one_that_does_not_come_up_is_ended(world, make_release):
    world.driver.gateway = MemoryGateway(world.driver.did)
    world.driver.fates[1] = "dies"
    with pytest.raises(EngineError):
        world.up(make_release(gateway=True))
    assert said(world) == ["start", "stop", "end"]


def test_what_serves_already_is_led_to_all_the_same(behind, make_release):
    rollout, release = behind.rollout(), make_release(gateway=True)
    assert not rollout.up(release.spec, release.plan, release.bundle).changed
    assert said(behind) == ["lead"]  # a deployctl that was killed may have left it held
    assert rollout.front.held() is None


def test_an_engine_is_not_replaced_for_a_gateway_that_somebody_ended(behind, make_release):
    """Where it is asked by that alone, it runs before."""
    behind.driver.gateway.runs, asked = False, []
    rollout, release = behind.rollout(), make_release(gateway=True)
    tools = rollout._tools
    rollout._tools = tools._replace(
        ask=lambda at, seconds: asked.append(behind.driver.gateway.runs) or tools.ask(at, seconds)
    )
    assert not rollout.up(release.spec, release.plan, release.bundle).changed
    assert asked == [True]


def test_a_service_that_goes_is_served_no_more_before_its_requests_end(behind):
    behind.rollout().down(volumes=False)
    assert said(behind) == ["leave", "close", "stop", "end"]


def test_one_that_wants_it_no_more_leaves_it(behind, make_release):
    behind.up(make_release(env={"A": "1"}))
    assert said(behind) == ["hold", "close", "stop", "start", "leave", "end"]


@pytest.mark.parametrize(
    ("gateway", "more", "goes"),
    [
        ({}, {}, True),
        ({"exposed": True}, {}, False),  # and the engine asks for no key
        ({"exposed": True}, {"expose": True}, True),
        ({"contained": True}, {}, False),  # it does not reach a port of the host
    ],
)
def test_of_requests_that_wait_for_one_behind_no_gateway_it_is_said_what_becomes(
    behind, make_release, gateway, more, goes
):
    behind.environment = {"DEPLOYCTL_API_KEY": "sk-" + "a" * 40}
    vars(behind.driver.gateway).update(gateway)
    told = []
    starts = behind.driver.start
    behind.driver.start = lambda *given, **more: (
        told.extend(behind.notes()) or starts(*given, **more)
    )
    behind.up(make_release(env={"A": "1"}, **more))
    what = "go to it" if goes else "are turned away with 503"
    assert told[-1] == (
        "revision 2 is behind no gateway: once it answers, requests that wait there "
        f"{what}, and the gateway serves tiny no more"
    )
    assert behind.driver.gateway.took == (["127.0.0.1:1"] if goes else [])


def test_a_gateway_that_leads_nobody_to_the_new_engine_is_found_out(behind, make_release):
    behind.driver.gateway.fails["asked"] = TargetError("the engine answers, and not through it")
    with pytest.raises(TargetError, match="not through it") as caught:
        behind.up(make_release(gateway=True, env={"A": "1"}))
    assert "revision 1 serves again" in caught.value.hint
    assert [what for what, _ in behind.driver.did if what == "asked"] == ["asked"]
    assert behind.statuses() == {1: "deployed", 2: "failed"}


@pytest.mark.parametrize("step", ["leave", "end"])
def test_a_service_goes_down_whatever_its_gateway_fails_at(behind, step):
    behind.driver.gateway.fails[step] = TargetError("it hangs", where="its log")
    with pytest.raises(TargetError, match=r"tiny is down, .* it hangs"):
        behind.rollout().down(volumes=False)
    assert said(behind) == ["leave", "close", "stop", "end"]
    assert behind.statuses() == {1: "removed"}
    assert "it hangs" in behind.notes()


def test_what_the_gateway_alone_is_to_do_otherwise_replaces_no_engine(behind, make_release):
    rollout, release = behind.rollout(), make_release(gateway=True, hold=5)
    assert not rollout.up(release.spec, release.plan, release.bundle).changed
    assert [what for what, _ in behind.driver.did] == ["begin", "preflight", "lead", "asked"]
    (kept,) = behind.store.releases(REF)
    assert (kept.revision, kept.spec.hold, entry_of(kept.bundle).hold_s) == (1, 5, 5)
    behind.driver.did.clear()
    behind.up(make_release())
    assert said(behind) == ["leave", "end"]
    assert entry_of(behind.store.releases(REF)[0].bundle) is None


def test_one_that_is_not_exposed_starts_where_nobody_from_outside_is_led(behind):
    """A deployctl was killed that had exposed the next revision; it listened at the same port."""
    behind.driver.gateway.exposed = True
    behind.driver.running.clear()
    behind.rollout().rollback(1)
    assert said(behind) == ["stop", "hold", "start", "lead"]
