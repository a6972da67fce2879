"""What is kept in a cluster: records, the lock, keys."""

import base64
import os
import re
import socket
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from deployctl.errors import LockedError, StateError
from deployctl.targets import helm, keys
from deployctl.targets.history import to_go_back_to
from deployctl.targets.kubernetes import lease, secret
from deployctl.targets.kubernetes.cluster import ForbiddenError
from deployctl.targets.kubernetes.shelf import ClusterShelf
from deployctl.targets.store import ServiceRef, Store

REF = ServiceRef("kubernetes", "chat")
LEASE = "/apis/coordination.k8s.io/v1/namespaces/llm/leases/deployctl-chat"
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def store(cluster, tmp_path):
    return Store(tmp_path, {"kubernetes": lambda: ClusterShelf(cluster, tmp_path)})


def test_whoever_has_the_namespace_has_the_history(store, cluster, make_release, tmp_path):
    release = make_release().model_copy(update={"service": "chat"})
    store.save(REF, release)
    store.save(REF, release.model_copy(update={"status": "deployed"}))
    store.save(REF, release.model_copy(update={"revision": 12}))
    elsewhere = Store(tmp_path / "b", {"kubernetes": lambda: ClusterShelf(cluster, tmp_path / "b")})
    assert [(r.revision, r.status) for r in elsewhere.releases(REF)] == [
        (1, "deployed"),
        (12, "pending"),
    ]
    assert elsewhere.releases(REF)[0].bundle == release.bundle
    assert elsewhere.services("kubernetes") == [REF]
    # Nobody's cluster is asked by who never used one from here.
    assert elsewhere.services() == []


def test_what_a_service_had_is_forgotten_whole(store, cluster, make_release):
    release = make_release().model_copy(update={"service": "chat"})
    assert not store.has(REF)
    store.save(REF, release)
    store.save(REF._replace(service="other"), release)
    (store.folder(REF) / "bench").mkdir(parents=True)
    assert store.has(REF)
    store.forget(REF)
    assert not store.has(REF)
    assert not store.folder(REF).exists()
    assert store.services("kubernetes") == [REF._replace(service="other")]
    store.forget(REF)  # nothing is fine


def test_a_damaged_record_is_told_and_set_aside(store, cluster, make_release):
    store.save(REF, make_release())
    path = "/api/v1/namespaces/llm/secrets/deployctl.chat.v1"
    cluster.patch(path, {"data": {"release": base64.b64encode(b"no gzip").decode()}})
    with pytest.raises(StateError, match="damaged") as caught:
        store.releases(REF)
    assert caught.value.where == "secret deployctl.chat.v1 in namespace llm"
    assert store.damaged(REF) == [1]
    assert "deployctl.chat.v1" in store.set_aside(REF, 1)
    assert (store.releases(REF), store.damaged(REF)) == ([], [])


def test_as_many_records_are_kept_as_helm_keeps_and_failures_push_out_none_that_served(
    store, make_release
):
    def save(revision, status):
        known = {"service": "chat", "revision": revision}
        for each in ("pending", status):
            store.save(REF, make_release().model_copy(update={**known, "status": each}))

    for revision in range(1, 15):
        save(revision, "superseded")
    save(15, "deployed")
    for revision in range(16, 16 + 2 * helm.KEPT):
        save(revision, "failed")
    store.save(
        REF._replace(service="other"), make_release().model_copy(update={"status": "failed"})
    )
    save(99, "pending")
    kept = store.releases(REF)
    assert [r.revision for r in kept if r.status == "failed"] == list(range(26, 36))
    assert [r.revision for r in kept if r.status != "failed"] == [*range(6, 16), 99]
    assert to_go_back_to(kept, 6).revision == 6
    assert len(store.releases(REF._replace(service="other"))) == 1


def test_a_record_that_cannot_be_pruned_stops_nothing(store, cluster, make_release, monkeypatch):
    def refused(*_, **__):
        raise ForbiddenError("no right to delete secrets")

    monkeypatch.setattr(cluster, "delete", refused)
    for revision in range(1, helm.KEPT + 3):
        known = {"service": "chat", "revision": revision}
        store.save(REF, make_release().model_copy(update=known))
        store.save(REF, make_release().model_copy(update={**known, "status": "superseded"}))
    assert len(store.releases(REF)) == helm.KEPT + 2


def test_a_record_that_no_secret_holds_is_refused(store, cluster, make_release):
    release = make_release()
    large = os.urandom(900_000).hex()
    bundle = release.bundle.model_copy(update={"files": {"a": large}})
    with pytest.raises(StateError, match="larger than a Secret"):
        store.save(REF, release.model_copy(update={"bundle": bundle}))
    assert cluster.documents == {}


def test_two_take_turns(cluster):
    cluster.at = NOW
    with lease.held(cluster, "chat", "deployctl up") as check:
        cluster.at = NOW + timedelta(seconds=lease.LASTS_S - 1)
        with (
            pytest.raises(LockedError, match="deployctl up") as caught,
            lease.held(cluster, "chat", "deployctl down"),
        ):
            pass
        assert "since 2026-11-01T12:00:00Z" in caught.value.message
        check()
    with lease.held(cluster, "chat", "deployctl down"):
        assert "deployctl down" in cluster.documents[LEASE]["spec"]["holderIdentity"]


def _held_by(cluster, holder):
    cluster.documents.pop(LEASE, None)
    cluster.at = NOW
    with lease.held(cluster, "chat", "x"):
        pass
    found = cluster.get(LEASE)
    cluster.replace(LEASE, {**found, "spec": {**found["spec"], "holderIdentity": holder}})


def test_the_lock_of_a_killed_holder_is_taken(cluster):
    gone = os.fork()
    if gone == 0:
        os._exit(0)
    os.waitpid(gone, 0)
    for table in ("", " of 0123abcd"):  # another container's: the hostname may be ours all the same
        _held_by(cluster, f"deployctl up (ann@{socket.gethostname()}, pid {gone}{table})")
        with pytest.raises(LockedError), lease.held(cluster, "chat", "deployctl up"):
            pass
    cluster.documents.pop(LEASE)
    with lease.held(cluster, "chat", "deployctl up"):
        holder = cluster.get(LEASE)["spec"]["holderIdentity"]
        (told,) = lease.holders(cluster).values()
    assert re.search(rf"pid {os.getpid()}\), since", told), "a person knows no table"
    _held_by(cluster, holder)
    with pytest.raises(LockedError), lease.held(cluster, "chat", "deployctl up"):
        pass
    _held_by(cluster, holder.replace(f"pid {os.getpid()} of", f"pid {gone} of"))
    with lease.held(cluster, "chat", "deployctl up"):
        pass


def test_the_lock_of_a_holder_elsewhere_runs_out_by_the_clusters_clock(cluster):
    _held_by(cluster, "deployctl up (ann@another.host, pid 1)")
    with pytest.raises(LockedError), lease.held(cluster, "chat", "up"):
        pass
    cluster.at = NOW + timedelta(seconds=lease.LASTS_S)
    with lease.held(cluster, "chat", "up"):
        pass


def test_who_lost_the_lock_meanwhile_is_told_who_has_it(cluster):
    with lease.held(cluster, "chat", "deployctl up") as check:
        found = cluster.get(LEASE)
        other = {**found["spec"], "holderIdentity": "deployctl down (ann@another.host, pid 1)"}
        cluster.replace(LEASE, {**found, "spec": other})
        with pytest.raises(LockedError, match=r"by deployctl down \(ann@another"):
            check()
    assert "ann" in cluster.get(LEASE)["spec"]["holderIdentity"], "it is left to who has it"


def test_of_two_at_once_one_is_refused(cluster):
    def other():
        cluster.create(
            LEASE.rpartition("/")[0], {"metadata": {"name": "deployctl-chat"}, "spec": {}}
        )

    cluster.meanwhile = other
    with pytest.raises(LockedError), lease.held(cluster, "chat", "up"):
        pass


def test_keys_are_the_clusters(cluster, tmp_path):
    learn = partial(secret.learn, cluster, "chat", tmp_path, lambda _: None)
    (tmp_path / keys.API_KEY).write_bytes(b"ours")
    learn()  # none there yet: ours stay
    assert (tmp_path / keys.API_KEY).read_bytes() == b"ours"
    cluster.put_secret(secret.name("chat"), {keys.API_KEY: b"theirs", "hf_token": b"t"})
    cluster.put_secret(secret.name("chat"), {keys.OPERATOR_TOKEN: b"o"})
    learn()
    assert (tmp_path / keys.API_KEY).read_bytes() == b"theirs"
    assert (tmp_path / keys.OPERATOR_TOKEN).read_bytes() == b"o"
    assert not (tmp_path / "hf_token").exists()
    assert (tmp_path / keys.API_KEY).stat().st_mode & 0o777 == 0o600


def test_keys_that_were_taken_away_are_in_no_copy(store, cluster, make_release, tmp_path):
    """Another may have revoked one before: nobody's copy brings it back."""
    shelf = ClusterShelf(cluster, tmp_path / "b")
    learn = partial(secret.learn, cluster, "chat", tmp_path, shelf.keyless_since)
    release = make_release().model_copy(update={"service": "chat"})
    shelf.mark_keyless("chat")  # of what has no record
    for number in (9, 10):
        store.save(REF, release.model_copy(update={"revision": number}))
    cluster.put_secret("chat-api-key", {keys.KEYS: b"all", keys.API_KEY: b"one"})
    learn()
    shelf.mark_keyless("chat")
    learn()  # the Secret is there still: whoever took it away was killed
    assert (tmp_path / keys.KEYS).read_bytes() == b"all"
    cluster.delete(cluster.path("v1", "secrets", "chat-api-key"))
    learn()
    assert not (tmp_path / keys.KEYS).exists()
    assert not (tmp_path / keys.API_KEY).exists()
    (tmp_path / keys.KEYS).write_bytes(b"added since")
    learn()
    assert (tmp_path / keys.KEYS).read_bytes() == b"added since"


def test_an_up_that_came_to_nothing_gives_no_copy_its_keys_back(
    store, cluster, make_release, tmp_path
):
    shelf = ClusterShelf(cluster, tmp_path / "b")
    release = make_release().model_copy(update={"service": "chat"})
    for number in (9, 10):
        store.save(REF, release.model_copy(update={"revision": number}))
    shelf.mark_keyless("chat")
    for number, status in ((11, "failed"), (12, "pending")):  # no claim; killed while it sent
        store.save(REF, release.model_copy(update={"revision": number, "status": status}))
    (tmp_path / keys.KEYS).write_bytes(b"with one that was revoked")
    secret.learn(cluster, "chat", tmp_path, shelf.keyless_since)
    assert not (tmp_path / keys.KEYS).exists()
    # Of one that served, a Secret that is lost is one that somebody lost.
    store.save(REF, release.model_copy(update={"revision": 12, "status": "deployed"}))
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / keys.API_KEY).write_bytes(b"new")
    secret.learn(cluster, "chat", tmp_path / "c", shelf.keyless_since)
    assert (tmp_path / "c" / keys.API_KEY).read_bytes() == b"new"
