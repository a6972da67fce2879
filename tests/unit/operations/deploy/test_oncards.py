"""What a host's services hold of its cards and its memory, and what they are yet to take."""

from types import SimpleNamespace

import pytest

from deployctl.doctor import detect
from deployctl.doctor.facts import Gpus
from deployctl.errors import TargetError
from deployctl.hardware.nvidia import App, Card
from deployctl.operations.deploy import oncards
from deployctl.operations.deploy.oncards import running_here, yet_to_take
from deployctl.planning.fleet.order import held_by
from deployctl.targets.driver import EngineState
from deployctl.targets.store import ServiceRef, Store
from known import planned


@pytest.mark.parametrize(
    ("url", "there", "target"),
    [
        ("ssh://ops@gpu1", ["chat"], "docker"),
        ("ssh://ops@gpu1", ["here"], "process"),
        ("unix:///var/run/docker.sock", ["chat", "here"], "docker"),
        ("unix:///var/run/docker.sock", ["chat", "here"], "process"),
    ],
)
def test_what_this_machine_has_is_none_of_the_cards_of_another_host(
    make_release, tmp_path, monkeypatch, url, there, target
):
    """Its engine is reached from here, where processes run."""
    monkeypatch.setenv("DOCKER_HOST", url)
    monkeypatch.delenv("DOCKER_CONTEXT", raising=False)
    store = Store(tmp_path)
    monkeypatch.setattr(oncards, "open_store", lambda: (None, store))
    runs = SimpleNamespace(state=lambda release: EngineState("running"))
    monkeypatch.setattr(oncards, "open_driver", lambda *_: runs)
    for kind, name in (("docker", "chat"), ("process", "here")):
        release = make_release(status="deployed", name=name, plan={"accelerator": "cuda"})
        store.save(ServiceRef(kind, name), release)
    assert sorted(running_here("cuda", [target])) == there


def test_what_others_are_yet_to_take_is_what_they_begin_and_what_fills(
    make_release, tmp_path, monkeypatch
):
    """Of two updates at once each counts the other, for both are on record before either looks."""
    store, at_work = Store(tmp_path), {"begun", "new"}
    gateway = SimpleNamespace(at_work=at_work.__contains__)
    states = {"fills": EngineState("running", memory_bytes=2 << 30), "dead": EngineState("dead")}
    driver = SimpleNamespace(
        state=lambda release: states.get(release.service, EngineState("absent")), gateway=gateway
    )
    monkeypatch.setattr(oncards, "open_store", lambda: (None, store))
    monkeypatch.setattr(oncards, "open_driver", lambda *_: driver)

    def record(name, status, **plan):
        release = make_release(status=status, name=name, plan=plan)
        store.save(ServiceRef("process", name), release)
        return release

    memory = planned("awq", "l4")[0].memory.model_copy(
        update={"weights_gib": 2.0, "kv_cache_gib": 4.0}
    )
    cpu = {"accelerator": "cpu", "memory": memory}
    new = record("new", "pending", **cpu)
    for name, status in (
        ("begun", "pending"), ("left", "pending"), ("fills", "deployed"), ("dead", "deployed"),
    ):  # fmt: skip
        record(name, status, **cpu)
    footprint = oncards.held_by(new.plan).footprint
    taken = yet_to_take(new, "process")
    assert taken == {
        "begun": pytest.approx(footprint), "fills": pytest.approx(footprint - 2),
        "left": 0.0, "dead": 0.0,  # by a deployctl that was killed; and not to be started again
    }  # fmt: skip
    at_work.clear()
    assert yet_to_take(new, "process")["begun"] == 0.0


def test_of_a_card_only_what_is_about_to_start_is_yet_to_be_taken(
    make_release, tmp_path, monkeypatch
):
    store = Store(tmp_path)
    driver = SimpleNamespace(
        state=lambda release: EngineState("running"),
        # On Docker a canary has no lock of its own.
        gateway=SimpleNamespace(at_work=lambda service: service != "chat-canary"),
    )
    monkeypatch.setattr(oncards, "open_store", lambda: (None, store))
    monkeypatch.setattr(oncards, "open_driver", lambda *_: driver)

    def record(name, status, card, candidate_of=None):
        plan, *_ = planned(
            "awq", "l4", name=name, gpu_memory_utilization=0.4, env={"CUDA_VISIBLE_DEVICES": card}
        )
        more = {"plan": plan, "candidate_of": candidate_of}
        release = make_release(status=status, name=name).model_copy(update=more)
        store.save(ServiceRef("process", name), release)
        return release

    new = record("new", "pending", "0")
    record("serves", "deployed", "0")
    record("elsewhere", "pending", "1")
    begun = record("begun", "pending", "0")
    record("chat-canary", "pending", "0", candidate_of="chat")
    taken = {name: gib for name, gib in yet_to_take(new, "process").items() if gib}
    footprint = held_by(begun.plan).footprint
    assert taken == {"begun": footprint, "chat-canary": footprint}


@pytest.fixture
def loads(make_release, tmp_path, monkeypatch):
    """What one that loads on cards 0 and 1 is yet to take, by what the driver says that pid 7 has
    of each, in MiB; pid 8 is another's."""
    store = Store(tmp_path)
    driver = SimpleNamespace(
        state=lambda release: EngineState("running", pids=(6, 7)),
        gateway=SimpleNamespace(at_work=lambda service: True),
    )
    monkeypatch.setattr(oncards, "open_store", lambda: (None, store))
    monkeypatch.setattr(oncards, "open_driver", lambda *_: driver)

    def yet(*had, **card):
        cards = tuple(Card(index=n, uuid=f"GPU-{n}", **card) for n in range(2))
        apps = tuple(App(7, "vllm", f"GPU-{n}", mib) for n, mib in enumerate(had))
        gpus = Gpus(cards=cards, apps=(*apps, App(8, None, "GPU-0", 9000)))
        monkeypatch.setattr(detect, "ask_gpus", lambda run: gpus)
        return yet_to_take(release, "process")["begun"]

    for name in ("begun", "new"):
        env = {"CUDA_VISIBLE_DEVICES": "0,1"}
        plan, *_ = planned("awq", "l4", name=name, gpus=2, gpu_memory_utilization=0.4, env=env)
        release = make_release(status="pending", name=name).model_copy(update={"plan": plan})
        store.save(ServiceRef("process", name), release)
    return SimpleNamespace(yet=yet, driver=driver, footprint=held_by(release.plan).footprint)


def test_what_one_that_loads_has_of_a_card_is_not_yet_to_be_taken(loads):
    """It counted twice: as taken, and as missing."""
    assert loads.yet(4096, 2048) == pytest.approx(loads.footprint - 2)
    assert loads.yet(80_000, 80_000) == 0.0


@pytest.mark.parametrize(
    ("had", "card"), [((4096,), {}), ((4096, None), {}), ((4096, 4096), {"mig": True})]
)
def test_of_what_the_driver_does_not_tell_all_is_yet_to_be_taken(loads, had, card):
    assert loads.yet(*had, **card) == loads.footprint


def test_of_one_that_cannot_be_asked_all_is_yet_to_be_taken(loads):
    def state(release):
        raise TargetError("it is not known")

    loads.driver.state = state
    assert loads.yet(4096, 4096) == loads.footprint
