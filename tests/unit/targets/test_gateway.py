"""The gateway's files: what holds a service, what leads it, and when its proxy is told."""

import json
from datetime import datetime

import pytest
from tests.unit.targets.gateways import ADDRESS, Machine, ports, wanting

from deployctl.errors import InputError, StateError, TargetError
from deployctl.render.gateway import HELD, NOBODY, TRY_S


def test_an_update_is_two_small_files_and_tells_the_proxy_nothing(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    assert ports(machine) == [["monitor", "port-8080"]]
    assert machine.gateway.hold("tiny")
    assert machine.address() == HELD
    machine.gateway.admit(wanting(), "127.0.0.1:9000")
    assert machine.address() == "127.0.0.1:9000"
    assert len(machine.proxy.loaded) == 1
    assert machine.now == 0


def addresses(machine, count=2):
    return [machine.address(f"tiny.{number}") for number in range(count)]


def test_one_of_several_engines_is_held_and_the_others_are_not(machine):
    machine.gateway.admit(wanting(replicas=2), ADDRESS, "127.0.0.1:8001")
    assert machine.gateway.hold("tiny", {1})
    assert addresses(machine) == [ADDRESS, HELD]
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    assert machine.now == 0  # nobody waits
    machine.gateway.lead("tiny", ADDRESS, "127.0.0.1:8001")
    assert addresses(machine) == [ADDRESS, "127.0.0.1:8001"]
    assert machine.gateway.hold("tiny")
    assert addresses(machine) == [HELD, HELD]


def test_one_that_gets_a_second_engine_lets_those_go_that_wait_for_the_first(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.hold("tiny")
    machine.gateway.admit(wanting(replicas=2), ADDRESS, "127.0.0.1:8001")
    assert machine.now >= 2 * TRY_S
    there = {path.name for path in (machine.folder / "upstreams").iterdir()}
    assert there == {"tiny.0", "tiny.1"}
    machine.gateway.admit(wanting(), ADDRESS)
    assert [path.name for path in (machine.folder / "upstreams").iterdir()] == ["tiny"]
    machine.gateway.admit(wanting(replicas=2), ADDRESS, ADDRESS)
    machine.gateway.leave("tiny")
    assert not list((machine.folder / "upstreams").iterdir())


@pytest.mark.parametrize("count", [1, 2])
def test_what_asks_for_no_key_is_led_to_once_nobody_comes_from_outside(machine, count):
    """Those that waited were let go, and others came, before the proxy had its configuration: as
    long as another service's requests waited."""
    machine.gateway.admit(wanting(exposed=True), ADDRESS)
    machine.gateway.admit(wanting("other", port=9090), "127.0.0.1:9000")
    machine.gateway.hold("other")
    machine.gateway.hold("tiny")
    apply, upstreams, seen = machine.proxy.apply, machine.folder / "upstreams", set()

    def look():
        seen.update(path.read_text() for path in upstreams.glob("tiny*"))
        if machine.now > 5:
            machine.gateway.lead("other", "127.0.0.1:9000")

    machine.waking = look
    machine.proxy.apply = lambda *given: (look(), apply(*given))
    given = [f"127.0.0.1:{8000 + n}" for n in range(count)]
    entry = machine.gateway.admit(wanting(replicas=count), *given)
    assert (seen, machine.now > 5) == ({NOBODY}, True)
    there = [(upstreams / name).read_text() for name in entry.upstreams]
    assert (there, entry.exposed) == (given, False)
    assert machine.gateway.held("tiny") is None
    assert not list(upstreams.glob("tiny.exposed*"))


def test_who_came_from_outside_and_the_proxy_has_still_is_led_by_no_address_of_loopback(machine):
    """A stranger that was slow with a body, which the proxy was to keep, was let in with it once
    the service was exposed no more."""
    machine.gateway.admit(wanting(exposed=True), ADDRESS)
    outside = json.dumps(machine.proxy.loaded[-1])
    entry = machine.gateway.admit(wanting(), "127.0.0.1:9000")
    (name,) = entry.upstreams
    assert f"{{file.upstreams/{name}}}" not in outside
    assert f"{{file.upstreams/{name}}}" in json.dumps(machine.proxy.loaded[-1])


def test_nobody_is_led_to_an_engine_that_died_and_those_of_one_that_lives_are(live, told):
    """One that its watchdog is about to start again lives, and keeps its requests."""
    live.gateway.admit(wanting(exposed=True, replicas=2), ADDRESS, "127.0.0.1:8001")
    for known in (live.engines["tiny"], None):  # or unknown: a record of its is damaged
        live.engines["tiny"] = known
        live.gateway.vacate(told.append)
        assert told == []
    live.engines["tiny"] = [ADDRESS]
    live.gateway.vacate(told.append)
    assert [live.address(f"tiny.exposed.{n}") for n in range(2)] == [ADDRESS, NOBODY]
    what = "requests for tiny wait: its engine at 127.0.0.1:8001 has ended"
    assert [each.text for each in told] == [what]
    live.gateway.hold("tiny")
    live.engines["tiny"] = []
    live.gateway.vacate(told.append)
    assert (live.gateway.held("tiny") is not None, len(told)) == (True, 1)


@pytest.mark.parametrize("restarted", [True, False])
def test_another_service_s_up_leads_no_stranger_where_an_engine_was(live, told, restarted):
    """The machine was restarted, or it died alone, and a program of somebody's has its port."""
    live.gateway.admit(wanting(exposed=True), ADDRESS)
    live.proxy.alive = not restarted
    live.engines = {"other": ["127.0.0.1:9000"]}
    apply, seen = live.proxy.apply, []
    live.proxy.apply = lambda *given: (seen.append(live.address("tiny.exposed")), apply(*given))
    live.gateway.admit(wanting("other", port=9090), "127.0.0.1:9000", tell=told.append)
    assert seen == [NOBODY]
    assert live.address("other") == "127.0.0.1:9000"


@pytest.fixture
def live(tmp_path):
    """A gateway that is told where engines are: by service, in `engines`."""
    made = Machine(tmp_path, lambda service: made.engines.get(service, ()))
    made.engines = {"tiny": [ADDRESS, "127.0.0.1:8001"]}
    return made


@pytest.fixture
def told():
    return []


def test_it_holds_and_leads_nothing_that_it_does_not_serve(machine):
    assert not machine.gateway.hold("tiny")
    machine.gateway.lead("tiny", ADDRESS)
    assert not (machine.folder / "upstreams").exists()


def test_a_proxy_that_died_is_started_by_the_next_up(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.proxy.alive = False
    machine.gateway.admit(wanting(), ADDRESS)
    assert len(machine.proxy.loaded) == 2


def test_a_hold_of_a_deployctl_that_was_killed_keeps_nobody_waiting_and_is_told(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    assert machine.gateway.held("tiny") is None
    machine.gateway.hold("tiny")
    assert machine.gateway.held("tiny").left is False
    machine.killed.add("tiny")
    since, left = machine.gateway.held("tiny")
    assert left
    assert datetime.fromisoformat(since).tzinfo
    machine.gateway.hold("tiny")
    assert machine.gateway.held("tiny").since == since
    machine.gateway.admit(wanting("other"), "127.0.0.1:9000")
    assert machine.now == 0
    machine.gateway.admit(wanting(), ADDRESS)
    assert machine.gateway.held("tiny") is None


def test_what_the_proxy_does_not_take_is_taken_back(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    before = (machine.folder / "caddy.json").read_bytes()
    machine.proxy.refuses = TargetError("no")
    with pytest.raises(TargetError):
        machine.gateway.admit(wanting(port=9090), ADDRESS)
    with pytest.raises(TargetError):
        machine.gateway.admit(wanting("other"), ADDRESS)
    assert machine.gateway.entries() == [wanting(root=True)]
    assert (machine.folder / "caddy.json").read_bytes() == before


@pytest.mark.parametrize("end", [KeyboardInterrupt(), SystemExit()])
def test_one_that_is_stopped_before_the_proxy_has_loaded_leaves_it_to_the_next(machine, end):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.proxy.refuses = end
    with pytest.raises(type(end)):
        machine.gateway.admit(wanting("other"), ADDRESS)
    machine.proxy.refuses = None
    assert machine.gateway.entries() == [wanting(root=True)]
    machine.gateway.admit(wanting("other"), ADDRESS)
    assert "/other" in json.dumps(machine.proxy.loaded[-1])


def test_one_that_is_stopped_once_the_proxy_has_loaded_is_taken_back_there_too(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.proxy.stopped = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        machine.gateway.admit(wanting(port=9090), ADDRESS)
    machine.proxy.stopped = None
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.admit(wanting(), ADDRESS)
    assert [each[1] for each in ports(machine)] == ["port-8080", "port-9090", "port-8080"]


def test_the_last_to_leave_ends_it(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.admit(wanting("other"), ADDRESS)
    assert machine.gateway.leave("tiny") == ["other"]
    assert not machine.gateway.end_unused("tiny")
    assert machine.gateway.leave("other") == []
    assert machine.gateway.end_unused("tiny")
    assert machine.gateway.leave("other") is None
    assert not machine.proxy.alive
    assert not list((machine.folder / "upstreams").iterdir())


def test_one_that_is_closed_forgets_nobody(machine):
    machine.gateway.close()
    assert not (machine.folder / "lock").exists()  # there was none to end
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.close()
    assert not machine.proxy.alive
    machine.gateway.hold_all(["tiny"])
    assert machine.proxy.alive
    assert machine.proxy.loaded[-1] == machine.proxy.loaded[0]


def test_one_that_takes_no_configuration_keeps_a_service_that_leaves_until_it_does(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.gateway.admit(wanting("other"), ADDRESS)
    machine.proxy.refuses = TargetError("it hangs")
    with pytest.raises(TargetError, match="it hangs"):
        machine.gateway.leave("tiny")
    machine.proxy.refuses = None
    assert machine.gateway.leave("tiny") == ["other"]
    assert "/tiny" not in json.dumps(machine.proxy.loaded[-1])


def test_one_that_takes_no_configuration_is_ended_by_the_last_all_the_same(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    machine.proxy.refuses = TargetError("it hangs")
    assert machine.gateway.leave("tiny") == []
    assert machine.gateway.end_unused("tiny")
    assert not machine.proxy.alive


def test_a_request_through_it_is_awaited_and_not_for_ever(machine):
    entry = machine.gateway.admit(wanting(), ADDRESS)
    machine.says = ["no answer within 5 s", "HTTP 503"]
    machine.gateway.await_answer(entry)
    assert 0 < machine.now < 1
    machine.says = ["HTTP 503"] * 1000
    with pytest.raises(TargetError, match="not through the gateway: HTTP 503"):
        machine.gateway.await_answer(entry)


def test_the_monitors_port_is_no_services(machine):
    machine.gateway.admit(wanting(port=20190), ADDRESS)
    assert machine.gateway.monitor_port() == 20191
    with pytest.raises(InputError, match="port 20191 is where the gateway tells") as caught:
        machine.gateway.preflight(wanting("other", port=20191))
    assert caught.value.where == "gateway_port"


def test_what_does_not_fit_beside_others_is_refused_before(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    with pytest.raises(InputError, match="without --expose"):
        machine.gateway.preflight(wanting("other", exposed=True))


def test_a_damaged_record_is_named(machine):
    machine.gateway.admit(wanting(), ADDRESS)
    (machine.folder / "services" / "tiny.json").write_text("{")
    with pytest.raises(StateError, match="cannot be read"):
        machine.gateway.entries()


def test_waits_are_what_requests_spent_before_their_engine(machine):
    line = {"service": "tiny", "ts": 100.0, "status": 200}
    machine.log(
        {**line, "ts": 99.0, "total_ms": "90000", "engine_ms": "1"},  # before
        {**line, "total_ms": "1200.5", "engine_ms": "1200.0"},  # a long answer
        {**line, "total_ms": "9000", "engine_ms": "2000"},
        {**line, "total_ms": "30000", "engine_ms": "", "status": 503},
        {**line, "service": "other", "total_ms": "80000", "engine_ms": "0"},
        "no line of Caddy's",
    )
    assert machine.gateway.waits("tiny", 100.0) == (3, 2, 30.0, 1)
    # Caddy has begun another log meanwhile, by how much they say of it.
    rolled = {**line, "total_ms": "40000", "engine_ms": "0"}
    machine.log(rolled, name="access-2026-01-02T03-04-05.678-size.log")
    assert machine.gateway.waits("tiny", 100.0) == (4, 3, 40.0, 1)


def test_without_a_log_nothing_is_known(machine):
    assert machine.gateway.waits("tiny", 0.0) == (0, 0, 0.0, 0)
