"""Where there is room: for a canary, and for an engine that takes over from another."""

import socket
from types import SimpleNamespace

import pytest

from deployctl import host
from deployctl.doctor import detect, machine
from deployctl.errors import InputError, PortTakenError, TargetError
from deployctl.hardware.nvidia import Card
from deployctl.operations.deploy import deployment, placement
from deployctl.planning.plan import MemoryBudget
from deployctl.spec import ServiceSpec
from deployctl.spec.settings import Settings
from deployctl.targets import open_store
from deployctl.targets.docker import engine as docker_engine
from deployctl.targets.driver import EngineState, Room
from deployctl.targets.store import ServiceRef

SPEC = ServiceSpec(model="m")


@pytest.fixture(autouse=True)
def others(monkeypatch):
    """What other services are yet to take, in GiB."""
    found = {}
    monkeypatch.setattr(placement, "yet_to_take", lambda new, target: found)
    return found


def memory(**more):
    given = {
        "gpu_total_gib": 24.0, "budget_gib": 20.0, "weights_gib": 2.0, "non_torch_gib": 0.0,
        "activation_gib": 0.5, "cudagraph_gib": 0.0, "kv_cache_gib": 1.0, "kv_cache_tokens": 1,
        "kv_bytes_per_token": 1, **more,
    }  # fmt: skip
    return MemoryBudget(**given)


@pytest.mark.parametrize(
    ("free", "tp", "fits"), [(8.0, 1, True), (6.0, 1, False), (12.0, 2, False), (16.0, 2, True)]
)
def test_a_cpu_has_room_for_what_the_plan_says(make_plan, free, tp, fits):
    plan = make_plan(SPEC, memory=memory(), tensor_parallel_size=tp)
    choice = placement.on_cpu(plan, free, placement.CORES)
    assert choice.canary is fits
    assert f"{free} GiB are available" in choice.why


def test_two_engines_on_two_cores_only_where_it_is_asked_for(make_plan):
    plan = make_plan(SPEC, memory=memory())
    choice = placement.on_cpu(plan, 100.0, 2)
    assert choice == (False, "two engines on 2 cores starve each other", None)
    assert placement.on_cpu(plan, 100.0, 2, forced=True).canary
    assert not placement.on_cpu(plan, 1.0, 2, forced=True).canary


def test_what_cannot_be_told_is_no_room(make_plan):
    assert not placement.on_cpu(make_plan(SPEC), 100.0, 8).canary
    assert not placement.on_cpu(make_plan(SPEC, memory=memory()), None, 8).canary
    assert not placement.on_gpu(make_plan(SPEC), [Card(index=0, memory_free_mib=99999)]).canary


def test_gpus_have_room_where_as_many_are_free(make_plan):
    plan = make_plan(SPEC, memory=memory(), tensor_parallel_size=2)
    cards = [Card(index=n, memory_free_mib=f) for n, f in enumerate((900, 22000, None, 22000))]
    assert placement.on_gpu(plan, cards)[::2] == (True, "1,3")
    assert (
        "it needs 2 GPUs with 20.0 GiB free, and there is 1"
        in placement.on_gpu(plan, cards[:2]).why
    )


def test_a_cpu_has_room_for_two_once_the_one_that_serves_has_all_its_memory(make_plan):
    plan = make_plan(SPEC, memory=memory())  # 6 GiB

    def room(held, free, cores=placement.CORES, **more):
        return placement.both_on_cpu(plan, held, plan, free, cores, **more)

    assert room(6.0, 8.0).free
    assert not room(2.0, 8.0).free  # of which the other will have four
    assert room(2.0, 12.0) == (True, "it needs about 6.0 GiB, and 8.0 GiB are available")
    assert room(6.0, 8.0, 2) == (False, "two engines on 2 cores starve each other")
    assert room(6.0, 8.0, 2, forced=True).free
    assert not placement.both_on_cpu(plan, 6.0, make_plan(SPEC), 99.0, 8).free
    assert not placement.both_on_cpu(plan, 6.0, plan, None, 8).free


def on_card(make_plan, share, **env):
    kept = memory(budget_gib=24.0 * share)
    plan = make_plan(SPEC, memory=kept, accelerator="cuda")
    return plan.model_copy(update={"engine": plan.engine.model_copy(update={"env": env})})


def test_cards_have_room_for_two_whose_shares_and_what_is_outside_of_them_are_free(make_plan):
    def room(one, other, free_gib, **env):
        plans = on_card(make_plan, one), on_card(make_plan, other, **env)
        return placement.both_on_cards(*plans, [Card(index=0, memory_free_mib=free_gib * 1024)])

    said = "they have 0.90 and 0.90 of a card's memory"
    assert room(0.9, 0.9, 24) == (False, said)
    assert room(0.4, 0.5, 14).free
    taken = room(0.4, 0.5, 12)  # by the other, and by somebody else: its share alone is free
    assert (taken.free, "12.0 GiB are free" in taken.why) == (False, True)
    assert room(0.9, 0.9, 24, CUDA_VISIBLE_DEVICES="1").free  # another card


def test_the_cards_that_the_new_one_gets_are_looked_at(make_plan, make_release, monkeypatch):
    cards = [Card(index=n, memory_free_mib=mib) for n, mib in enumerate((99_000, 14_000, 100))]
    monkeypatch.setattr(detect, "ask_gpus", lambda run, **_: detect.Gpus(None, "", tuple(cards)))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    old = make_release(gateway=True).model_copy(update={"plan": on_card(make_plan, 0.4)})

    def why(target="process", **env):
        new = old.model_copy(update={"plan": on_card(make_plan, 0.4, **env)})
        return placement.takeover("auto", target, old, EngineState("running"), new).why

    assert "96.7 GiB are free" in why()
    assert "13.7 GiB are free" in why(CUDA_VISIBLE_DEVICES="1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,1")
    assert "0.1 GiB are free" in why()
    assert "96.7 GiB are free" in why("docker")  # a container gets the first ones
    assert "13.7 GiB are free" in why("docker", CUDA_VISIBLE_DEVICES="1")


@pytest.mark.parametrize("card", [Card(), Card(mig=True, memory_free_mib=99999)])
def test_of_a_card_that_says_nothing_nobody_knows(make_plan, card):
    plan = on_card(make_plan, 0.4)
    assert not placement.both_on_cards(plan, plan, [card]).free
    assert not placement.both_on_cards(plan, plan, []).free


def test_room_on_another_host_is_by_what_that_one_says(make_plan, make_release, monkeypatch):
    """By ssh: of this machine nothing counts."""
    told = machine.Machine(host.HostMemory(64.0, 48.0), 16, None, ports=frozenset({8001, 8002}))
    nothing = machine.Machine(None, None, None)
    monkeypatch.setenv("DOCKER_HOST", "ssh://ops@gpu1")
    monkeypatch.setattr(machine, "of", lambda target: told if target == "docker" else nothing)
    plan = make_plan(SPEC, memory=memory())
    choice = placement.room(plan, "docker")
    assert choice.canary
    assert "48.0 GiB are available" in choice.why
    assert not placement.room(plan, "process").canary
    assert placement.port(8000, "docker") == 8003
    release = make_release(gateway=True).model_copy(update={"plan": plan})
    state = EngineState("running")
    assert placement.takeover("auto", "docker", release, state, release).free


def test_of_a_docker_engine_counts_what_the_kernel_has_that_it_is_on(
    make_plan, make_release, monkeypatch
):
    """In a virtual machine on this one: memory and cores of this one are none of its own."""
    meminfo = "MemTotal:  8388608 kB\nMemAvailable:  {} kB\n"
    one, said = SimpleNamespace(), [(0, meminfo.format(7 << 20))]
    there = SimpleNamespace(running=lambda: [one] * len(said), cpus=lambda: 4)
    there.asked = lambda container, words: said.pop(0) if len(said) > 1 else said[0]
    monkeypatch.setattr(docker_engine, "here", lambda: there)
    monkeypatch.setattr(placement.host, "memory", lambda: host.HostMemory(64.0, 60.0))
    monkeypatch.setattr(placement.host, "cores", lambda: 16)
    plan = make_plan(SPEC, memory=memory())  # 6 GiB
    release, state = (
        make_release(gateway=True).model_copy(update={"plan": plan}),
        EngineState("running", memory_bytes=6 << 30),
    )
    for found in (
        placement.room(plan, "docker"),
        beside := placement.takeover("auto", "docker", release, state, release),
    ):
        assert found[:2] == (True, "it needs about 6.0 GiB, and 7.0 GiB are available")
    assert beside.free
    said[:] = [(1, "no such file"), (0, meminfo.format(3 << 20))]
    assert not placement.room(plan, "docker").canary
    assert "3.0 GiB are available" in placement.room(plan, "docker").why
    assert "60.0 GiB are available" in placement.room(plan, "process").why
    said[:], there.cpus = [(0, meminfo.format(7 << 20))], lambda: 2
    assert "on 2 cores" in placement.takeover("auto", "docker", release, state, release).why
    said.clear()  # nothing of ours runs there
    assert "is unknown" in placement.room(plan, "docker").why


def test_what_others_are_yet_to_take_is_not_free(make_plan, make_release, monkeypatch, others):
    plan, state = make_plan(SPEC, memory=memory()), EngineState("running", memory_bytes=6 << 30)
    monkeypatch.setattr(placement, "_free", lambda target: (12.0, 8))
    release = make_release(gateway=True).model_copy(update={"plan": plan})

    def room():
        return placement.takeover("auto", "process", release, state, release)

    others["words"] = 0.01
    assert room() == (True, "it needs about 6.0 GiB, and 12.0 GiB are available")
    others["words"] = 6.0
    assert room().free is False
    assert room().why.endswith("and 6.0 GiB are available: words is yet to take 6.0 GiB")
    card = Card(index=0, memory_free_mib=14 * 1024)
    monkeypatch.setattr(placement, "_cards_of", lambda *_: [card])
    release = release.model_copy(update={"plan": on_card(make_plan, 0.4)})
    assert "8.0 GiB are free: words is yet" in room().why
    others.clear()
    assert room().free


def test_a_takeover_is_as_it_was_said(make_release, monkeypatch):
    release, state = make_release(gateway=True), EngineState("running")
    assert placement.takeover("no", "process", release, state, release) == (False, "as asked for")
    monkeypatch.setenv("DOCKER_HOST", "tcp://gpu1:2375")
    monkeypatch.setattr(placement, "both_on_cpu", lambda *_, **__: Room(True, "there is room"))
    assert placement.takeover("auto", "process", release, state, release).free
    assert not placement.takeover("auto", "docker", release, state, release).free
    with pytest.raises(TargetError, match="memory of another host is unknown") as caught:
        placement.takeover("yes", "docker", release, state, release)
    assert "--beside no" in caught.value.hint
    monkeypatch.setenv("DOCKER_HOST", "unix:///var/run/docker.sock")
    monkeypatch.setattr(placement, "_free", lambda target: (None, 1))
    assert placement.takeover("auto", "docker", release, state, release).free
    monkeypatch.undo()
    monkeypatch.setattr(placement.host, "memory", lambda: None)
    assert not placement.takeover("auto", "process", release, state, release).free


def test_a_rollback_that_can_have_nothing_beside_it_is_refused(make_release, tmp_path, monkeypatch):
    """It replaced what served, and nobody answered meanwhile."""
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path / "state"))
    store = open_store(Settings())
    for number, status in ((1, "superseded"), (2, "deployed")):
        store.save(ServiceRef("process", "tiny"), make_release(number, status))
    with pytest.raises(InputError, match="revision 1 of tiny is behind no gateway") as caught:
        deployment.rollback("tiny", 1, beside="yes")
    assert caught.value.where == "--beside yes"
    placement.refuse_no_gateway(make_release(gateway=True))


def test_nothing_serves_or_users_are_watched_or_it_was_said():
    for serving, watch, said in ((False, False, "auto"), (True, True, "auto"), (True, False, "no")):
        assert not placement.place(said, None, watch=watch, serving=serving).canary


def test_on_a_cluster_its_nodes_decide():
    def place(asked, free, serving=True):
        room = Room(free, "n1 has 1 nvidia.com/gpu free")
        return placement.place(asked, None, watch=False, serving=serving, cluster=lambda: room)

    assert place("auto", True) == (True, "n1 has 1 nvidia.com/gpu free", None)
    assert not place("auto", False).canary
    assert not place("no", True).canary
    assert not place("auto", True, serving=False).canary
    with pytest.raises(TargetError, match="no room for a canary"):
        place("yes", False)


def test_the_canary_s_port_is_the_next_free_one(free_port):
    with socket.create_server(("127.0.0.1", free_port)):
        assert free_port < placement.port(free_port - 1, "process") <= free_port + 99
    assert placement.port(free_port - 1, "process") == free_port
    with pytest.raises(PortTakenError) as caught:
        placement.port(65535, "process")
    assert caught.value.where == "--beside"
