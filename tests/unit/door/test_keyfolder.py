"""What becomes of the keys when their files change, go missing or are damaged."""

import json
import os

import pytest

from deployctl_door import keys
from deployctl_door.keyfolder import KeyFolder
from deployctl_door.keys import KeysError

from .test_keys import Clock, entry


@pytest.fixture
def folder(secrets):
    told = []
    clock = Clock()
    made = KeyFolder(secrets, told.append, clock=clock)

    def later():
        clock.now += 1
        return made.now()

    return later, told


def test_a_revoked_key_is_out_within_a_second(folder, write_keys):
    later, told = folder
    write_keys(ada="a", bob="b")
    assert later().find("a", 0)
    write_keys(bob="b")
    assert later().find("a", 0) is None
    assert later().find("b", 0)
    assert told == []


BAD = {
    "half-written": '{"version": 1, "keys": [{"name": "a',
    "empty": "",
    "a newer version": json.dumps({"version": 2, "keys": []}),
    "no object": "[]",
    "no list": json.dumps({"version": 1, "keys": 3}),
    "a key that is none": json.dumps({"version": 1, "keys": ["x"]}),
    "a hash that is none": json.dumps({"version": 1, "keys": [{"name": "a", "sha256": "1"}]}),
    "a limit that is none": json.dumps(
        {"version": 1, "keys": [{"name": "a", "sha256": "0" * 64, "limits": {"rpm": 1}}]}
    ),
    "a date that is none": json.dumps(
        {"version": 1, "keys": [{"name": "a", "sha256": "0" * 64, "expires": "soon"}]}
    ),
    "a name of the door's own": json.dumps(
        {"version": 1, "keys": [{"name": "operator", "sha256": "0" * 64}]}
    ),
    "models that are one word": json.dumps(
        {"version": 1, "keys": [{"name": "a", "sha256": "0" * 64, "models": "m"}]}
    ),
    "a name twice": json.dumps({"version": 1, "keys": [{"name": "a", "sha256": "0" * 64}] * 2}),
    "deep": "[" * 100_000,
    "huge": " " * (keys.LARGEST + 1),
}


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_bad_key_file_lets_nobody_in_and_locks_nobody_out(folder, secrets, write_keys, content):
    later, told = folder
    write_keys(ada="a")
    later()
    (secrets / "keys.json").write_text(content)
    for _ in range(3):
        ring = later()
        assert ring.find("a", 0)
        assert ring.find("the-default-key", 0)
        assert ring.find("", 0) is None
    assert len(told) == 1
    assert "keys.json" in told[0]
    write_keys(bob="b")
    assert later().find("b", 0)
    assert later().find("a", 0) is None


def test_a_key_file_that_is_a_folder_or_not_to_be_read(folder, secrets, write_keys):
    later, told = folder
    write_keys(ada="a")
    later()
    (secrets / "keys.json").unlink()
    (secrets / "keys.json").mkdir()
    for _ in range(3):
        assert later().find("a", 0)
    assert told == [
        f"{secrets / 'keys.json'}: cannot be read: not a regular file; "
        "the keys read before go on being valid"
    ]


@pytest.mark.parametrize("name", keys.FILES)
def test_a_pipe_in_the_place_of_a_file_keeps_nobody_waiting(folder, secrets, write_keys, name):
    """Nobody will ever write into it; the event loop would wait for that."""
    later, told = folder
    write_keys(ada="a")
    later()
    (secrets / name).unlink()
    os.mkfifo(secrets / name)
    ring = later()
    assert ring.find("a", 0)
    assert ring.find("the-default-key", 0)
    assert told == [
        f"{secrets / name}: cannot be read: not a regular file; "
        "the keys read before go on being valid"
    ]
    with pytest.raises(keys.KeysError, match="not a regular file"):
        keys.read(secrets)


def test_what_a_file_holds_is_not_in_what_is_said_of_it(folder, secrets):
    later, told = folder
    secret = "a-key-where-a-hash-belongs"
    for entry_ in ({"name": "a", "sha256": secret}, {"name": secret + "!"}, secret):
        (secrets / "keys.json").write_text(json.dumps({"version": 1, "keys": [entry_]}))
        later()
    (secrets / "keys.json").write_text(f'{{"version": 1, "keys": "{secret}')
    later()
    assert len(told) == 4
    assert secret not in "".join(told)


def test_a_key_is_revoked_though_another_file_is_damaged(folder, secrets, write_keys):
    later, _ = folder
    write_keys(ada="a", bob="b")
    later()
    (secrets / "operator_token").write_text("")
    write_keys(bob="b")
    ring = later()
    assert ring.find("a", 0) is None
    assert ring.find("b", 0)
    assert ring.is_operator("the-operator-token")


def test_a_key_is_revoked_though_the_rest_of_the_file_cannot_be(folder, write_keys):
    later, _ = folder
    write_keys(ada="a", bob="b")
    later()
    write_keys(entry("default", "x"), bob="b", revoked=["ada"])
    ring = later()
    assert ring.find("a", 0) is None
    assert ring.find("b", 0)


def test_a_file_that_can_be_read_again_is(folder, secrets, write_keys):
    """Its modification time need not change for that."""
    later, _ = folder
    write_keys(ada="a")
    keys_file = secrets / "keys.json"
    good = keys_file.read_bytes()
    keys_file.write_bytes(good.replace(b"{", b"[", 1))
    later()
    stat = keys_file.stat()
    keys_file.write_bytes(good)
    os.utime(keys_file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [bool(later().find("a", 0)) for _ in range(3)] == [False, True, True]


@pytest.mark.parametrize("name", ["keys.json", "api_key"])
@pytest.mark.parametrize("content", ["", "{", '{"version": 2, "keys": []}'])
def test_a_damaged_file_closes_a_door_that_needed_no_key(secrets, write_keys, name, content):
    (secrets / "api_key").unlink()
    told, clock = [], Clock()
    folder = KeyFolder(secrets, told.append, keyless=True, clock=clock)
    assert folder.now().open

    def later():
        clock.now += 1
        return folder.now()

    (secrets / name).write_text(content)
    if name == "api_key" and content:
        (secrets / name).write_bytes(b"\xff")
    ring = later()
    assert (ring.open, ring.keys) == (False, ())
    assert ring.is_operator("the-operator-token")
    assert "nobody but the operator is let in" in told[0]
    (secrets / name).unlink()
    assert not later().open
    write_keys(ada="a")
    assert later().find("a", 0)


def test_two_keys_of_one_name_close_a_door_that_needed_no_key(secrets, write_keys):
    (secrets / "api_key").unlink()
    clock = Clock()
    folder = KeyFolder(secrets, lambda _: None, keyless=True, clock=clock)
    write_keys(entry("a", "1"), entry("a", "2"))
    clock.now += 1
    assert not folder.now().open


@pytest.mark.parametrize("limit", ["concurrent", "requests_per_minute", "tokens_per_minute"])
def test_several_processes_take_no_key_with_limits(secrets, write_keys, limit):
    """Each would count alone, and the key get a multiple of what it may have."""
    write_keys(bob="b")
    told, clock = [], Clock()
    folder = KeyFolder(secrets, told.append, processes=2, clock=clock)
    write_keys(entry("ada", "a", limits={limit: 1}), bob="b")
    assert keys.read(secrets).find("a", 0)
    with pytest.raises(KeysError, match="ada has limits, and each of the engine's 2 API-server"):
        keys.read(secrets, processes=2)
    clock.now += 1
    assert folder.now().find("a", 0) is None
    assert folder.now().find("b", 0)
    assert "ada has limits" in told[0]


@pytest.mark.parametrize("name", ["keys.json", "api_key", "operator_token"])
def test_a_file_that_goes_missing_changes_nothing(folder, secrets, write_keys, name):
    later, told = folder
    write_keys(ada="a")
    later()
    (secrets / name).unlink()
    ring = later()
    assert ring.find("a", 0)
    assert ring.find("the-default-key", 0)
    assert ring.is_operator("the-operator-token")
    assert "is gone" in told[0]


def test_a_mounted_secret_that_is_exchanged_as_a_whole(tmp_path):
    """As the kubelet does it: the files are links through one link that is replaced."""
    for number, key in ((1, "old"), (2, "new")):
        version = tmp_path / f"..{number}"
        version.mkdir()
        (version / "api_key").write_text(key)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "api_key").symlink_to("..data/api_key")
    clock = Clock()
    folder = KeyFolder(tmp_path, print, clock=clock)
    (tmp_path / "..next").symlink_to("..2")
    (tmp_path / "..next").replace(tmp_path / "..data")
    clock.now += 1
    assert folder.now().find("new", 0)
    assert folder.now().find("old", 0) is None
