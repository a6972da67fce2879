"""A checkpoint's claim and its loader: what is asked of the cluster, who uses it, who sends."""

import contextlib
from pathlib import Path
from types import SimpleNamespace

import kubernetes_validate
import pytest
import yaml

from deployctl.errors import ClusterError
from deployctl.render.bundle import VALUES_FILE
from deployctl.render.values import Values
from deployctl.spec.settings import Settings
from deployctl.targets.driver import EngineState, ModelFile
from deployctl.targets.kubernetes import driver, lease
from deployctl.targets.kubernetes.checkpoint import claim, loader, uploader
from deployctl.targets.kubernetes.checkpoint.claim import Cargo
from deployctl.targets.kubernetes.checkpoint.uploader import ClaimUploader
from deployctl.targets.kubernetes.cluster import ForbiddenError
from deployctl.targets.kubernetes.driver import KubernetesDriver
from deployctl.targets.kubernetes.survey import KubernetesView

DIGEST = "ab" * 32
NAME = f"model-{DIGEST[:16]}"
CLAIMS = "/api/v1/namespaces/llm/persistentvolumeclaims"
FILES = [ModelFile("config.json", 2 * 1024**3, "c" * 64)]
CARGO = Cargo(Path("/models/awq"), DIGEST, FILES)


def values(**more):
    return Values.model_validate({"model": {"digest": DIGEST, "claim": NAME}, **more})


def nothing(_):
    return None


@pytest.fixture
def whole(cluster):
    claim.make(cluster, claim.document(NAME, values(), CARGO))
    claim.mark_whole(cluster, NAME)


def test_the_claim_is_as_large_as_the_checkpoint_and_as_the_values_say():
    own = {"storageClass": "fast", "accessMode": "ReadWriteMany", "size": "9Gi"}
    for given, spec in (
        ({}, {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "4Gi"}}}),
        (
            {"upload": own},
            {
                "accessModes": ["ReadWriteMany"],
                "resources": {"requests": {"storage": "9Gi"}},
                "storageClassName": "fast",
            },
        ),
    ):
        made = claim.document(NAME, values(model={"digest": DIGEST, **given}), CARGO)
        kubernetes_validate.validate(made, "1.37", strict=True)
        assert made["spec"] == spec


def test_the_loader_goes_where_the_engine_can_go_and_ends_by_itself():
    given = values(
        scheduling={
            "gpuNodes": [{"nvidia.com/gpu.product": "NVIDIA-L4"}],
            "nodeSelector": {"pool": "llm"},
            "tolerations": [{"key": "nvidia.com/gpu", "effect": "NoSchedule"}],
        },
        engine={"pullSecrets": ["registry"]},
    )
    job = loader.document(NAME, given, 10 * 1024**3, beside="chat-cache")
    kubernetes_validate.validate(job, "1.37", strict=True)
    pod = job["spec"]["template"]["spec"]
    (term,) = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert term["matchExpressions"][0]["values"] == ["NVIDIA-L4"]
    assert pod["tolerations"] == [
        {"operator": "Exists", "key": "nvidia.com/gpu", "effect": "NoSchedule"}
    ]
    assert [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"]] == [NAME, "chat-cache"]
    assert (pod["nodeSelector"], pod["imagePullSecrets"]) == (
        {"pool": "llm"},
        [{"name": "registry"}],
    )
    assert job["spec"]["ttlSecondsAfterFinished"] < 60
    assert job["spec"]["activeDeadlineSeconds"] > 10 * 1024


def test_only_its_last_user_removes_a_claim(cluster, whole):
    assert claim.use(cluster, NAME, "chat", 1) == []
    assert claim.use(cluster, NAME, "code", 1) == ["chat"]
    told = []
    claim.release(cluster, "chat", told.append)
    assert told[0].text == f"kept claim {NAME} (awq): used by code"
    claim.release(cluster, "chat", told.append)
    assert len(told) == 1, "it uses none any more"
    pods = cluster.path("v1", "pods")
    volume = {"name": "m", "persistentVolumeClaim": {"claimName": NAME}}
    cluster.create(pods, {"metadata": {"name": "own"}, "spec": {"volumes": [volume]}})
    claim.release(cluster, "code", told.append)
    assert "used by pod own" in told[1].text
    cluster.delete(f"{pods}/own")
    claim.use(cluster, NAME, "code", 1)
    claim.release(cluster, "code", told.append)
    assert told[2].text == f"removed claim {NAME} (awq)"
    assert claim.find(cluster, NAME) is None


def test_what_was_sent_for_a_search_or_a_canary_stays_for_its_service(cluster, whole):
    claim.use(cluster, NAME, "chat-tune", 1)
    told = []
    claim.hand_over(cluster, "chat-tune", "chat", 3, told.append)
    assert f"kept claim {NAME} (awq), for the next up of chat" in told[0].text
    assert f"kubectl delete pvc {NAME}" in told[0].text
    assert claim.users(claim.find(cluster, NAME)) == ["chat"]
    claim.use(cluster, NAME, "chat-candidate", 1)
    claim.hand_over(cluster, "chat-candidate", "chat", 3, told.append)
    assert (len(told), claim.users(claim.find(cluster, NAME))) == (1, ["chat"])
    claim.release(cluster, "chat", told.append)
    assert claim.find(cluster, NAME) is None


def test_a_claim_goes_with_the_last_revision_that_one_can_go_back_to(cluster, whole):
    told = []
    claim.use(cluster, NAME, "chat", 3)
    claim.use(cluster, NAME, "chat", 4)
    claim.release_of_old(cluster, "chat", {4, 5}, told.append)
    assert told == []
    claim.use(cluster, NAME, "code", 0)
    claim.release_of_old(cluster, "chat", {5, 6}, told.append)
    assert "used by code" in told[0].text
    claim.release_of_old(cluster, "code", {1}, told.append)
    assert len(told) == 1, "it was fetched for a revision that is to come"
    claim.use(cluster, NAME, "code", 2)
    claim.release_of_old(cluster, "code", {3}, told.append)
    assert told[1].text == f"removed claim {NAME} (awq)"
    assert claim.find(cluster, NAME) is None


def test_what_a_service_leaves_behind_is_told(cluster, whole, tmp_path, monkeypatch):
    view = KubernetesView(Settings(state_dir=tmp_path), cluster=cluster)
    claim.use(cluster, NAME, "chat", 1)
    labels = {"app.kubernetes.io/name": "vllm", "app.kubernetes.io/component": "engine"}
    labels["app.kubernetes.io/instance"] = "chat"
    cluster.create(CLAIMS, {"metadata": {"name": "chat-cache", "labels": labels}})
    assert view.kept("chat") == ["claim chat-cache", f"claim {NAME} (awq)"]
    assert view.kept("code") == []

    def refused(*_, **__):
        raise ForbiddenError("no right to list claims")

    monkeypatch.setattr(cluster, "items", refused)
    assert view.kept("chat") == [], "down is done all the same"


def test_one_that_somebody_begins_to_use_is_not_removed(cluster, whole, monkeypatch):
    claim.use(cluster, NAME, "chat", 1)
    monkeypatch.setattr(claim, "_pods_with", lambda *_: claim.use(cluster, NAME, "code", 1) and [])
    told = []
    claim.release(cluster, "chat", told.append)
    assert "somebody begins to use it" in told[0].text
    assert claim.users(claim.find(cluster, NAME)) == ["code"]


def test_what_a_claim_of_one_node_means_is_said(cluster, whole):
    told = []
    ClaimUploader(cluster, "chat", values()).begin_use(told.append)
    assert told == []
    ClaimUploader(cluster, "code", values()).begin_use(told.append)
    assert "all pods of code and of chat, which use it too, run there" in told[0].text
    claim.release(cluster, "chat", nothing)
    own = {"model": {"digest": DIGEST, "claim": NAME}, "replicas": 2}
    ClaimUploader(cluster, "code", Values.model_validate(own)).begin_use(told.append)
    assert "all replicas run there" in told[1].text


class Sends:
    """In the place of `Sending` and `Loader`."""

    sent = 0
    fails: BaseException | None = None

    def __init__(self, *_):
        Sends.last = self

    def send(self, _):
        self.sent = 7
        if self.fails:
            self.sent = 0
            raise self.fails

    def begin(self, job):
        self.job = job

    def end(self):
        self.ended = True

    def pod(self):
        return "pod-1"


@pytest.fixture
def sends(monkeypatch):
    monkeypatch.setattr(uploader, "Sending", Sends)
    monkeypatch.setattr(uploader, "Loader", Sends)
    monkeypatch.setattr(Sends, "fails", None)
    return Sends


def test_what_was_sent_is_whole_and_is_not_sent_again(cluster, sends):
    ours = ClaimUploader(cluster, "chat", values())
    assert not ours.is_there()
    assert ours.upload(CARGO.folder, FILES, nothing) == 7
    assert ours.is_there()
    assert ours.upload(CARGO.folder, FILES, nothing) == 0
    assert sends.last.ended
    other = values(model={"digest": "cd" * 32, "claim": NAME})
    assert not ClaimUploader(cluster, "chat", other).is_there(), "it holds something else"


def test_a_claim_on_which_nothing_came_is_not_left_behind(cluster, sends, monkeypatch):
    monkeypatch.setattr(sends, "fails", ClusterError("no right"))
    with pytest.raises(ClusterError, match="no right"):
        ClaimUploader(cluster, "chat", values()).upload(CARGO.folder, FILES, nothing)
    assert claim.find(cluster, NAME) is None


def test_of_two_at_once_one_sends_and_the_other_waits(cluster, sends):
    held = contextlib.ExitStack()
    held.enter_context(lease.held(cluster, NAME, "deployctl up code"))

    def sleep(_):
        claim.make(cluster, claim.document(NAME, values(), CARGO))
        claim.mark_whole(cluster, NAME)
        held.close()

    told = []
    ours = ClaimUploader(cluster, "chat", values(), sleep)
    assert ours.upload(CARGO.folder, FILES, told.append) == 0
    assert "is being changed by deployctl up code" in told[0].text
    assert not hasattr(sends, "last") or sends.last.sent == 0


def test_a_release_whose_checkpoint_is_on_its_way_waits_for_it(cluster, make_release, tmp_path):
    ours = KubernetesDriver(Settings(state_dir=tmp_path), cluster=cluster)
    files = {VALUES_FILE: yaml.safe_dump({"model": {"digest": DIGEST, "claim": NAME}})}
    release = make_release()
    bundle = release.bundle.model_copy(update={"files": files})
    release = release.model_copy(update={"service": "chat", "bundle": bundle, "status": "pending"})
    assert ours.state(release) == EngineState("absent")
    with ours.uploader(release)._alone(nothing):
        (waits,) = ours.state(release).waits_for
        assert ours.state(release.model_copy(update={"status": "failed"})).waits_for == ()
    assert waits.startswith(f"its checkpoint is being sent to claim {NAME} by deployctl up chat (")
    assert ours.state(release).waits_for == ()


def test_an_engine_is_asked_at_the_port_that_its_values_say(
    cluster, make_release, tmp_path, monkeypatch
):
    asked = []

    def forwarder(_, pods, port):
        asked.append(port)
        return SimpleNamespace(port=40000 + len(asked), refused=None)

    monkeypatch.setattr(driver, "Forwarder", forwarder)
    ours = KubernetesDriver(Settings(state_dir=tmp_path), cluster=cluster)
    found = []
    for values in ({"engine": {"port": 9000}, "service": {"port": 80}}, {}, {}):
        files = {VALUES_FILE: yaml.safe_dump(values)}
        release = make_release()
        bundle = release.bundle.model_copy(update={"files": files})
        found.append(ours.endpoint(release.model_copy(update={"bundle": bundle})))
    assert asked == [9000, 8000]
    assert [each.url[-5:] for each in found] == ["40001", "40002", "40002"]
    assert [each.inside.rpartition(":")[2] for each in found] == ["80", "8000", "8000"]


def test_who_may_open_no_port_is_told_so_and_not_that_the_engine_is_silent(
    cluster, make_release, tmp_path, monkeypatch
):
    refused = SimpleNamespace(port=1, refused=ForbiddenError("cannot create pods/portforward"))
    monkeypatch.setattr(driver, "Forwarder", lambda *_: refused)
    ours = KubernetesDriver(Settings(state_dir=tmp_path), cluster=cluster)
    release = make_release()
    bundle = release.bundle.model_copy(update={"files": {VALUES_FILE: ""}})
    with pytest.raises(ForbiddenError, match="portforward"):
        ours.endpoint(release.model_copy(update={"bundle": bundle}))
