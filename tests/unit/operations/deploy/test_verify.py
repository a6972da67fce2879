"""`up --verify`: what is asked of a revision, where it is tried, and how users are watched."""

import math

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import EngineError, InputError, TargetError
from deployctl.load import slo as slos
from deployctl.metrics import Histogram, Snapshot
from deployctl.operations.deploy import verification
from deployctl.operations.deploy.request import VerificationRequest, request_for
from deployctl.operations.deploy.verification import settle
from deployctl.operations.prepare import Tuned
from deployctl.spec import ServiceSpec
from deployctl.targets.driver import EngineState
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


def test_beside_goes_without_verify_where_there_is_a_gateway():
    asked = VerificationRequest(canary="yes")
    for behind in ({"gateway": True}, {"domain": "llm.example.com"}, {"replicas": 2}):
        assert request_for(SPEC.model_copy(update=behind), asked, False, False) is None
    with pytest.raises(InputError, match="--beside goes with --verify") as caught:
        request_for(SPEC, asked, False, False)
    assert caught.value.hint == "add --verify, or --gateway"
    on_a_cluster = SPEC.model_copy(update={"replicas": 2, "target": "kubernetes"})
    with pytest.raises(InputError, match="--beside goes with --verify"):
        request_for(on_a_cluster, asked, False, False)


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
