"""What doctor says of a host: of its gateway, and of who has a port."""

from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from deployctl.errors import DockerError
from deployctl.operations import hostdoctor
from deployctl.targets.driver import EngineState
from deployctl.targets.shelf import FileShelf
from deployctl.targets.store import ServiceRef, Store

UP = SimpleNamespace(docker=SimpleNamespace(server="26.1"))
DOWN = SimpleNamespace(docker=SimpleNamespace(server=None))


class MemoryGateway:
    def __init__(self, services, trouble="", fails=None):
        self._services, self._trouble, self._fails = services, trouble, fails

    def entries(self):
        if self._fails:
            raise self._fails
        return [SimpleNamespace(service=name) for name in self._services]

    def trouble(self):
        return self._trouble


@pytest.mark.parametrize(
    ("facts", "gateway", "said"),
    [
        (UP, MemoryGateway(["chat", "code"]), [("pass", "before chat, code")]),
        (UP, MemoryGateway(["chat"], "it does not run"), [("warn", "chat: it does not run")]),
        (UP, MemoryGateway([], "it does not run"), []),
        (UP, MemoryGateway([], fails=DockerError("no")), [("warn", "no")]),
        (UP, None, []),
        (DOWN, MemoryGateway([], fails=DockerError("no")), []),
    ],
    ids=["well", "down", "unused", "unknown", "none", "no engine"],
)
def test_a_gateway_that_has_services_and_does_not_answer_is_told(monkeypatch, facts, gateway, said):
    driver = SimpleNamespace(gateway=gateway)
    monkeypatch.setattr(hostdoctor, "open_driver", lambda target, settings: driver)
    found = hostdoctor._gateway(facts, SimpleNamespace(target="docker"))
    assert [(check.status, check.detail) for check in found] == said
    assert all(check.id == "gateway" for check in found)


def test_who_has_a_port_of_this_machine_is_said_without_a_cluster(
    make_release, tmp_path, monkeypatch
):
    """It may be out of reach, and its services have no port here."""
    store = Store(tmp_path, {"kubernetes": lambda: pytest.fail("the cluster is asked")})
    monkeypatch.setattr(hostdoctor, "open_store", lambda: (None, store))
    (tmp_path / "kubernetes").mkdir()
    release = make_release(status="deployed", name="chat", port=8123)
    store.save(ServiceRef("process", "chat"), release)
    state = EngineState("running")
    driver = SimpleNamespace(state=lambda _: state)
    monkeypatch.setattr(hostdoctor, "open_driver", lambda *_: driver)
    assert hostdoctor._holder("docker", 8123) == ("chat", True)
    assert hostdoctor._holder("docker", 8124) == (None, False)
    state = EngineState("dead", "the machine was restarted")
    assert hostdoctor._holder("docker", 8123) == ("chat", False)
    monkeypatch.setenv("DOCKER_HOST", "ssh://ops@gpu1")  # whose ports are others
    assert hostdoctor._holder("docker", 8123) == (None, False)
    assert hostdoctor._holder("process", 8123) == ("chat", False)


def test_a_port_that_two_have_on_record_is_of_the_one_that_runs(
    make_release, tmp_path, monkeypatch
):
    """One died, and another came up there: doctor said of the port that it was the dead one's."""
    store = Store(tmp_path)
    monkeypatch.setattr(hostdoctor, "open_store", lambda: (None, store))
    for name in ("a-died", "came", "died"):
        release = make_release(status="deployed", name=name, port=8123)
        store.save(ServiceRef("process", name), release)
    states = {"came": EngineState("running")}
    driver = SimpleNamespace(state=lambda one: states.get(one.service, EngineState("dead")))
    monkeypatch.setattr(hostdoctor, "open_driver", lambda *_: driver)
    assert (
        hostdoctor._holder("docker", 8123)
        == hostdoctor._holder("docker", 8123, "died")
        == ("came", True)
    )
    states.clear()
    assert hostdoctor._holder("docker", 8123, "died") == ("died", False)


def test_each_of_several_processes_has_the_port_after_the_formers(
    make_release, tmp_path, monkeypatch
):
    store = Store(tmp_path)
    monkeypatch.setattr(hostdoctor, "open_store", lambda: (None, store))
    driver = SimpleNamespace(state=lambda _: EngineState("running"))
    monkeypatch.setattr(hostdoctor, "open_driver", lambda *_: driver)
    spec = {"target": "process", "replicas": 2, "gateway": True}
    release = make_release(status="deployed", name="chat", port=8123, **spec)
    store.save(ServiceRef("process", "chat"), release)
    found = [hostdoctor._holder("process", port)[0] for port in range(8122, 8126)]
    assert found == [None, "chat", "chat", None]


def test_an_engine_that_does_not_answer_is_asked_once(make_release, tmp_path, monkeypatch):
    """Each of its services waited for that, a minute."""
    asked = []

    class Unanswered(FileShelf):
        def stored(self, service):
            asked.append(service)
            raise DockerError("it does not answer")

    store = Store(tmp_path, {"docker": lambda: Unanswered(tmp_path / "docker")})
    for name in ("a", "b"):
        (tmp_path / "docker" / name / "releases").mkdir(parents=True)
    release = make_release(status="deployed", name="chat", port=8123)
    store.save(ServiceRef("process", "chat"), release)
    driver = SimpleNamespace(state=lambda _: EngineState("running"))
    monkeypatch.setattr(hostdoctor, "open_store", lambda: (None, store))
    monkeypatch.setattr(hostdoctor, "open_driver", lambda *_: driver)
    assert hostdoctor._holder("docker", 8123) == ("chat", True)
    assert asked == ["a"]


def test_in_docker_behind_the_gateway_a_service_has_no_port_of_the_machine(
    make_release, tmp_path, monkeypatch
):
    """Whatever listens there is another's, and was taken for it."""
    store = Store(tmp_path)
    monkeypatch.setattr(hostdoctor, "open_store", lambda: (None, store))
    for target, port in (("docker", 8123), ("process", 8124)):
        spec = {"target": target, "gateway": True}
        release = make_release(status="deployed", name=target, port=port, **spec)
        store.save(ServiceRef(target, target), release)
    unasked = SimpleNamespace(state=Mock(side_effect=DockerError("it does not answer")))
    monkeypatch.setattr(hostdoctor, "open_driver", lambda *_: unasked)
    assert hostdoctor._holder("docker", 8123) == (None, False)
    assert hostdoctor._holder("docker", 8124) == ("process", False)
