"""What may be counted is there at 0 before it is: a first burst must not be invisible to `rate`."""

import asyncio
import re
import time

import pytest

from deployctl_door import zeros
from deployctl_door.keys import Key, KeyRing

from .test_keys import entry

CHAT = "/v1/chat/completions"
COUNTED = re.compile(r"(deployctl_door_(?:requests|tokens|refusals)_total\{.*\}) (\d+)")


@pytest.fixture
def told(ask):
    """The door's counters by series."""

    def read(door):
        page = ask("GET", "/metrics", key="the-operator-token", through=door).body.decode()
        return {series: int(value) for series, value in COUNTED.findall(page)}

    return read


def test_a_first_burst_of_whatever_kind_makes_no_new_series(
    ask, build, told, engine, write_keys, tmp_path, monkeypatch
):
    write_keys(
        entry("one", "key-1", limits={"requests_per_minute": 1}),
        entry("few", "key-2", models=["m"]),
    )
    drain = tmp_path / "drain"
    door = build(drain_file=str(drain), drain_after_s=0)
    before = told(door)
    assert before
    assert set(before.values()) == {0}

    assert ask("POST", CHAT, key="key-1", body={}, through=door).status == 200
    assert ask("POST", CHAT, key="key-1", body={}, through=door).status == 429
    assert ask("POST", CHAT, key="key-2", body={"n": 10**6}, through=door).status == 400
    ask("POST", CHAT, key="key-2", body={"model": "x"}, through=door)
    for status in (500, 503):
        engine.status = status
        assert ask("POST", CHAT, key="key-2", body={"model": "m"}, through=door).status == status
    ask("POST", CHAT, key="wrong", body={}, through=door)
    ask("GET", "/metrics", key="wrong", through=door)
    ask("GET", "/nowhere", through=door)
    asyncio.run(_hangs_up(door, "key-2"))
    asyncio.run(_websocket(door))
    with monkeypatch.context() as core:
        core.setattr(type(door), "_is_dead", lambda self, scope: True)
        assert ask("POST", CHAT, key="key-1", body={}, through=door).status == 503
    drain.touch()
    time.sleep(0.3)  # the file is looked at four times a second
    assert ask("POST", CHAT, key="key-2", body={"model": "m"}, through=door).status == 503
    engine.status = 200
    after = told(door)

    refused = {series for series in after if "refusals" in series and after[series]}
    reasons = {re.search(r'reason="(\w+)"', series)[1] for series in refused}
    # A page's origin matters where no key is wanted alone: see test_origins.
    assert reasons == {*zeros.OF_KEYS, *zeros.OF_NOBODY} - {"origin"}
    # Answers to nobody, which the refusals tell, and statuses that are rare: those alone are new.
    new = {
        re.search(r'key="(.+?)".*status="(\d+)"', series).groups()
        for series in after.keys() - before.keys()
    }
    assert new == {
        ("-", "401"),
        ("-", "404"),
        ("few", "403"),
        ("few", "499"),
        ("operator", "200"),
    }
    assert [
        after[f'deployctl_door_requests_total{{key="few",route="{CHAT}",status="{s}"}}']
        for s in (500, 503)
    ] == [1, 2]


def test_a_key_that_is_added_later_starts_at_zero_and_one_that_is_revoked_keeps_what_it_did(
    ask, build, told, write_keys
):
    write_keys(ada="key-of-ada", bob="key-of-bob")
    door = build()
    ask("POST", CHAT, key="key-of-ada", body={}, through=door)
    write_keys(eve="key-of-eve", revoked=["ada", "bob"])
    time.sleep(0.3)  # the files are looked at four times a second
    after = told(door)
    refused = 'deployctl_door_refusals_total{{key="{}",reason="limit"}}'
    assert after[refused.format("eve")] == 0
    assert refused.format("bob") not in after
    assert after[f'deployctl_door_requests_total{{key="ada",route="{CHAT}",status="200"}}'] == 1


def test_whoever_needs_no_key_and_nobody_has_no_operator(build, told, secrets, ask):
    (secrets / "api_key").unlink()
    door = build(keyless=True)
    keys = {re.search(r'key="(.+?)"', series)[1] for series in told(door)}
    assert keys == {"-", "anyone", "operator"}
    assert "operator" not in "".join(zeros.told("tokens", {}, KeyRing((), None), (CHAT,)))


def test_ten_thousand_keys_are_not_as_many_series():
    ring = KeyRing(tuple(Key(f"k{number}", "") for number in range(10_000)), "hash")
    lines = [line for name in zeros.LABELS for line in zeros.told(name, {}, ring, ("/a", "/b"))]
    assert len(set(lines)) == len(lines) < 20 * zeros.MOST_KEYS


async def _hangs_up(door, key):
    async def gone():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode()}
    headers = [(b"authorization", f"Bearer {key}".encode()), (b"content-type", b"application/json")]
    await door({**scope, "headers": headers}, gone, None)


async def _websocket(door):
    async def any_message(*_):
        return {"type": "websocket.connect"}

    await door({"type": "websocket", "path": CHAT}, any_message, any_message)
