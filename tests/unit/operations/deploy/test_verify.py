"""`up --verify`: what is asked of a revision, where it is tried, and how users are watched."""

import math
import socket

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError, InputError, PortTakenError, TargetError
from deployctl.hardware.nvidia import Card
from deployctl.load import slo as slos
from deployctl.metrics import Histogram, Snapshot
from deployctl.operations.deploy import placement, verification
from deployctl.operations.deploy.request import VerificationRequest, request_for
from deployctl.operations.deploy.verification import settle
from deployctl.operations.prepare import Tuned
from deployctl.planning.plan import MemoryBudget
from deployctl.spec import ServiceSpec
from deployctl.targets.driver import EngineState, Room
from deployctl.tuning.recommendation import ConfigurationResult, Hardware, Measured, Recommendation

SPEC = ServiceSpec(model="m")


def tuned(load="rate=3.5", slo="ttft_p95=1s", base=None, goal="goodput"):
    return Tuned(
        "r.yaml",
        Recommendation(
            verdict="winner", why="w", settings={"max_num_seqs": 64},
            measured=Measured(
                objective=goal, slo=slo, model="m", engine_version="0.32.0",
                target="docker", hardware=Hardware(gpu="l4"), workload="chat", seed=1, study="s",
                date="2026-11-24T09:00:00+00:00",
            ),
            baseline=ConfigurationResult(load=base),
            winner=ConfigurationResult(settings={"max_num_seqs": 64}, load=load),
        ),
        False,
        frozenset(),
    )  # fmt: skip


def asked(spec=SPEC, recommendation=None, **flags):
    settled = settle(VerificationRequest(**flags), recommendation, spec)
    return settled.slo.text, settled.load, settled.workload, settled.seconds


def test_a_recommendation_says_all_that_is_not_given():
    assert asked(recommendation=tuned()) == ("ttft_p95=1s", {"rate": 2.8}, "chat", 60.0)
    assert asked(recommendation=tuned("users=10"))[1] == {"users": 8}


@pytest.mark.parametrize(
    ("base", "goal", "rate"),
    [
        (None, "goodput", 8.0),  # well within the highest that held
        ("rate=6", "goodput", 8.0),
        ("rate=9", "goodput", 9.0),  # as much as before, at least
        ("rate=12", "goodput", 10.0),
        ("users=9", "goodput", 8.0),
        ("rate=6", "latency", 10.0),  # the load that was asked for
    ],
)
def test_the_highest_load_that_held_is_not_asked_for(base, goal, rate):
    assert asked(recommendation=tuned("rate=10", base=base, goal=goal))[1] == {"rate": rate}


def test_what_is_given_comes_first():
    told = asked(
        recommendation=tuned(), slo="e2e_p50=9s", users=3, workload="uniform", duration="2m"
    )
    assert told == ("e2e_p50=9s", {"users": 3}, "uniform", 120.0)
    assert asked(SPEC.model_copy(update={"users": 16}), tuned())[1] == {"users": 16}
    assert asked(recommendation=tuned(), rate=2.0)[1] == {"rate": 2.0}


@pytest.mark.parametrize("load", [None, "", "rate=", "users=nan", "fast=3", "users=1e999"])
def test_without_a_load_there_are_four_users(load):
    assert asked(slo="ttft_p95=1s")[1] == {"users": 4}
    assert asked(recommendation=tuned(load))[1] == {"users": 4}


def test_a_watch_takes_longer():
    assert asked(slo="ttft_p95=1s", watch=True)[3] == 300.0


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({"verify": True}, "--verify"),
        ({"verify": True, "slo": "fast"}, "--slo"),
        ({"slo": "ttft_p95=1s"}, "--slo"),
        ({"watch": True}, "--watch-metrics"),
        ({"canary": "no"}, "--beside"),
        ({"rate": 0.0}, "--rate"),
        ({"verify": True, "slo": "ttft_p95=1s", "duration": "soon"}, "--verify-for"),
        ({"verify": True, "slo": "ttft_p95=1s", "duration": "0s"}, "--verify-for"),
        ({"verify": True, "slo": "ttft_p95=1s", "rate": 1.0, "users": 2}, "--rate"),
        ({"verify": True, "slo": "tpot_p95=1s", "watch": True}, "--slo"),
        ({"verify": True, "slo": "ttft_p95=1s", "watch": True, "canary": "yes"}, "--beside yes"),
        ({"verify": True, "slo": "ttft_p95=1s", "watch": True, "rate": 1.0}, "--rate"),
    ],
)
def test_what_does_not_go_together_is_said(flags, where):
    verify = flags.get("verify", False)
    with pytest.raises(InputError) as caught:
        settle(request_for(SPEC, VerificationRequest(**flags), verify, False), None, SPEC)
    assert caught.value.where == where


def test_without_verify_nothing_is_verified():
    assert request_for(SPEC, VerificationRequest(), False, False) is None


# Where there is room.


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


@pytest.mark.parametrize("card", [Card(), Card(mig=True, memory_free_mib=99999)])
def test_of_a_card_that_says_nothing_nobody_knows(make_plan, card):
    plan = on_card(make_plan, 0.4)
    assert not placement.both_on_cards(plan, plan, [card]).free
    assert not placement.both_on_cards(plan, plan, []).free


def test_a_takeover_is_as_it_was_said(make_release, monkeypatch):
    release, state = make_release(gateway=True), EngineState("running")
    assert placement.takeover("no", "process", release, state, release) == (False, "as asked for")
    assert not placement.takeover("auto", "docker", release, state, release).free
    with pytest.raises(TargetError, match="no room for two engines") as caught:
        placement.takeover("yes", "docker", release, state, release)
    assert "--beside no" in caught.value.hint
    monkeypatch.setattr(placement.host, "memory", lambda: None)
    assert not placement.takeover("auto", "process", release, state, release).free


def test_beside_goes_without_verify_where_there_is_a_gateway():
    asked = VerificationRequest(canary="yes")
    assert request_for(SPEC.model_copy(update={"gateway": True}), asked, False, False) is None
    with pytest.raises(InputError, match="--beside goes with --verify"):
        request_for(SPEC, asked, False, False)


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
        assert free_port < placement.port(free_port - 1) <= free_port + 99
    assert placement.port(free_port - 1) == free_port
    with pytest.raises(PortTakenError) as caught:
        placement.port(65535)
    assert caught.value.where == "--beside"


# Watching.


class Watched:
    """A driver, a /metrics and a clock, all of which do as they are told."""

    def __init__(self, monkeypatch, scrapes):
        self.now, self.condition, self.replicas = 0.0, "running", 1
        self._scrapes = list(scrapes)
        monkeypatch.setattr(verification.metrics, "scrape", self._scrape)

    def _scrape(self, endpoint):
        found = self._scrapes.pop(0) if len(self._scrapes) > 1 else self._scrapes[0]
        if found is None:
            raise TargetError("/metrics does not answer")
        return found

    def engines(self, release):
        return [Endpoint("http://h:1", "m", None, "tiny")] * self.replicas

    def state(self, release):
        return EngineState(self.condition)

    def logs(self, release, *, tail, follow):
        return iter(["RuntimeError: boom"])

    def log_path(self, release):
        return None

    def sleep(self, seconds):
        self.now += seconds

    def watch(self, release, seconds=60.0):
        return verification.watch(
            self, release, slos.parse("ttft_p95=500ms"), seconds,
            clock=lambda: self.now, sleep=self.sleep,
        )  # fmt: skip


def scrape(count, slow=0):
    values = dict.fromkeys(Snapshot._fields)
    ttft = Histogram(((0.5, count), (math.inf, count + slow)), 1.0, count + slow)
    return Snapshot(**{**values, "at_s": 0.0, "generation_tokens": float(count), "ttft": ttft})


def test_a_watch_goes_on_to_its_end(monkeypatch, make_release):
    world = Watched(monkeypatch, [scrape(0), *(scrape(n * 20) for n in range(1, 40))])
    assert world.watch(make_release()).passed
    assert world.now == pytest.approx(60.0)


def test_a_watch_of_several_adds_them_up(monkeypatch, make_release):
    good = [scrape(0), *(scrape(n * 20) for n in range(1, 40))]
    slow = [scrape(0), *(scrape(0, n * 20) for n in range(1, 40))]
    world = Watched(monkeypatch, [one for pair in zip(good, slow, strict=True) for one in pair])
    world.replicas = 2
    judgement = world.watch(make_release())
    assert not judgement.passed  # half of all requests are slow
    (objective,) = judgement.objectives
    assert objective.samples == pytest.approx(2 * 20 * world.now / 2, abs=2 * 20)


def test_a_watch_of_nothing(monkeypatch, make_release):
    world = Watched(monkeypatch, [scrape(0)])
    world.replicas = 0
    with pytest.raises(TargetError, match="no engine is ready"):
        world.watch(make_release())


def test_a_watch_ends_when_it_is_missed_beyond_doubt(monkeypatch, make_release):
    world = Watched(monkeypatch, [scrape(0), *(scrape(0, n * 50) for n in range(1, 40))])
    assert not world.watch(make_release()).passed
    assert world.now < 10


def test_a_watch_of_an_engine_that_dies(monkeypatch, make_release):
    world = Watched(monkeypatch, [scrape(0)])
    world.condition = "dead"
    with pytest.raises(EngineError, match="died while it was watched"):
        world.watch(make_release())


def test_a_watch_bears_a_silence_and_no_long_one(monkeypatch, make_release):
    world = Watched(monkeypatch, [scrape(0), None, None, scrape(100)])
    assert world.watch(make_release()).passed
    world = Watched(monkeypatch, [scrape(0), None])
    with pytest.raises(TargetError):
        world.watch(make_release())
