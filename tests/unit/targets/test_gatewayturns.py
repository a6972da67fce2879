"""Who changes the gateway when: what waits for whom, under which lock, and what is not ended."""

import json
from contextlib import contextmanager

import pytest
from tests.unit.targets.gateways import ADDRESS, ports, wanting

from deployctl.errors import LockedError
from deployctl.render.gateway import NOBODY, SEEN_S, TRY_S
from deployctl.targets import lockfile
from deployctl.targets.gateway import Gateway
from deployctl.targets.gatewayfiles import FolderFiles


def test_a_change_lets_those_go_that_were_held_before_the_proxy_loads_it(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")
    machine.gateway.admit(wanting(hold_s=5), ADDRESS)
    assert machine.now >= 2 * TRY_S
    assert len(machine.proxy.loaded) == 2


def test_while_another_is_held_no_configuration_is_loaded(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")

    def end_of_the_update():
        if machine.now > 3:
            machine.gateway.lead("tiny", ADDRESS)

    machine.waking = end_of_the_update
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    assert 3 < machine.now < 4


def test_a_hold_that_nobody_ends_is_not_waited_for_longer_than_requests_wait(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    assert 30 <= machine.now < 31


def test_who_goes_does_not_wait_for_his_own_requests_that_are_held(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    machine.gateway.hold("tiny")
    assert machine.gateway.leave("tiny") == ["other"]
    assert machine.now == 0


def test_who_waits_goes_where_a_service_does_that_leaves(machine):
    machine.gateway.admit(wanting(replicas=2), ADDRESS, "127.0.0.1:8001")
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    machine.gateway.hold("tiny")
    led = set()
    machine.waking = lambda: led.update(machine.address(f"tiny.{n}") for n in range(2))
    assert machine.gateway.leave("tiny", to=["127.0.0.1:8005"]) == ["other"]
    assert led == {"127.0.0.1:8005"}
    assert machine.now >= 2 * TRY_S + SEEN_S


def test_for_another_address_it_is_made_ready_before_and_the_former_is_given_up(machine):
    """A port of the host cannot be published on loopback and on every interface."""
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.admit(wanting("other", port=9090), "127.0.0.1:9000")
    machine.proxy.ready, told = False, []
    machine.gateway.begin(wanting(exposed=True), told.append)
    at = [(each.host, each.port) for each in machine.proxy.known]
    assert at == [("127.0.0.1", 9090), ("0.0.0.0", 8080)]
    assert ports(machine)[-1] == ["monitor", "port-8080", "port-9090"]  # as before
    assert [each.kind for each in told] == ["warning"]
    assert "started anew to listen on 0.0.0.0:8080, 127.0.0.1:9090: " in told[0].text


def test_requests_that_wait_are_let_go_before_it_is_started_anew_which_would_cut_them(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")
    machine.proxy.ready = False
    machine.gateway.begin(wanting(exposed=True))
    assert len(machine.proxy.loaded) == 1
    machine.waking = lambda: led.append(machine.address())
    led = []
    machine.gateway.admit(wanting(exposed=True), "127.0.0.1:9000")
    assert led == ["127.0.0.1:9000"]
    assert machine.now >= 2 * TRY_S
    assert [each.host for each in machine.proxy.known] == ["0.0.0.0"]


def test_services_that_are_gone_are_forgotten_by_the_next_that_changes(machine):
    for name in ("tiny", "other", "third"):
        machine.gateway.admit(wanting(name), ADDRESS)
    machine.gone.add("other")
    machine.gateway.admit(wanting("tiny"), "127.0.0.1:9000")
    assert [each.service for each in machine.gateway.entries()] == ["third", "tiny"]
    assert "/other" not in json.dumps(machine.proxy.loaded[-1])
    assert not (machine.folder / "upstreams" / "other").exists()
    machine.gone.add("third")
    assert machine.gateway.leave("tiny") == []


def test_a_service_that_nobody_is_to_serve_keeps_no_other_waiting(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")
    machine.gateway.lead("tiny", NOBODY)
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    assert machine.now == 0


def test_one_that_another_service_comes_up_behind_is_not_ended(machine):
    machine.proxy.contained = True
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.begin(wanting("other"))  # its engine is not there yet
    assert machine.gateway.leave("tiny") == []
    assert not machine.gateway.end_unused("tiny")
    machine.gateway.admit(wanting("other"), ADDRESS)
    assert machine.gateway.leave("other") == []
    assert machine.gateway.end_unused("other")


@pytest.mark.parametrize("how", ["fails", "goes", "gone"])
def test_one_that_was_to_come_and_does_not_keeps_it_no_longer(machine, how):
    machine.proxy.contained = True
    machine.gateway.begin(wanting("other"))
    machine.proxy.alive = True
    if how == "goes":  # a deployctl was killed before
        assert machine.gateway.leave("other") is None
    if how == "gone":
        machine.gone.add("other")
    assert machine.gateway.end_unused("other" if how == "fails" else "tiny")


class Stolen(FolderFiles):
    """Files whose lock is another's once: this machine slept, and `meanwhile` was done."""

    def __init__(self, folder, meanwhile):
        super().__init__(folder)
        self.left = [meanwhile]

    @contextmanager
    def locked(self, tell):
        with super().locked(tell):
            yield self._check

    def _check(self):
        if self.left:
            self.left.pop()()
            raise LockedError("others have changed it")


@pytest.fixture
def stolen(machine):
    """Has another service come while the lock is held by one that sleeps."""
    third = wanting("third").model_dump_json()
    other = FolderFiles(machine.folder)
    files = Stolen(machine.folder, lambda: other.write("services/third.json", third))
    world = {"clock": lambda: machine.now, "sleep": machine._sleep}
    return Gateway(files, machine.proxy, **world)


def test_one_that_slept_looks_at_all_of_it_anew_before_it_tells_the_proxy(machine, stolen):
    stolen.admit(wanting(), ADDRESS)
    assert [each.service for each in machine.proxy.known] == ["third", "tiny"]
    assert "/third" in json.dumps(machine.proxy.loaded[-1])
    assert len(machine.proxy.loaded) == 1


def test_one_that_slept_ends_no_proxy_that_another_needs_by_now(machine, stolen):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.leave("tiny")
    assert not stolen.end_unused("tiny")
    assert machine.proxy.alive


def test_while_others_requests_wait_the_lock_is_free_and_it_is_said_for_whom(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")
    free, told = [], []

    def waking():
        with lockfile.opened(machine.folder / "lock") as descriptor:
            free.append(lockfile.take(descriptor, machine.folder))
        machine.gateway.lead("tiny", ADDRESS)

    machine.waking = waking
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000", tell=told.append)
    assert free == [True]
    assert [each.text for each in told] == ["waiting until the gateway holds no request for tiny"]


def test_two_that_are_exposed_no_more_do_not_wait_for_each_other(machine):
    """Each waited for the other's requests, which were to be turned away, as long as these did."""
    for name, port in (("tiny", 8080), ("other", 9090)):
        machine.gateway.admit(wanting(name, port=port, exposed=True), ADDRESS)
    machine.gateway.hold("tiny")
    machine.gateway.hold("other")
    came = []

    def comes():  # once the first waits for it
        machine.waking = lambda: None
        came.append(machine.gateway.admit(wanting("other", port=9090), "127.0.0.1:9000"))

    machine.waking = comes
    entry = machine.gateway.admit(wanting(), ADDRESS)
    assert machine.now < 1
    assert [each.exposed for each in (entry, *came)] == [False, False]
    assert (machine.address(), machine.address("other")) == (ADDRESS, "127.0.0.1:9000")
