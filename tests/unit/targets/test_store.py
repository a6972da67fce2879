"""Records: whole or absent, private, found again, and honest when damaged."""

import errno
import json
import os

import pytest

from deployctl.errors import InputError, LockedError, NotFoundError, StateError
from deployctl.files import write_private
from deployctl.targets.guards import lock
from deployctl.targets.removal import stop_all
from deployctl.targets.store import RECORD_VERSION, NewerRecordError, ServiceRef, Store, host_folder

REF = ServiceRef("process", "tiny")


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "state")


def test_what_is_saved_is_read_again_in_order(store, make_release):
    for revision in (2, 10, 1):
        store.save(REF, make_release(revision=revision))
    releases = store.releases(REF)
    assert [r.revision for r in releases] == [1, 2, 10]
    assert releases[0] == make_release(revision=1)


def test_records_are_private(store, make_release):
    store.save(REF, make_release())
    record = store.folder(REF) / "releases" / "000001.json"
    assert record.stat().st_mode & 0o777 == 0o600
    for folder in (record.parent, store.folder(REF), store.root):
        assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b'{"version": 1}', b"\xff\xfe", b'{"revision": 1}', b"[" * 100000],
)
def test_a_damaged_record_names_its_file(store, make_release, content):
    store.save(REF, make_release())
    record = store.folder(REF) / "releases" / "000001.json"
    record.write_bytes(content)
    with pytest.raises(StateError, match="damaged") as caught:
        store.releases(REF)
    assert caught.value.where == str(record)
    assert "deployctl down tiny" in caught.value.hint
    assert store.damaged(REF) == [1]
    assert store.set_aside(REF, 1) == f"{record}.damaged"
    assert store.releases(REF) == []


def test_a_newer_format_is_not_guessed_at(store, make_release):
    store.save(REF, make_release())
    record = store.folder(REF) / "releases" / "000001.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "version": RECORD_VERSION + 1}))
    before = record.read_bytes()
    with pytest.raises(StateError, match="newer deployctl"):
        store.releases(REF)
    with pytest.raises(NewerRecordError, match="newer deployctl"):
        store.damaged(REF)
    driver = None  # nothing is asked of it
    with pytest.raises(NewerRecordError, match="newer deployctl") as refused:
        stop_all(driver, store, REF, print, stop=print)
    assert "nothing was touched" in refused.value.hint
    assert record.read_bytes() == before
    assert [p.name for p in record.parent.iterdir()] == [record.name]


@pytest.mark.parametrize(
    "name", ["².json", "²json", "00000².json", "000001.json.damaged", "1.json"]
)
def test_only_our_own_files_are_records(store, make_release, name):
    store.save(REF, make_release())
    (store.folder(REF) / "releases" / name).write_text("{")
    assert [r.revision for r in store.releases(REF)] == [1]


def test_find(store, make_release):
    with pytest.raises(NotFoundError, match="no service 'tiny'"):
        store.find("tiny")
    docker = ServiceRef("docker", "tiny")
    store.save(REF, make_release(status="deployed"))
    assert store.find("tiny") == REF
    store.save(docker, make_release(status="removed"))
    assert store.find("tiny") == REF  # the one that may run
    store.save(docker, make_release(status="deployed"))
    with pytest.raises(InputError, match="several targets") as caught:
        store.find("tiny")
    assert "--target" in caught.value.hint
    assert store.find("tiny", "docker") == docker
    assert store.services() == [docker, REF]


def test_a_full_disk_leaves_the_old_record(store, make_release, monkeypatch):
    store.save(REF, make_release())

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError, match="No space left") as caught:
        store.save(REF, make_release(status="deployed"))
    assert "DEPLOYCTL_STATE_DIR" in caught.value.hint
    monkeypatch.undo()
    assert [r.status for r in store.releases(REF)] == ["pending"]
    assert [p.name for p in (store.folder(REF) / "releases").iterdir()] == ["000001.json"]


def test_short_writes_are_finished(tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    write_private(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_the_lock_is_free_again_after_the_work(tmp_path):
    for _ in range(2):
        with lock(tmp_path / "tiny", "tiny", "deployctl up"):
            pass


@pytest.mark.parametrize("content", ["", "[]", '{"pid": 1}'])
def test_an_unsigned_lock_holds_all_the_same(tmp_path, content):
    folder = tmp_path / "tiny"
    with lock(folder, "tiny", "deployctl up"):
        (folder / "lock").write_text(content)
        with (
            pytest.raises(LockedError, match="by another deployctl"),
            lock(folder, "tiny", "deployctl down"),
        ):
            pass


@pytest.mark.parametrize("kind", ["file", "loop"])
def test_a_state_folder_that_is_none_does_not_pass_for_one_without_services(tmp_path, kind):
    place = tmp_path / "state"
    assert Store(place).services() == []
    place.write_text("") if kind == "file" else place.symlink_to(place)
    with pytest.raises(StateError, match="cannot read the state folder") as caught:
        Store(place).services()
    assert caught.value.where == str(place)


@pytest.mark.parametrize("host", ["ops@gpu1", "gpu_1:2222", "[fd00::1]:22", ".."])
def test_a_service_of_another_host_is_told_where_it_is(tmp_path, host):
    folder = host_folder(tmp_path, host)
    assert folder.resolve().parent == tmp_path / "hosts"
    (folder / "docker" / "chat").mkdir(parents=True)
    with pytest.raises(NotFoundError) as raised:
        Store(tmp_path).find("chat")
    assert raised.value.hint == f"one is on another host: --host ssh://{host}"


def test_a_name_that_is_a_pattern_names_no_service(tmp_path):
    (host_folder(tmp_path, "gpu1") / "docker" / "chat").mkdir(parents=True)
    for name in ("*", "a**b"):
        with pytest.raises(NotFoundError) as raised:
            Store(tmp_path).find(name)
        assert raised.value.hint == "start one with deployctl up"


@pytest.mark.parametrize(
    ("target", "behind", "version"),
    [("docker", True, 2), ("docker", False, 1), ("process", True, 1)],
)
def test_an_earlier_deployctl_leaves_alone_what_it_does_not_know_the_places_of(
    make_release, tmp_path, target, behind, version
):
    """Of an engine in the second place of its project it finds none, and would start another."""
    store, ref = Store(tmp_path), ServiceRef(target, "tiny")
    release = make_release(gateway=behind)
    store.save(ref, release)
    [record] = tmp_path.rglob("000001.json")
    assert json.loads(record.read_text())["version"] == version
    assert store.releases(ref) == [release]
