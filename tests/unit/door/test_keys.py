"""Who comes in, and what becomes of the keys when their file changes."""

import hashlib
import json

import pytest

from deployctl_door import keys
from deployctl_door.keys import KeyFolder, KeysError

CHAT = "/v1/chat/completions"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.mark.parametrize(
    "key",
    [
        None,
        "",
        "wrong",
        "the-default-ke",
        "the-default-key2",
        "THE-DEFAULT-KEY",
        "the-default-key\x00",
    ],
)
def test_no_key_and_wrong_keys_are_refused_as_openai_does(ask, engine, key):
    answer = ask("POST", CHAT, key=key, body={})
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert engine.seen == []


def test_the_default_key_a_named_key_and_the_operator_come_in(ask, write_keys):
    write_keys(ada="key-of-ada")
    for key in ("the-default-key", "key-of-ada", "the-operator-token"):
        assert ask("POST", CHAT, key=key, body={}).status == 200


def test_two_authorization_headers_are_none(ask, engine):
    twice = [("authorization", "Bearer the-default-key"), ("authorization", "Bearer x")]
    assert ask("POST", CHAT, body={}, headers=twice).status == 401
    assert engine.seen == []


def entry(name, key, **more):
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def test_a_key_that_has_expired(ask, write_keys):
    write_keys(
        entry("old", "key-1", expires="2020-01-01T00:00:00Z"),
        entry("new", "key-2", expires="2199-01-01T00:00:00+00:00"),
    )
    assert ask("POST", CHAT, key="key-1", body={}).status == 401
    assert ask("POST", CHAT, key="key-2", body={}).status == 200


def test_the_default_key_can_be_revoked(ask, write_keys):
    write_keys(revoked=["default"])
    assert ask("POST", CHAT, key="the-default-key", body={}).status == 401


def test_a_key_for_one_model(ask, write_keys, engine):
    write_keys(entry("one", "key-1", models=["llama", "llama-lora"]))
    assert ask("POST", CHAT, key="key-1", body={"model": "llama-lora"}).status == 200
    for body in ({"model": "other"}, {}, {"model": ["llama"]}):
        assert ask("POST", CHAT, key="key-1", body=body).status == 403
    assert len(engine.seen) == 1


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


@pytest.mark.parametrize("content", ["", "two words", "\x00", "a\nb"])
def test_a_secret_that_is_none_keeps_the_door_from_opening(secrets, content):
    (secrets / "api_key").write_text(content)
    with pytest.raises(KeysError):
        keys.read(secrets)


def test_there_is_no_door_without_any_key(tmp_path):
    with pytest.raises(KeysError, match=r"there is no key: neither api_key nor keys\.json"):
        keys.read(tmp_path)
    (tmp_path / "operator_token").write_text("token")
    with pytest.raises(KeysError, match="there is no key"):
        keys.read(tmp_path)
    assert keys.read(tmp_path, keyless=True).open


def test_two_keys_of_one_name(secrets, write_keys):
    write_keys(entry("default", "x"))
    with pytest.raises(KeysError, match="two keys are named default"):
        keys.read(secrets)
