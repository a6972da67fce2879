"""What is seen of a service while a revision comes up, and the former serves."""

import pytest

from deployctl.endpoint import Endpoint
from deployctl.operations.deploy import seen
from deployctl.spec.settings import Settings
from deployctl.targets.driver import EngineState
from deployctl.targets.history import replicas
from deployctl.targets.readiness import Reply
from deployctl.targets.several import together
from deployctl.targets.store import ServiceRef

REF = ServiceRef("process", "tiny")


class Driver:
    """Of engines that are as `there` says, by revision and replica; else absent."""

    replaces, gateway = False, None

    def __init__(self):
        self.there = {}

    def state(self, release):
        one = [self.there.get((e.revision, e.replica), "absent") for e in replicas(release)]
        return together([self._state(each) for each in one])

    def _state(self, condition):
        if condition == "halted":
            return EngineState("absent", "for a shutdown", halted=True)
        return EngineState(condition, "exit code 1" * (condition == "dead"))

    def endpoint(self, release):
        return Endpoint("http://127.0.0.1:1", str(release.revision), None)

    def log_path(self, release):
        return None

    def logs(self, release, *, tail, follow):
        return iter(())


@pytest.fixture
def driver(monkeypatch):
    driver = Driver()
    driver.loads = set()
    monkeypatch.setattr(seen, "open_driver", lambda target, settings: driver)
    monkeypatch.setattr(
        seen, "ask", lambda endpoint, timeout: Reply(int(endpoint.model) not in driver.loads)
    )
    return driver


def look(make, **more):
    releases = [make(1, "deployed", **more), make(2, "pending", **more)]
    found = seen.look_at(Settings(), REF, releases)
    return found.revision, found.health, found.coming


def test_what_loads_beside_the_one_that_serves_does_not_speak_for_it(driver, make_release):
    """`status` said `starting`, and of one that died `dead`, with exit code 4."""
    driver.there = {(1, None): "running", (2, None): "running"}
    driver.loads = {2}
    beside = "revision 2, which loads beside the one that serves"
    assert look(make_release, gateway=True) == (1, "serving", beside)
    driver.there[2, None] = "dead"
    died = "revision 2, which has died (exit code 1)"
    assert look(make_release, gateway=True) == (1, "serving", died)


def test_it_does_once_it_answers_or_the_former_is_gone(driver, make_release):
    driver.there = {(1, None): "running", (2, None): "running"}
    assert look(make_release, gateway=True) == (2, "serving", "")
    driver.there = {(2, None): "running"}
    driver.loads = {2}
    assert look(make_release, gateway=True) == (2, "starting", "")
    driver.there = {(2, None): "dead"}
    assert look(make_release, gateway=True) == (2, "dead", "")


def test_a_replica_that_died_amid_an_update_is_not_the_service(driver, make_release):
    driver.there = {(2, 0): "dead", (1, 1): "running"}
    died = "revision 2, which has died (replica 0: exit code 1; replica 1: it does not run)"
    assert look(make_release, plan={"replicas": 2}) == (1, "serving", died)
    driver.there = {(2, 0): "running", (1, 1): "running"}
    assert look(make_release, plan={"replicas": 2}) == (2, "serving", "")


@pytest.mark.parametrize("number", [1, 2])
def test_what_was_stopped_for_a_shutdown_has_not_died(driver, make_release, number):
    """`status` said `dead: the engine is gone`."""
    release = make_release(1, "deployed", plan={"replicas": number})
    driver.there = {(1, each.replica): "halted" for each in replicas(release)}
    found = seen.look_at(Settings(), REF, [release])
    assert (found.health, found.detail) == ("halted", "for a shutdown")
    assert [each.health for each in found.replicas] == ["halted"] * (number - number % 2)
    removed = seen.look_at(Settings(), REF, [release.model_copy(update={"status": "removed"})])
    assert removed.health == "stopped"
