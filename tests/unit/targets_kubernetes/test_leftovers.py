"""What a helm that was killed or failed has left of a service is found, and goes."""

import json

import pytest

from deployctl.errors import LockedError
from deployctl.spec.settings import Settings
from deployctl.targets.kubernetes import driver as module
from deployctl.targets.kubernetes import held, leftovers
from deployctl.targets.kubernetes.driver import KubernetesDriver
from deployctl.targets.kubernetes.helmrelease import Installed
from deployctl.targets.kubernetes.shelf import ClusterShelf
from deployctl.targets.kubernetes.survey import of_service
from deployctl.targets.store import ServiceRef, Store

REF = ServiceRef("kubernetes", "chat")
SECRETS = "/api/v1/namespaces/llm/secrets"
CLAIMS = "/api/v1/namespaces/llm/persistentvolumeclaims"
MAPS = "/api/v1/namespaces/llm/configmaps"


class Releases:
    """A service whose revisions are lists of names of ConfigMaps."""

    def __init__(self, cluster, folder, make_release):
        self.cluster, self._make = cluster, make_release
        self.shelf = ClusterShelf(cluster, folder)
        self.store = Store(folder, {"kubernetes": lambda: self.shelf})
        self.version = 0

    def bundle(self, *names):
        bundle = self._make().bundle
        return bundle.model_copy(update={"service": "chat", "files": {"names": json.dumps(names)}})

    def add(self, revision, helm_status, *names, made=()):
        release = self._make().model_copy(
            update={"service": "chat", "revision": revision, "bundle": self.bundle(*names)}
        )
        self.store.save(REF, release)
        self.version += 1
        labels = {"owner": "helm", "name": "chat", "status": helm_status}
        labels |= {"version": str(self.version), "deployctl.io/revision": str(revision)}
        name = f"sh.helm.release.v1.chat.v{self.version}"
        self.cluster.create(SECRETS, {"metadata": {"name": name, "labels": labels}})
        for each in made:
            self.make(each)
        return release

    def make(self, name, **more):
        noted = {"meta.helm.sh/release-name": "chat", **more}
        if f"{MAPS}/{name}" not in self.cluster.documents:
            self.cluster.create(MAPS, config(name) | {"metadata": _meta(name, noted)})

    def find(self, *wanted):
        bundle = self.bundle(*wanted) if wanted else None
        found = leftovers.find(self.cluster, self.shelf, "chat", bundle)
        return [each["metadata"]["name"] for each in found]

    def there(self):
        return {p.rpartition("/")[2] for p in self.cluster.documents if p.startswith(MAPS)}


def _meta(name, annotations=None):
    return {"name": name, "annotations": annotations or {}}


def config(name):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _meta(name)}


@pytest.fixture
def releases(cluster, tmp_path, make_release, monkeypatch):
    def objects_of(bundle, namespace):
        return [config(name) for name in json.loads(bundle.files["names"])]

    monkeypatch.setattr(leftovers, "objects_of", objects_of)
    return Releases(cluster, tmp_path, make_release)


def test_nothing_is_looked_for_where_helm_finished(releases):
    releases.add(1, "superseded", "a", "old")
    releases.add(2, "failed", "a", "b")
    releases.add(3, "deployed", "a")
    assert releases.find("a") == []


@pytest.mark.parametrize("status", ["pending-upgrade", "failed", "uninstalling"])
def test_what_a_release_made_that_was_not_finished_is_found(releases, status):
    releases.add(1, "superseded", "older")
    releases.add(2, "deployed", "a", "b")
    releases.add(3, status, "a", "c")
    assert releases.find("a", "d") == ["b", "c"]
    assert releases.find() == ["a", "b", "c"]
    assert Installed(releases.cluster).since_deployed("chat") == [2, 3]


def test_a_first_one_that_was_killed_is_found_and_a_damaged_record_passed_over(releases):
    releases.add(1, "pending-install", "a")
    releases.add(2, "failed", "b")
    releases.cluster.patch(f"{SECRETS}/deployctl.chat.v2", {"data": {"release": "no gzip"}})
    assert releases.find("b") == ["a"]


def test_what_is_anothers_or_outlives_a_release_stays(releases):
    releases.make("mine")
    releases.make("claim", **{"helm.sh/resource-policy": "keep"})
    releases.make("yours", **{"meta.helm.sh/release-name": "other"})
    held.remove(releases.cluster, "chat", map(config, ("mine", "claim", "yours", "gone")))
    assert releases.there() == {"claim", "yours"}


def test_start_and_stop_remove_it_after_helm(releases, tmp_path, monkeypatch):
    did = []
    ours = KubernetesDriver(Settings(state_dir=tmp_path), cluster=releases.cluster)
    monkeypatch.setattr(module, "uploader_of", lambda *_: None)
    monkeypatch.setattr(ours, "_publish", lambda release: None)
    monkeypatch.setattr(ours, "_made", lambda release: ([], {}))
    monkeypatch.setattr(module.beforehand, "keep_replicas", lambda *_: None)
    for what in ("upgrade", "uninstall"):
        monkeypatch.setattr(
            module.helm, what, lambda *_, _what=what, **__: did.append((_what, releases.there()))
        )
    releases.add(1, "deployed", "a", made=["a"])
    releases.add(2, "pending-upgrade", "a", "b", made=["b"])
    release = releases.add(3, "failed", "a", "c", made=["c"])
    files = {**release.bundle.files, "values.yaml": ""}
    release = release.model_copy(
        update={"bundle": release.bundle.model_copy(update={"files": files})}
    )
    monkeypatch.setattr(module, "VALUES_FILE", "values.yaml")
    ours.start(release, lambda event: None)
    assert did == [("upgrade", {"a", "b", "c"})]
    assert releases.there() == {"a", "c"}
    labels = dict(each.split("=") for each in of_service("chat").split(","))
    for name, phase in (("chat-cache", "Bound"), ("chat-new", "Pending")):
        found = {"metadata": {"name": name, "labels": labels}, "status": {"phase": phase}}
        releases.cluster.create(CLAIMS, found)
    ours.stop(release, lambda event: None)
    assert [p for p in releases.cluster.documents if p.startswith(CLAIMS)] == [
        f"{CLAIMS}/chat-cache"
    ]
    assert did[1] == ("uninstall", {"a", "c"})
    assert releases.there() == set()


def test_helm_is_asked_again_where_the_api_server_was_away(releases, tmp_path, monkeypatch):
    ours = KubernetesDriver(Settings(state_dir=tmp_path), cluster=releases.cluster)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    failures, told = [module.helm.AwayError("no answer")], []

    def work():
        if failures:
            raise failures.pop()

    ours._ride(work, lambda event: told.append(event.text))
    assert told == ["waiting: no answer"]

    def lost():
        if not failures:
            raise LockedError("another's")

    failures.append(module.helm.AwayError("no answer"))
    ours._still_ours = lost
    with pytest.raises(LockedError):
        ours._ride(work, told.append)
    ours._still_ours = lambda: None
    failures.append(module.helm.AwayError("no answer"))
    now = iter([0.0, module.PATIENCE_S + 1])
    monkeypatch.setattr(module.time, "monotonic", lambda: next(now))
    with pytest.raises(module.helm.AwayError):
        ours._ride(work, told.append)
