"""Who comes in with which key."""

import hashlib

import pytest

from deployctl_door import keys
from deployctl_door.keys import KeysError

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
        "the-default-key\xff",
        "the-default-key the-default-key",
        "the-probes-token",
    ],
)
def test_no_key_and_wrong_keys_are_refused_as_openai_does(ask, build, engine, key, tmp_path):
    (tmp_path / "probe").write_text("the-probes-token")
    door = build(probe_token="probe")
    answer = ask("POST", CHAT, key=key, body={}, through=door)
    assert answer.status == 401
    assert answer.json()["error"]["code"] == "invalid_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert engine.seen == []


def test_the_default_key_a_named_key_and_the_operator_come_in(ask, write_keys):
    write_keys(ada="key-of-ada")
    for key in ("the-default-key", "key-of-ada", "the-operator-token"):
        assert ask("POST", CHAT, key=key, body={}).status == 200


@pytest.mark.parametrize("key", [None, "", "the-default-key", "wrong", "\xe9", "the-probes-toke"])
def test_the_probes_token_opens_operators_routes_and_nothing_else_does(ask, build, tmp_path, key):
    (tmp_path / "probe").write_text("the-probes-token")
    door = build(probe_token="probe")
    assert ask("GET", "/metrics", key="the-probes-token", through=door).status == 200
    assert ask("GET", "/metrics", key=key, through=door).status == 401


def test_a_key_may_be_of_any_letters(ask, secrets):
    """A header carries the bytes of its UTF-8."""
    (secrets / "api_key").write_text("schlüssel")
    sent = "schlüssel".encode().decode("latin-1")
    headers = [("authorization", b"Bearer " + sent.encode("latin-1"))]
    assert ask("POST", CHAT, body={}, headers=headers).status == 200


def test_a_key_may_come_as_anthropics_clients_send_it(ask):
    assert ask("POST", CHAT, body={}, headers=[("x-api-key", "the-default-key")]).status == 200
    both = [("authorization", "Bearer wrong"), ("x-api-key", "the-default-key")]
    assert ask("POST", CHAT, body={}, headers=both).status == 401


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


def test_a_key_that_was_seen_before_goes_on_to_expire_and_to_be_revoked(
    ask, build, write_keys, monkeypatch
):
    write_keys(entry("one", "key-1", expires="2100-01-01T00:00:00Z"))
    door = build()
    for _ in range(2):
        assert ask("POST", CHAT, key="key-1", body={}, through=door).status == 200
        assert ask("POST", CHAT, key="key-2", body={}, through=door).status == 401
    with monkeypatch.context() as patch:
        patch.setattr("time.time", lambda: 4102444801.0)  # a second into 2100
        assert ask("POST", CHAT, key="key-1", body={}, through=door).status == 401
    write_keys()
    door._keys._checked = -1.0
    assert ask("POST", CHAT, key="key-1", body={}, through=door).status == 401


def test_what_is_remembered_of_keys_has_an_end(ask, build, monkeypatch):
    monkeypatch.setattr(keys, "MOST_KNOWN", 3)
    door = build()
    for spaces in (600, *range(1, 6)):
        sent = [("authorization", "Bearer" + " " * spaces + "the-default-key")]
        assert ask("POST", CHAT, body={}, headers=sent, through=door).status == 200
    ring = door._keys.now()
    assert [len(header) for header in ring.known] == [22, 23, 24]
    assert "the-default-key" not in repr(ring)


def test_the_default_key_can_be_revoked(ask, write_keys):
    write_keys(revoked=["default"])
    assert ask("POST", CHAT, key="the-default-key", body={}).status == 401


def test_a_key_for_one_model(ask, write_keys, engine):
    write_keys(entry("one", "key-1", models=["llama", "llama-lora"]))
    assert ask("POST", CHAT, key="key-1", body={"model": "llama-lora"}).status == 200
    for body in ({"model": "other"}, {}, {"model": ["llama"]}):
        assert ask("POST", CHAT, key="key-1", body=body).status == 403
    assert len(engine.seen) == 1


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
