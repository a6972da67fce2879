"""A look at all services of a namespace: what it says of each, and by how many lists."""

import json
from pathlib import Path

import pytest

from deployctl.render.bundle import VALUES_FILE
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import lease
from deployctl.targets.kubernetes.driver import KubernetesDriver
from deployctl.targets.kubernetes.helmrelease import Installed
from deployctl.targets.kubernetes.shelf import ClusterShelf
from deployctl.targets.kubernetes.survey import KubernetesView, nodes_told
from deployctl.targets.store import ServiceRef, Store

RECORDED = json.loads(Path(__file__).with_name("recorded.json").read_text())
NAMESPACE = "/namespaces/llm"
SECRETS = f"/api/v1{NAMESPACE}/secrets"
LABELS = {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/component": "engine"}


class Place:
    """A namespace whose services are put there by hand."""

    def __init__(self, cluster, folder, make_release):
        self.cluster, self.folder, self._make = cluster, folder, make_release
        self.store = Store(folder, {"kubernetes": lambda: ClusterShelf(cluster, folder)})

    def record(self, service, revision, status, message="", values=""):
        known = {"service": service, "revision": revision, "status": status, "message": message}
        made = self._make()
        bundle = {"service": service, "files": {VALUES_FILE: values}}
        known["bundle"] = made.bundle.model_copy(update=bundle)
        self.store.save(ServiceRef("kubernetes", service), made.model_copy(update=known))

    def install(self, service, revision, *, version=1, status="deployed"):
        name = f"sh.helm.release.v1.{service}.v{version}"
        labels = {"owner": "helm", "name": service, "status": status, "version": str(version)}
        labels |= {"deployctl.io/revision": str(revision)}
        self.cluster.create(SECRETS, {"metadata": {"name": name, "labels": labels}})

    def deployment(self, service, case, **status):
        objects = json.loads(json.dumps(RECORDED[case]))
        labels = {**LABELS, "app.kubernetes.io/instance": service}
        found = objects["deployment"]
        found["metadata"] |= {"name": service, "labels": labels}
        found["status"] |= status
        self.cluster.create(f"/apis/apps/v1{NAMESPACE}/deployments", found)
        for path, each in (
            (f"/apis/apps/v1{NAMESPACE}/replicasets", objects["replica_sets"]),
            (f"/api/v1{NAMESPACE}/pods", objects["pods"]),
        ):
            for number, document in enumerate(each):
                own = {**document["metadata"]["labels"], **labels}
                document["metadata"] |= {"name": f"{service}-{number}", "labels": own}
                self.cluster.create(path, document)

    def survey(self):
        self.cluster.asked.clear()
        view = KubernetesView(Settings(state_dir=self.folder), cluster=self.cluster)
        return {seen.service: seen for seen in view.survey()}


@pytest.fixture
def place(cluster, tmp_path, make_release):
    return Place(cluster, tmp_path, make_release)


def test_each_is_told_by_the_revision_that_speaks_for_it(place):
    place.record("chat", 1, "superseded")
    place.record("chat", 2, "deployed")
    place.install("chat", 1, version=3, status="superseded")
    place.install("chat", 2, version=4)
    place.deployment("chat", "done", readyReplicas=1)
    place.record("new", 1, "pending")
    place.install("new", 1, status="pending-install")
    place.deployment("new", "cards_taken")
    place.record("lost", 1, "deployed")
    place.record("tried", 1, "failed", "no card")
    found = place.survey()
    assert list(found) == ["chat", "lost", "new", "tried"]
    chat = found["chat"]
    assert (chat.revision, chat.state.condition, chat.ready) == (2, "running", True)
    assert chat.url == "http://chat.llm.svc:8000/v1"
    assert (chat.model, chat.gpu) == ("tiny", "cpu")
    assert found["new"].state.condition in ("running", "dead")
    assert not found["new"].ready
    assert found["lost"].state.condition == "absent"
    assert (found["tried"].status, found["tried"].message) == ("failed", "no card")


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ("router: {enabled: true}", "chat-router.llm.svc:8000"),
        ("service: {port: 80}", "chat.llm.svc:80"),
    ],
)
def test_a_service_is_asked_where_its_values_have_it(place, values, asked):
    place.record("chat", 1, "deployed", values=values)
    assert place.survey()["chat"].url == f"http://{asked}/v1"


def test_records_and_helms_secrets_are_not_read_and_pods_where_something_is_amiss(place):
    for number in range(5):
        place.record(f"s{number}", 1, "deployed")
        place.install(f"s{number}", 1)
        place.deployment(f"s{number}", "done")
    assert len(place.survey()) == 5
    assert sorted(place.cluster.asked) == [  # all at once
        ("items", f"/apis/apps/v1{NAMESPACE}/deployments"),
        ("metadata", SECRETS),
        ("metadata", SECRETS),
    ]
    place.deployment("bad", "died")
    place.record("bad", 1, "deployed")
    place.install("bad", 1)
    bad = place.survey()["bad"]
    assert (bad.state.condition, bad.ready) == ("dead", False)
    assert "exit code 3" in bad.state.detail
    assert len(place.cluster.asked) == 6


def test_a_checkpoint_on_its_way_is_told(place):
    place.record("new", 1, "pending")
    place.record("chat", 1, "deployed")
    place.install("chat", 1)
    place.deployment("chat", "done", readyReplicas=1)
    place.record("chat", 2, "pending")
    place.record("idle", 1, "pending")
    with (
        lease.held(place.cluster, "model-ab", "deployctl up new"),
        lease.held(place.cluster, "model-cd", "deployctl up chat"),
        lease.held(place.cluster, "idle", "deployctl up"),
    ):
        found = place.survey()
    assert found["new"].coming.startswith(
        "its checkpoint is being sent to claim model-ab by deployctl up new ("
    )
    assert found["new"].state.condition == "absent"
    assert (found["chat"].revision, found["chat"].ready) == (1, True)
    assert "claim model-cd" in found["chat"].coming
    assert found["idle"].coming == ""
    assert {seen.coming for seen in place.survey().values()} == {""}, "a lock that nobody holds"


def test_what_a_killed_helm_left_is_removed(place):
    place.install("chat", 1, version=1, status="deployed")
    place.install("chat", 2, version=2, status="pending-upgrade")
    installed = Installed(place.cluster)
    assert installed.newest("chat")["version"] == "2"
    installed.forget_unfinished("chat")
    assert installed.newest("chat")["version"] == "1"
    assert installed.newest("other") is None


def test_where_helm_went_back_it_still_serves_and_that_is_said(place, tmp_path):
    for revision, status in ((1, "superseded"), (2, "deployed")):
        place.record("chat", revision, status)
        place.install("chat", revision, version=revision)
    place.install("chat", 1, version=3)  # with the labels of what it went back to
    place.deployment("chat", "done", readyReplicas=1)
    seen = place.survey()["chat"]
    assert (seen.revision, seen.state.condition, seen.ready) == (2, "running", True)
    assert "went back to revision 1 with Helm" in seen.state.detail
    ours = KubernetesDriver(Settings(state_dir=tmp_path), cluster=place.cluster)
    former, deployed = place.store.releases(ServiceRef("kubernetes", "chat"))
    state = ours.state(deployed)
    assert (state.condition, state.detail) == ("running", seen.state.detail)
    assert state.waits_for  # so `up` does not take it for what is wanted
    # A later one that failed, or was begun and did not get to be installed, is not there.
    for status in ("failed", "pending"):
        assert ours.state(deployed.model_copy(update={"status": status})).condition == "absent"
    assert ours.state(former).condition == "running"


def test_a_pod_without_a_node_is_told_by_which_taints(cluster, make_release):
    """As the scheduler of 1.37 says it, which names no taint any more."""
    said = "0/6 nodes are available: 1 node(s) had untolerated taint(s)."
    condition = {"type": "PodScheduled", "status": "False", "message": said}
    pods = [{"metadata": {"name": "a"}, "spec": {}, "status": {"conditions": [condition]}}]
    taint = {"key": "node.kubernetes.io/unreachable", "effect": "NoSchedule"}
    node = {"metadata": {"name": "node-2"}, "spec": {"taints": [taint]}}
    cluster.create("/api/v1/nodes", node)
    plan = make_release().plan
    assert plan.accelerator == "cpu"
    told = "kept away by taints: node-2 (node.kubernetes.io/unreachable)"
    assert nodes_told(cluster, plan, pods) == told
    condition["message"] = "0/6 nodes are available: 6 Insufficient cpu."
    assert nodes_told(cluster, plan, pods) == ""
