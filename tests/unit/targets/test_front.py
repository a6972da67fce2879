"""When a rollout has requests held and led, by what its driver and its gateway did in turn."""

import pytest

from deployctl.errors import EngineError
from deployctl.targets.gateway import Waits


class MemoryGateway:
    """Writes down what it was told, among what the driver did."""

    def __init__(self, did):
        self.did, self.served = did, set()

    def admit(self, wanted, address):
        self.served.add(wanted.service)
        self.did.append(("lead", address))

    def hold(self, service):
        if service in self.served:
            self.did.append(("hold", service))
        return service in self.served

    def leave(self, service):
        self.did.append(("leave", service))
        self.served.discard(service)
        return []

    def end_unused(self):
        self.did.append(("end", ""))
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
    rollout, release = behind.rollout(), make_release(gateway=True, hold=5)
    rollout.up(release.spec, release.plan, release.bundle)
    assert said(behind) == ["hold", "close", "stop", "start", "lead"]
    held = rollout.front.held()
    assert held.seconds > 0
    assert held.document() == {
        "seconds": round(held.seconds, 1), "requests": 3, "waited": 2, "longest_s": 1.5,
        "turned_away": 0,
    }  # fmt: skip
    assert "new requests wait in the gateway" in behind.notes()


def test_a_bad_revision_leads_requests_back(behind, make_release):
    behind.driver.fates[2] = "dies"
    with pytest.raises(EngineError):
        behind.up(make_release(gateway=True, hold=5))
    assert said(behind) == ["hold", "close", "stop", "start", "stop", "stop", "start", "lead"]


def test_what_serves_already_is_led_to_all_the_same(behind, make_release):
    rollout, release = behind.rollout(), make_release(gateway=True)
    assert not rollout.up(release.spec, release.plan, release.bundle).changed
    assert said(behind) == ["lead"]  # a deployctl that was killed may have left it held
    assert rollout.front.held() is None


def test_a_service_that_goes_is_served_no_more_before_its_requests_end(behind):
    behind.rollout().down(volumes=False)
    assert said(behind) == ["leave", "close", "stop", "end"]


def test_one_that_wants_it_no_more_leaves_it(behind, make_release):
    behind.up(make_release(max_num_seqs=2))
    assert said(behind) == ["hold", "close", "stop", "start", "leave", "end"]
