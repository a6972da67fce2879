"""Several services brought up at once: each by itself, and Ctrl-C for all that are under way."""

import signal
import threading
from types import SimpleNamespace

import pytest

from deployctl.errors import (
    ClusterError,
    InputError,
    InterruptedByUserError,
    SloMissedError,
    TargetError,
)
from deployctl.events import Event
from deployctl.operations.deploy import fleet
from deployctl.operations.deploy.deployed import Deployed, NotKept
from deployctl.operations.deploy.deployment import Deployment
from deployctl.operations.deploy.request import VerificationRequest
from deployctl.spec import ServiceSpec
from deployctl.targets.guards import Halt, shielded


def wanted(*names, target="kubernetes"):
    return [Deployment(ServiceSpec(model="m", name=name, target=target)) for name in names]


@pytest.fixture
def fates(monkeypatch, make_release):
    """What becomes of a service: an error, or something to do with its `tell` and `tools`."""
    fates = {}

    def up(deployment, tell, *, tools):
        fate = fates.get(deployment.spec.name)
        if isinstance(fate, Exception):
            raise fate
        if fate is not None:
            fate(tell, tools)
        release = make_release().model_copy(update={"service": deployment.spec.name})
        endpoint = SimpleNamespace(inside="http://x", url="http://y")
        return Deployed(release, "kubernetes", True, 1.0, 0.0, endpoint, None, None, None)

    monkeypatch.setattr(fleet, "up", up)
    return fates


def run(deployments, done=lambda became: None):
    return fleet.up_together(deployments, lambda name: lambda event: None, done)


def test_only_those_of_a_cluster_that_no_load_test_disturbs():
    assert fleet.together(wanted("a", "b"))
    assert not fleet.together(wanted("a"))
    assert not fleet.together([*wanted("a"), *wanted("b", target="docker")])
    (first,) = wanted("a")
    verified = Deployment(first.spec, verification=VerificationRequest(slo="ttft_p95=1s"))
    assert not fleet.together([verified, *wanted("b")])


def test_one_that_fails_stops_no_other(fates):
    fates["b"] = ClusterError("no card", where="b", hint="buy one")
    told = []
    became = run(wanted("a", "b", "c"), told.append)
    assert [each.release.service for each in became.deployed] == ["a", "c"]
    assert [each.document() for each in became.failed] == [
        {
            "service": "b", "target": "kubernetes", "error": "no card", "where": "b",
            "hint": "buy one", "exit_code": 4,
        }
    ]  # fmt: skip
    assert len(told) == 3
    with pytest.raises(TargetError, match="1 of 3 services did not come up: b") as caught:
        became.enforce()
    assert caught.value.exit_code == 4
    assert caught.value.hint.startswith("the others serve")


def test_what_was_measured_of_one_that_was_not_kept_is_told(fates):
    """As `up` of one service tells it."""
    measured = SimpleNamespace(document=lambda: {"verdict": "missed"})
    fates["a"] = SloMissedError("too slow")
    fates["a"].result = NotKept("a", "kubernetes", None, None, measured)
    [told] = [each.document() for each in run(wanted("a", "b")).failed]
    assert told["verification"] == {"verdict": "missed"}
    assert (told["revision"], told["error"], told["exit_code"]) == (None, "too slow", 5)


@pytest.mark.parametrize(
    ("errors", "code"),
    [((InputError("x"), InputError("y")), 2), ((InputError("x"), ClusterError("y")), 4)],
)
def test_the_exit_code_is_theirs_where_they_agree(fates, errors, code):
    fates["a"], fates["b"] = errors
    with pytest.raises(TargetError) as caught:
        run(wanted("a", "b")).enforce()
    assert caught.value.exit_code == code
    assert caught.value.hint is None  # there are no others


def test_ctrl_c_reaches_those_that_are_under_way(fates):
    waits = threading.Event()

    def begin(tell, tools):
        waits.set()
        tools.sleep(60)

    def press(tell, tools):
        waits.wait(10)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    fates["a"], fates["b"] = begin, press
    became = run(wanted("a", "b"))
    assert [each.service for each in became.failed] == ["a"]
    assert became.interrupted
    with pytest.raises(InterruptedByUserError, match="1 of 2 services were brought up"):
        became.enforce()


def test_a_halt_is_heard_once_and_not_while_it_is_shielded():
    called = threading.Event()
    halt = Halt(called)
    halt.check()
    called.set()
    with shielded(lambda: None):
        halt.check()
        halt.sleep(0)
    with pytest.raises(KeyboardInterrupt):
        halt.sleep(60)
    halt.check()
    halt.sleep(0)


def test_what_is_told_halts_too(fates):
    called = threading.Event()
    called.set()
    fates["a"] = lambda tell, tools: tell(Event("note", "x"))
    (deployment,) = wanted("a")
    became = fleet._one(deployment, Halt(called), lambda event: None)
    assert became.error.exit_code == 130
