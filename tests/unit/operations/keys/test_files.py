"""Keys that cannot be read or written, and files of keys for a Kubernetes Secret."""

import pytest
from tests.unit.operations.keys.conftest import add, states

from deployctl.errors import (
    InputError,
    NotFoundError,
    SpecError,
    StateError,
)
from deployctl.operations.keys.manage import add_key, list_keys, revoke_key
from deployctl.operations.keys.request import KeyRequest


@pytest.mark.parametrize("content", [b"{", b'{"version": 2, "keys": []}'])
def test_damaged_or_newer_keys_are_left_as_they_are(service, content):
    service.begins(expose=True)
    alice = add("alice").key
    service.file.write_bytes(content)
    for change in (lambda: add("bob"), lambda: revoke_key("tiny", "alice"), lambda: list_keys()):
        with pytest.raises(StateError) as caught:
            change()
        assert caught.value.where == str(service.file)
    assert service.file.read_bytes() == content
    assert service.engine.lets_in(alice) == "alice"


def test_a_full_disk_changes_nothing(service, monkeypatch):
    service.begins(expose=True)
    add("alice")
    before = service.file.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    for change in (lambda: add("bob"), lambda: revoke_key("tiny", "alice")):
        with pytest.raises(StateError, match="No space"):
            change()
    assert service.file.read_bytes() == before
    assert [f.name for f in service.folder.iterdir() if f.name.startswith(".")] == []


def test_a_key_file_that_holds_none_is_refused_and_not_shown(service, tmp_path):
    service.begins(expose=True)
    (tmp_path / "key").write_text("two words")
    with pytest.raises(SpecError) as caught:
        add("alice", key_file=tmp_path / "key")
    assert "two words" not in f"{caught.value.message} {caught.value.hint}"


def test_a_file_for_a_secret(tmp_path):
    file = tmp_path / "keys.json"
    with pytest.raises(NotFoundError, match="no such file"):
        list_keys(file=file)
    added = add_key(None, "alice", KeyRequest(concurrent=2), file=file)
    assert added.counts_from is None
    assert "each engine process" in added.remarks[0]
    file.chmod(0o640)
    add_key(None, "bob", file=file)
    assert file.stat().st_mode & 0o777 == 0o640
    assert revoke_key(None, "alice", file=file).left == 1
    with pytest.raises(InputError, match="the name of the API key"):
        add_key(None, "default", file=file)
    revoke_key(None, "default", file=file)
    assert states(file=file) == {"default": "revoked", "bob": "valid"}
    assert sorted(f.name for f in tmp_path.iterdir()) == [".keys.json.lock", "keys.json"]
    with pytest.raises(InputError, match="file of their own"):
        add_key("tiny", "carol", file=file)


def test_a_link_to_a_file_stays_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "keys.json"
    link.symlink_to(tmp_path / "real" / "keys.json")
    add_key(None, "alice", file=link)
    assert link.is_symlink()
    assert states(file=tmp_path / "real" / "keys.json") == {"alice": "valid"}


def test_more_keys_than_a_door_reads_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "keys.json"
    add_key(None, "alice", file=file)
    monkeypatch.setattr("deployctl.targets.keyfile.LARGEST", 300)
    with pytest.raises(InputError, match="more keys"):
        add_key(None, "bob", KeyRequest(note="x" * 200), file=file)
    assert states(file=file) == {"alice": "valid"}
