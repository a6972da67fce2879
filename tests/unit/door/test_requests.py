"""Limits, the request log, metrics, a door that closes, and one without keys."""

import asyncio
import contextlib
import json
import re
import time

import pytest

from deployctl_door.account import Account
from deployctl_door.door import Door
from deployctl_door.keys import Key, Limits
from deployctl_door.limits import Usage

from .conftest import asked
from .test_keys import entry

CHAT = "/v1/chat/completions"
KEY = "the-default-key"


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_limits_count_requests_tokens_and_what_is_under_way():
    clock = Clock()
    usage = Usage(clock)
    key = Key("k", "", limits=Limits(concurrent=2, requests_per_minute=4, tokens_per_minute=100))
    assert usage.begin(key) is None
    assert usage.begin(key) is None
    assert usage.begin(key) == ("2 requests at once", 1)
    usage.end(key, 60)
    clock.now = 10
    usage.end(key, 50)
    assert usage.begin(key) == ("100 tokens a minute", 50)  # when the first 60 are forgotten
    clock.now = 61
    assert usage.begin(key) is None
    usage.end(key, 0)
    for _ in range(3):
        assert usage.begin(key) is None
        usage.end(key, 0)
    assert usage.begin(key) == ("4 requests a minute", 60)
    clock.now = 122
    assert usage.begin(key) is None


def test_a_key_with_a_limit_of_none_at_all():
    assert Usage(Clock()).begin(Key("k", "", limits=Limits(requests_per_minute=0)))


def test_over_a_limit_is_429_with_when_to_retry(ask, write_keys, engine):
    write_keys(entry("one", "key-1", limits={"requests_per_minute": 1}))
    assert ask("POST", CHAT, key="key-1", body={}).status == 200
    answer = ask("POST", CHAT, key="key-1", body={})
    assert answer.status == 429
    assert int(answer.headers["retry-after"]) in (59, 60)
    assert ask("POST", CHAT, key=KEY, body={}).status == 200  # others go on


def test_the_log_has_no_prompt_no_key_and_the_clients_id(ask, engine, build):
    lines = []
    door = Door(engine, build()._configuration, Account(log=True, write=lines.append))
    body = {"model": "m", "messages": [{"content": "a secret prompt"}]}
    answer = ask("POST", CHAT, key=KEY, body=body, through=door, headers=[("x-request-id", "r-1")])
    assert answer.headers["x-request-id"] == "r-1"
    assert "server" not in answer.headers
    line = json.loads(lines[0])
    assert line["request_id"] == "r-1"
    assert line["model"] == "m"
    assert (line["status"], line["route"], line["tokens_out"]) == (200, CHAT, 4)
    assert "secret prompt" not in lines[0]
    assert KEY not in lines[0]
    bad = ask("GET", "/x\n", through=door, headers=[("x-request-id", 'a"\r\nb')])
    assert bad.headers["x-request-id"] != 'a"\r\nb'
    assert json.loads(lines[1])["route"] == "-"


def test_metrics_tell_who_used_what(ask, engine):
    ask("POST", CHAT, key=KEY, body={})
    ask("POST", CHAT, key="wrong", body={})
    engine.parts = [b"vllm:x 1\n"]
    text = ask("GET", "/metrics", key="the-operator-token").body.decode()
    assert text.startswith("vllm:x 1\n# HELP")
    assert "deployctl_door_requests_under_way 0\n" in text
    assert 'deployctl_door_tokens_total{key="default",direction="output"} 4' in text
    assert 'deployctl_door_refusals_total{key="-",reason="no_key"} 1' in text
    route = f'{{key="default",route="{CHAT}",status="200"}} 1'
    assert f"deployctl_door_requests_total{route}" in text


def test_a_door_that_closes(ask, build, engine, tmp_path):
    file = tmp_path / "drain"
    door = build(drain_file=str(file), drain_after_s=0.0)
    assert "connection" not in ask("POST", CHAT, key=KEY, body={}, through=door).headers
    file.touch()
    door._drain._checked = -1.0
    answer = ask("POST", CHAT, key=KEY, body={}, through=door)
    assert (answer.status, answer.headers["connection"]) == (503, "close")
    assert answer.headers["retry-after"] == "1"
    assert ask("GET", "/health", through=door).status == 200
    assert len(engine.seen) == 2


def test_requests_under_way_end_while_new_ones_are_refused(build, engine):
    door = build(drain_after_s=0.0)

    async def run():
        engine.hold = asyncio.Event()
        first = asyncio.create_task(asked(door, "POST", CHAT, KEY, {}))
        while not engine.seen:
            await asyncio.sleep(0)
        door._drain.begin()
        refused = await asked(door, "POST", CHAT, KEY, {})
        assert b"deployctl_door_requests_under_way 1\n" in door._account.metrics()
        engine.hold.set()
        return await first, refused

    answered, refused = asyncio.run(run())
    assert b"deployctl_door_requests_under_way 0\n" in door._account.metrics()
    assert (answered.status, answered.headers["connection"]) == (200, "close")
    assert refused.status == 503


def test_what_comes_behind_the_body_is_no_header_of_the_request(build):
    """uvicorn puts a chunked body's trailers into the list of headers that it gave the door."""
    seen = []

    async def engine(scope, receive, send):
        seen.extend(scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    given = [(b"content-type", b"application/json"), (b"authorization", f"Bearer {KEY}".encode())]

    async def receive():
        given.append((b"x-data-parallel-rank", b"1"))
        return {"type": "http.request", "body": b"{}", "more_body": False}

    async def send(message):
        pass

    door = build()
    door._app = engine
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": given}
    asyncio.run(door({**scope, "raw_path": CHAT.encode()}, receive, send))
    assert (b"x-data-parallel-rank", b"1") in given
    assert seen == given[:2]


def test_what_the_engine_has_and_has_not_begun_to_answer_is_told_with_its_age(build):
    began, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(scope, receive, send):
        await began.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(0)  # the head alone is no answer: it may come before the first token
        heads.append(told())
        await send({"type": "http.response.body", "body": b"x", "more_body": True})
        await goes_on.wait()
        await send({"type": "http.response.body", "body": b"y"})

    door, heads = Door(slow, build()._configuration), []

    def told():
        text = door._account.metrics().decode()
        names = ("requests_unanswered", "oldest_unanswered_timestamp_seconds")
        return [float(re.search(rf"^deployctl_door_{n} (\S+)$", text, re.M)[1]) for n in names]

    async def run():
        assert told() == [0, 0]
        before = time.time()
        first = asyncio.create_task(asked(door, "POST", CHAT, KEY, {}))
        while told()[0] < 1:
            await asyncio.sleep(0)
        count, oldest = told()
        assert (count, before - 1e-5 <= oldest <= time.time() + 1e-5) == (1, True)
        second = asyncio.create_task(asked(door, "POST", CHAT, KEY, {}))
        while told()[0] < 2:
            await asyncio.sleep(0)
        assert told() == [2, oldest]
        began.set()
        while told()[0]:
            await asyncio.sleep(0)
        assert heads[0] == [2, oldest]
        assert b"deployctl_door_requests_under_way 2\n" in door._account.metrics()
        assert told() == [0, 0]  # a client that reads slowly is none that waits for the engine
        goes_on.set()
        await asyncio.gather(first, second)

    asyncio.run(run())
    assert door._account._passed_on == {}


def test_a_websocket_is_closed(build, engine):
    sent = []

    async def run():
        async def receive():
            return {"type": "websocket.connect"}

        async def send(message):
            sent.append(message)

        scope = {"type": "websocket", "path": "/v1/realtime", "headers": []}
        await build()(scope, receive, send)

    asyncio.run(run())
    assert sent == [{"type": "websocket.close", "code": 1008}]
    assert engine.seen == []


def test_without_keys_users_come_in_and_nobody_else(ask, build, secrets, write_keys):
    (secrets / "api_key").unlink()
    door = build(keyless=True)
    assert ask("POST", CHAT, body={}, through=door).status == 200
    assert ask("GET", "/metrics", through=door).status == 401
    assert ask("GET", "/version", through=door).status == 404


def test_where_none_is_needed_a_key_that_is_there_is(ask, build, secrets, write_keys):
    """The first that is added closes what was open, and the last that goes opens nothing."""
    (secrets / "api_key").unlink()
    write_keys(ada="key-of-ada")
    door = build(keyless=True)
    assert ask("POST", CHAT, body={}, through=door).status == 401
    assert ask("POST", CHAT, key="key-of-ada", body={}, through=door).status == 200
    write_keys()
    door = build(keyless=True)
    assert ask("POST", CHAT, body={}, through=door).status == 401


def test_an_engine_that_fails_is_an_error_in_the_log_and_one_that_nobody_waits_for_is_not(build):
    lines = []

    async def fails(scope, receive, send):
        raise RuntimeError

    async def sees_the_client_go(scope, receive, send):
        pass

    for app, status in ((fails, 500), (sees_the_client_go, 499)):
        door = Door(app, build()._configuration, Account(log=True, write=lines.append))
        with contextlib.suppress(RuntimeError, IndexError):
            asyncio.run(asked(door, "POST", CHAT, KEY, {}))
        assert json.loads(lines[-1])["status"] == status
    assert b"deployctl_door_requests_under_way 0\n" in door._account.metrics()


def test_a_client_that_goes_before_its_body_is_whole(build, engine):
    lines = []
    door = Door(engine, build()._configuration, Account(log=True, write=lines.append))
    scope = {"type": "http", "method": "POST", "path": CHAT, "raw_path": CHAT.encode()}
    kind = (b"content-type", b"application/json")
    headers = [(b"authorization", f"Bearer {KEY}".encode()), kind]

    async def receive():
        return {"type": "http.disconnect"}

    asyncio.run(door({**scope, "headers": headers}, receive, None))
    assert json.loads(lines[0])["status"] == 499
    assert engine.seen == []


def test_a_log_that_nobody_reads_stops_no_request(monkeypatch):
    class Closed:
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    Account(log=True).complain("x")


def test_metrics_say_when_keys_expire_and_whether_their_files_are_read(ask, write_keys, secrets):
    write_keys(entry("ci", "key-1", expires="2033-05-18T03:33:20Z"), entry("ever", "key-2"))

    def told():
        page = ask("GET", "/metrics", key="the-operator-token").body.decode()
        return [line for line in page.splitlines() if re.match(r"deployctl_door_keys?_", line)]

    expires = 'deployctl_door_key_expires_timestamp_seconds{key="ci"} 2000000000.0'
    assert told() == ["deployctl_door_keys_stale 0", expires]
    (secrets / "keys.json").write_text("{")
    time.sleep(0.3)  # the files are looked at four times a second
    assert told() == ["deployctl_door_keys_stale 1", expires]


def test_what_an_engine_that_has_died_never_saw_may_be_sent_again(build, ask, engine):
    door = build()
    door._is_dead = lambda scope: True
    answer = ask("GET", "/v1/models", key="the-default-key", through=door)
    assert (answer.status, answer.headers["x-deployctl-refused"]) == (503, "not-begun")
    assert engine.seen == []
    assert "x-deployctl-refused" not in ask("GET", "/v1/models", key="the-default-key").headers


@pytest.mark.parametrize(
    ("refused", "status"), [("dead", 503), ("limit", 429), ("key", 401), ("token", 401), ("", 404)]
)
def test_who_is_turned_away_may_end_sending_before_it_is_told(build, write_keys, refused, status):
    """Else the connection is reset, and a gateway finds that the engine has ended instead."""
    limits = {"requests_per_minute": 0} if refused == "limit" else {}
    write_keys(entry("one", "key-1", limits=limits))
    door = build()
    door._is_dead = lambda scope: refused == "dead"
    left, sent = 3, []

    async def receive():
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"x", "more_body": left > 0}

    async def send(message):
        sent.append((message, left))

    key = b"Bearer " + (b"wrong" if refused in ("key", "token") else b"key-1")
    headers = [(b"authorization", key), (b"content-length", b"3")]
    path = {"token": "/metrics", "": "/nothing"}.get(refused, CHAT)
    method = "GET" if refused == "token" else "POST"
    scope = {"type": "http", "method": method, "path": path, "headers": headers}
    asyncio.run(door(scope, receive, send))
    assert (sent[0][0]["status"], sent[0][1]) == (status, 0)
