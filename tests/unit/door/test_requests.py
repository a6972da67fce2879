"""Bodies, limits, usage, the request log, and a door that closes."""

import asyncio
import json

import pytest

from deployctl_door import tokens
from deployctl_door.account import Account
from deployctl_door.door import Door
from deployctl_door.keys import Key, Limits
from deployctl_door.limits import Usage

from .conftest import asked
from .test_keys import entry

CHAT = "/v1/chat/completions"
KEY = "the-default-key"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"[]", "no JSON object"),
        (b'{"n": 1', "not JSON"),
        (b'{"n": NaN}', "not JSON"),
        (b'{"n": 1, "n": 99}', "twice"),
        (b"\xff\xfe", "not JSON"),
        (b'{"n": 17}', "n is 17"),
        (b'{"n": "17"}', "n is no number"),
        (b'{"best_of": 1e9}', "best_of"),
        (b'{"max_tokens": 2000}', "max_tokens"),
        (b'{"max_completion_tokens": 1e400}', "max_completion_tokens is inf"),
        (b'{"top_logprobs": 21}', "top_logprobs"),
        (json.dumps({"prompt": ["x"] * 257}).encode(), "prompt has more than 256"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested"),
        (b'{"a":' * 99_999 + b"1" + b"}" * 99_999, "not JSON"),
        (b'{"n": ' + b"1" * 5000 + b"}", "not JSON"),
    ],
)
def test_absurd_bodies_do_not_reach_the_engine(ask, build, engine, body, said):
    door = build(body={"tokens": 1000})
    answer = ask("POST", CHAT, key=KEY, body=body, through=door)
    assert answer.status == 400
    assert said in answer.json()["error"]["message"]
    assert engine.seen == []


def test_what_is_asked_in_reason_goes_on_as_it_was_sent(ask, engine):
    body = b'{ "model":"m", "n": 16, "prompt": [1,2,3], "logprobs": true }'
    assert ask("POST", CHAT, key=KEY, body=body).status == 200
    assert engine.seen == [("POST", CHAT, body)]


def test_a_body_that_is_too_large_told_or_untold(ask, build, engine):
    door = build(body={"bytes": 100})
    body = json.dumps({"x": "y" * 100}).encode()
    answer = ask("POST", CHAT, key=KEY, body=body, through=door)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    untold = [("transfer-encoding", "chunked"), ("content-length", "0")]
    assert ask("POST", CHAT, key=KEY, body=body, through=door, headers=untold).status == 413
    assert engine.seen == []


def test_a_slow_body_is_given_up(build, engine):
    door = build(body={"seconds": 0.01})

    async def run():
        sent = []

        async def receive():
            await asyncio.Event().wait()

        async def send(message):
            sent.append(message)

        headers = [(b"authorization", b"Bearer the-default-key")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
        await door(scope, receive, send)
        return sent[0]["status"]

    assert asyncio.run(run()) == 408
    assert engine.seen == []


def test_a_compressed_body_is_refused(ask):
    headers = [("content-encoding", "gzip")]
    assert ask("POST", CHAT, key=KEY, body=b"x", headers=headers).status == 415


def test_a_form_goes_through_and_its_model_is_looked_at(ask, write_keys, engine):
    write_keys(entry("one", "key-1", models=["whisper"]))
    form = (
        b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n\x00\r\n--b--\r\n'
    )
    headers = [("content-type", 'multipart/form-data; boundary="b"')]
    path = "/v1/audio/transcriptions"
    for model, status in ((b"whisper", 200), (b"other", 403)):
        answer = ask("POST", path, key="key-1", body=form % model, headers=headers)
        assert answer.status == status
    assert len(engine.seen) == 1


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


STREAM = [
    b'data: {"choices":[{"delta":{"content":"a \\"usage\\":"}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"b"}}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
    b"data: [DONE]\n\n",
]


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
@pytest.mark.parametrize("asked_for", [False, True])
def test_usage_is_asked_for_counted_and_taken_out_again(ask, engine, build, size, asked_for):
    whole = b"".join(STREAM)
    engine.parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    body = {"model": "m", "stream": True}
    if asked_for:
        body["stream_options"] = {"include_usage": True}
    lines = []
    engine_door = Door(engine, build()._configuration, Account(log=True, write=lines.append))
    answer = ask("POST", CHAT, key=KEY, body=body, through=engine_door)
    assert json.loads(engine.seen[0][2])["stream_options"] == {"include_usage": True}
    told = STREAM if asked_for else [STREAM[0], STREAM[1], STREAM[3]]
    assert answer.body == b"".join(told)
    line = json.loads(lines[0])
    assert (line["tokens_in"], line["tokens_out"], line["key"]) == (5, 2, "default")


def test_usage_of_answers_that_are_no_stream_and_of_other_apis():
    for part in (
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}',
        b'{"usage":{"input_tokens":3,"output_tokens":4}}',
    ):
        counter = tokens.Counter(stream=False, hide=False)
        assert counter.passing(part[:9], last=False) + counter.passing(part[9:], last=True) == part
        assert (counter.input, counter.output) == (3, 4)
    counter = tokens.Counter(stream=True, hide=False)
    events = (
        b"event: message_start\n"
        b'data: {"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
        b'event: message_delta\ndata: {"usage":{"output_tokens":4}}\n\n'
    )
    assert counter.passing(events, last=True) == events
    assert (counter.input, counter.output) == (3, 4)


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
