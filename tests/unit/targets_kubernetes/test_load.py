"""Load from pods: what is made in the cluster."""

import contextlib
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from tests.unit.targets_kubernetes.load_order import ORDER

from deployctl.errors import ClusterError
from deployctl.targets.kubernetes.cluster import ForbiddenError, UnreachableError
from deployctl.targets.kubernetes.load import documents, pods
from deployctl.targets.kubernetes.load.pods import LoadPods
from deployctl_loadtest import pod

JOBS = "/apis/batch/v1/namespaces/llm/jobs"


@pytest.fixture
def alive(cluster, monkeypatch):
    """A cluster whose Jobs have their pods at once; `cluster.phase` is what becomes of those."""
    create = cluster.create
    cluster.phase = {"phase": "Running", "podIP": "10.0.0.7"}

    def make(path, document):
        found = create(path, {**document, "metadata": {**document["metadata"], "uid": "u-1"}})
        if path == JOBS:
            template, number = document["spec"]["template"], document["spec"].get("completions", 1)
            for index in range(number):
                name = f"{document['metadata']['name']}-{index}"
                meta = {"name": name, "labels": template["metadata"]["labels"]}
                create(cluster.path("v1", "pods"), {"metadata": meta, "status": cluster.phase})
        return found

    @contextlib.contextmanager
    def opened(*_, **__):
        hello = {"version": pod.VERSION, "code": pod.code()}
        yield SimpleNamespace(ask=lambda _: None, answer=lambda: hello)

    monkeypatch.setattr(pods, "opened", opened)
    monkeypatch.setattr(cluster, "create", make)
    return cluster


def test_all_is_there_when_it_has_begun_and_the_jobs_go_at_the_end(alive):
    told = []
    closed = {"metadata": {"name": "deny"}, "spec": {"podSelector": {}}}
    alive.create("/apis/networking.k8s.io/v1/namespaces/llm/networkpolicies", closed)
    labels = {**documents._engines("chat"), "app.kubernetes.io/component": "engine"}
    engine = {"name": "chat-1", "labels": labels}
    spec = {"imagePullSecrets": [{"name": "mirror"}]}
    alive.create(alive.path("v1", "pods"), {"metadata": engine, "spec": spec})
    load = LoadPods(alive, ORDER, told.append, sleep=_never)
    load.begin()
    assert "starting 2 workers in namespace llm" in told[0].text
    assert sorted(p.rpartition("/")[2] for p in alive.documents if p.startswith(JOBS)) == [
        load.name,
        f"{load.name}-workers",
    ]
    words = alive.documents[f"{JOBS}/{load.name}-workers"]["spec"]["template"]["spec"]
    assert words["containers"][0]["command"][-1] == "10.0.0.7"
    assert words["imagePullSecrets"] == [{"name": "mirror"}]
    policies = [path for path in alive.documents if "/networkpolicies/" in path]
    assert any(path.endswith("-in") for path in policies)
    load.end()
    assert not [path for path in alive.documents if path.startswith(JOBS)]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("10.96.0.8", "http://10.96.0.8:8000"),
        ("fd00::8", "http://[fd00::8]:8000"),
        ("None", ORDER.url),
    ],
)
def test_a_service_is_asked_by_its_address(alive, address, url):
    spec = {"clusterIP": address}
    alive.documents[alive.path("v1", "services", "chat")] = {"metadata": {}, "spec": spec}
    assert LoadPods(alive, ORDER, _silent)._address() == url
    elsewhere = ORDER._replace(service=None, url="http://h:1")
    assert LoadPods(alive, elsewhere, _silent)._address() == "http://h:1"


def test_what_keeps_a_pod_from_running_is_said_and_nothing_stays(alive):
    waiting = {"reason": "ErrImagePull", "message": "not found"}
    container = {"name": "master", "image": "x:1", "state": {"waiting": waiting}}
    alive.phase = {"phase": "Pending", "containerStatuses": [container]}
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    with pytest.raises(ClusterError, match="there is no image x:1") as failed:
        load.begin()
    assert "docker/loadtest.Dockerfile" in failed.value.hint
    load.end()
    assert not [path for path in alive.documents if path.startswith(JOBS)]


def test_a_registry_that_wants_a_login_is_said_as_such(alive):
    waiting = {"reason": "ErrImagePull", "message": "401 unauthorized"}
    container = {"name": "master", "image": "x:1", "state": {"waiting": waiting}}
    alive.phase = {"phase": "Pending", "containerStatuses": [container]}
    with pytest.raises(ClusterError, match="the registry refuses the image") as failed:
        LoadPods(alive, ORDER, _silent, sleep=_never).begin()
    assert "engine.pullSecrets" in failed.value.hint


def test_a_pod_that_may_not_be_made_is_said(alive):
    said = 'pods "x" is forbidden: violates PodSecurity "restricted"'
    alive.phase = {"phase": "Pending"}
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    about = {"kind": "Job", "name": load.name}
    event = {"involvedObject": about, "reason": "FailedCreate", "message": said}
    event |= {"metadata": {"name": "e", "creationTimestamp": "2020-01-01T00:00:00Z"}}
    alive.documents[alive.path("v1", "events", "e")] = event
    other = {**event, "involvedObject": {**about, "kind": "Node"}}
    alive.documents[alive.path("v1", "events", "f")] = other
    with pytest.raises(ClusterError, match="pod security refuses the pod"):
        load.begin()
    assert alive.listed["events"] == 1  # of a busy namespace, those alone that tell of ours


def test_how_long_a_pod_waits_is_told_by_the_clusters_clock(alive):
    alive.phase = {
        "phase": "Pending",
        "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}],
    }
    alive.at = datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)

    class WaitsOnError(Exception):
        pass

    def sleep(_):
        pods = [d for path, d in alive.documents.items() if "/pods/" in path]
        if all("creationTimestamp" in each["metadata"] for each in pods):
            raise WaitsOnError
        for each in pods:
            each["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"

    with pytest.raises(WaitsOnError):  # by a clock of ours it were years
        LoadPods(alive, ORDER, _silent, sleep=sleep).begin()


def test_what_cannot_be_removed_is_said_to_go_by_itself(alive, monkeypatch):
    told = []
    load = LoadPods(alive, ORDER, told.append, sleep=_never)
    load.end()
    assert told == []  # nothing was made
    load.begin()

    def away(*_, **__):
        raise UnreachableError("no answer")

    monkeypatch.setattr(alive, "delete", away)
    load.end()
    assert told[-1].kind == "warning"
    assert "they end by themselves" in told[-1].text


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"phase": "Running"}, ""),
        (None, "its master's pod is gone"),
        ({"phase": "Failed", "reason": "Evicted"}, "its master's pod ended (Evicted)"),
        (
            {
                "phase": "Failed",
                "containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled"}}}],
            },
            "its master's pod ended (out of memory)",
        ),
    ],
)
def test_why_a_master_is_not_asked_again(alive, status, why):
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    load.begin()
    path = alive.path("v1", "pods", load._master)
    if status is None:
        del alive.documents[path]
    else:
        alive.documents[path]["status"] = status
    assert load._why_gone() == why


def test_a_master_hears_of_us_while_workers_wait_for_a_node(alive, monkeypatch):
    now, heard, passed = [0.0], [], iter(range(6))
    monkeypatch.setattr(pods.time, "monotonic", lambda: now[0])

    @contextlib.contextmanager
    def opened(*_, **__):
        yield SimpleNamespace(
            ask=lambda wanted: heard.append((now[0], wanted["do"])),
            answer=lambda: {"version": pod.VERSION, "code": pod.code(), "locust": "2"},
        )

    monkeypatch.setattr(pods, "opened", opened)
    create = alive.create

    def slow(path, document):
        if document["metadata"]["name"].endswith("-workers"):
            alive.phase = {"phase": "Pending"}
        return create(path, document)

    def sleep(_):
        now[0] += 20.0
        if next(passed) == 4:
            for path, document in alive.documents.items():
                if "/pods/" in path:
                    document["status"] = {"phase": "Running", "podIP": "10.0.0.7"}

    monkeypatch.setattr(alive, "create", slow)
    LoadPods(alive, ORDER, _silent, sleep=sleep).begin()
    assert heard == [(0.0, "hello"), (40.0, "hello"), (80.0, "hello")]


def _never(seconds):
    raise AssertionError("it waits for what is there")


def _silent(_):
    return None


def test_a_right_that_is_missing_leaves_nothing(alive, monkeypatch):
    create = alive.create

    def refused(path, document):
        if path.endswith("networkpolicies"):
            raise ForbiddenError("the cluster refuses")
        return create(path, document)

    monkeypatch.setattr(alive, "create", refused)
    load = LoadPods(alive, ORDER, _silent, sleep=_never)
    with pytest.raises(ForbiddenError):
        load.begin()
    load.end()
    assert not [path for path in alive.documents if path.startswith(JOBS)]
