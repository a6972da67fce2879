"""What a cluster holds against what Helm would make of it, and what of that is drift."""

import json
from types import SimpleNamespace

import pytest

from deployctl.operations.deploy import deployment as operation
from deployctl.operations.deploy import incluster
from deployctl.targets.driver import EngineState, Holding
from deployctl.targets.kubernetes import held
from deployctl.targets.shelf import FileShelf
from deployctl.targets.store import ServiceRef, Store

DEPLOYMENTS = "/apis/apps/v1/namespaces/llm/deployments"
SERVICES = "/api/v1/namespaces/llm/services"


def deployment(replicas=1, env="1", **metadata):
    engine = {"name": "engine", "env": [{"name": "A", "value": env}]}
    pod = {"spec": {"containers": [engine]}}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "chat", **metadata},
        "spec": {"replicas": replicas, "template": pod},
    }


SERVICE = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "chat"}, "spec": {"a": 1}}


@pytest.fixture
def installed(cluster):
    """As Helm made it, and as the cluster went on with it."""
    helms = {"meta.helm.sh/release-name": "chat", "meta.helm.sh/release-namespace": "llm"}
    own = {"deployment.kubernetes.io/revision": "1"}
    made = deployment(annotations={**helms, **own}, uid="1")
    cluster.create(DEPLOYMENTS, {**made, "status": {"replicas": 1}})
    cluster.create(SERVICES, {**SERVICE, "metadata": {"name": "chat", "annotations": helms}})
    return cluster


def test_what_is_as_it_was_made_does_not_show(installed):
    assert held.look(installed, "chat", [deployment(), SERVICE], []) == []


def test_a_field_that_somebody_else_set_comes_with_who_did(installed):
    installed.patch(f"{DEPLOYMENTS}/chat", {"spec": {"replicas": 3}})
    installed.owners[f"{DEPLOYMENTS}/chat"] = "kubectl"
    (found,) = held.look(installed, "chat", [deployment(), SERVICE], [])
    assert (found.title, found.others) == ("Deployment/chat", ("kubectl",))
    assert (found.now["spec"]["replicas"], found.then["spec"]["replicas"]) == (3, 1)
    assert "status" not in found.now
    assert set(found.now["metadata"]) == {"name", "annotations"}


def test_what_is_missing_and_what_helm_would_remove(installed):
    new = {**SERVICE, "metadata": {"name": "new"}}
    made, removed = held.look(installed, "chat", [deployment(), new], [SERVICE])
    assert (made.now, made.title) == (None, "Service/new")
    assert (removed.then, removed.title) == (None, "Service/chat")


def test_what_the_api_server_would_not_take_is_told(installed):
    installed.refuses[f"{SERVICES}/chat"] = "a port is there twice"
    (found,) = held.look(installed, "chat", [deployment(), SERVICE], [])
    assert (found.title, found.refused) == ("Service/chat", "a port is there twice")


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("NetworkPolicy", "networkpolicies"),
        ("Ingress", "ingresses"),
        ("HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    ],
)
def test_the_path_of_a_kind(cluster, kind, plural):
    document = {"apiVersion": "x/v1", "kind": kind, "metadata": {"name": "chat"}}
    assert held.path_of(cluster, document) == f"/apis/x/v1/namespaces/llm/{plural}/chat"


# What is told of it.


class View:
    """Holds an object as somebody left it, and knows what each bundle makes of it."""

    def __init__(self, now, then):
        self._now, self._then = now, then  # by digest

    def held(self, bundle, former):
        texts = [json.dumps(each) for each in (self._now, self._then[bundle.digest])]
        return Holding(*texts, {"Deployment/chat": "kubectl-edit"}, {})


@pytest.fixture
def bundles(make_release):
    old, new = make_release().bundle, make_release(port=9000).bundle
    assert old.digest != new.digest
    return old, new


def told(differences):
    return [(d.where.rpartition(".")[2], d.old, d.new, d.drift) for d in differences]


def test_a_change_of_the_spec_and_a_drift_are_told_apart(bundles):
    old, new = bundles
    view = View(deployment(replicas=3), {old.digest: deployment(), new.digest: deployment(env="2")})
    assert told(incluster.changes(view, new, old)) == [
        ("A", "1", "2", False),
        ("replicas", 3, 1, True),
    ]
    (drift,) = incluster.drift(view, old)
    assert drift.why == "drift: changed in the cluster by kubectl-edit"


def test_up_says_what_it_overwrites(bundles):
    old, _ = bundles
    events = []
    same = View(deployment(), {old.digest: deployment()})
    assert not incluster.tell_drift(same, old, events.append)
    view = View(deployment(replicas=3), {old.digest: deployment()})
    assert incluster.tell_drift(view, old, events.append)
    (event,) = events
    assert event.kind == "warning"
    assert event.text.startswith("overwriting Deployment/chat: spec.replicas: 3 -> 1")


@pytest.mark.parametrize(("condition", "told"), [("running", True), ("absent", False)])
def test_what_an_up_left_that_did_not_end_is_no_drift(tmp_path, make_release, condition, told):
    release = make_release().model_copy(update={"status": "deployed"})
    ref = ServiceRef("kubernetes", release.service)
    store = Store(tmp_path, {"kubernetes": lambda: FileShelf(tmp_path)})
    store.save(ref, release)
    view = View(deployment(replicas=3), {release.bundle.digest: deployment()})
    driver = SimpleNamespace(target="kubernetes", state=lambda release: EngineState(condition))
    events = []
    assert operation._tell_drift(view, store, driver, ref.service, events.append) is told
    assert bool(events) is told


def test_secrets_are_masked(bundles):
    old, _ = bundles
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "chat-api-key"}}
    view = View(
        {**secret, "data": {"api_key": "b25l"}},
        {old.digest: {**secret, "data": {"api_key": "dHdv"}}},
    )
    assert told(incluster.drift(view, old)) == [("api_key", "(secret)", "(secret)", True)]
