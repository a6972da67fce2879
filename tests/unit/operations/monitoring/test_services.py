"""Which services monitoring watches."""

from types import SimpleNamespace

import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.operations.monitoring import watched as module
from deployctl.spec.settings import Settings
from deployctl.targets.driver import EngineState
from deployctl.targets.store import ServiceRef
from known import planned


class Records:
    """A service of each target; the cluster is not there."""

    def services(self, target=None):
        if target in (None, "kubernetes"):
            raise TargetError("the cluster does not answer")
        return [ServiceRef(target, f"on-{target}")]

    def others(self):
        return [ServiceRef("docker", "of-another")]


@pytest.fixture
def looked_at(monkeypatch):
    """The services that were looked at."""
    found = []
    monkeypatch.setattr(module, "open_store", lambda settings: Records())
    monkeypatch.setattr(module, "_service", lambda settings, store, ref: found.append(ref.service))
    return found


def test_a_cluster_that_is_away_keeps_no_host_from_being_watched(looked_at):
    assert module.services_here(Settings(), lambda event: None) == []
    assert looked_at == ["on-docker", "on-process", "of-another"]


class Recorded(Records):
    """A service on Docker, whose record says that it serves; `coming`: and a revision after it."""

    def __init__(self, *coming):
        plan, spec, _ = planned("awq", "l4", name="chat")
        more = {"candidate_of": None, "plan": plan, "spec": spec}
        self._releases = [
            SimpleNamespace(status=status, **more) for status in ("deployed", *coming)
        ]

    def services(self, target=None):
        return [ServiceRef("docker", "chat")] if target == "docker" else []

    def others(self):
        return []

    def releases(self, ref):
        return self._releases


@pytest.mark.parametrize(
    ("condition", "coming", "watched"),
    [
        ("running", [], ["chat"]),
        ("dead", [], ["chat"]),
        ("absent", [], []),
        ("halted", [], ["chat"]),  # boot --stop says that it is missed
        ("absent", ["pending"], ["chat"]),
        ("absent", ["failed"], ["chat"]),  # an update, and then nothing could be restored
    ],
)
def test_one_that_was_removed_by_hand_pages_nobody(monkeypatch, condition, coming, watched):
    halted = condition == "halted"
    driver = SimpleNamespace(
        gateway=None,
        state=lambda _: EngineState("absent" if halted else condition, halted=halted),
        endpoint=lambda release: Endpoint("http://127.0.0.1:8000", None, None),
    )
    monkeypatch.setattr(module, "open_store", lambda settings: Recorded(*coming))
    monkeypatch.setattr(module, "open_driver", lambda target, settings: driver)
    told = []
    found = module.services_here(Settings(), told.append)
    assert [each.watched.plan.name for each in found] == watched
    assert ["removed by hand" in event.text for event in told] == ([] if watched else [True])


@pytest.mark.parametrize("at", [["8000", "8001"], ["8000", "9123"], ["20190/a", "20190/b"]])
def test_replicas_are_watched_where_they_are_also_after_one_took_over(monkeypatch, at):
    """Of processes the ports after the first one's were taken for the others'."""
    engines = tuple(Endpoint(f"http://127.0.0.1:{each}", None, None) for each in at)
    driver = SimpleNamespace(
        gateway=None,
        state=lambda release: EngineState("running"),
        endpoint=lambda release: engines[0]._replace(replicas=engines),
    )
    monkeypatch.setattr(module, "open_store", lambda settings: Recorded())
    monkeypatch.setattr(module, "open_driver", lambda target, settings: driver)
    (found,) = module.services_here(Settings(), lambda event: None)
    ports = dict.fromkeys(each.partition("/")[0] for each in at)
    assert found.watched.addresses == [f"127.0.0.1:{port}" for port in ports]


@pytest.mark.parametrize(
    ("entry", "port", "found"),
    [(object(), 41234, "127.0.0.1:41234"), (object(), None, ""), (None, 41234, "")],
)
def test_the_gateway_before_a_service_is_watched_where_its_monitor_is(
    monkeypatch, entry, port, found
):
    gateway = SimpleNamespace(entry=lambda service: entry, monitor_port=lambda: port)
    driver = SimpleNamespace(
        gateway=gateway,
        state=lambda release: EngineState("running"),
        endpoint=lambda release: Endpoint("http://127.0.0.1:8000", None, None),
    )
    monkeypatch.setattr(module, "open_store", lambda settings: Recorded())
    monkeypatch.setattr(module, "open_driver", lambda target, settings: driver)
    (service,) = module.services_here(Settings(), lambda event: None)
    assert service.watched.gateway == found
