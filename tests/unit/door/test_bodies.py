"""What a body may be and may ask for, and that it is read as the engine reads it."""

import asyncio
import json

import pytest

from deployctl_door import bodies
from deployctl_door.configuration import BodyLimits
from deployctl_door.headers import Headers

from .conftest import asked

AUDIO = "/v1/audio/transcriptions"
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
        ('{"model": "m"}'.encode("utf-16"), "not JSON"),
        (b'\xef\xbb\xbf{"model": "m"}', "not JSON"),
        (b'{"n": 17}', "n must be between 0 and 16"),
        (b'{"n": "17"}', "n is no number"),
        (b'{"best_of": 1e9}', "best_of"),
        (b'{"max_tokens": 2000}', "max_tokens"),
        (b'{"max_completion_tokens": 1e400}', "not JSON"),
        (b'{"top_logprobs": 21}', "top_logprobs"),
        (b'{"prompt_logprobs": -1}', "prompt_logprobs must be between 0 and 20"),
        (json.dumps({"prompt": ["x"] * 257}).encode(), "prompt has more than 256"),
        (json.dumps({"prompt": [True] * 257}).encode(), "prompt has more than 256"),
        (json.dumps({"items": ["x"] * 257}).encode(), "items has more than 256"),
        (json.dumps({"images": ["x"] * 257}).encode(), "images has more than 256"),
        (json.dumps({"inputs": [{}] * 257}).encode(), "inputs has more than 256"),
        (json.dumps({"messages": [[{}]] * 257}).encode(), "messages has more than 256"),
        (json.dumps({"data_2": {"content": [{}] * 257}}).encode(), "data_2 has more than 256"),
        # An engine takes these for true; it would stream, and not tell what it cost.
        *((b'{"stream": ' + true + b"}", "stream is") for true in (b"1", b'"true"', b"1.0")),
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


def test_a_long_conversation_is_one_prompt(ask, engine):
    body = {"messages": [{"role": "user", "content": "x"}] * 257, "stream": None}
    assert ask("POST", CHAT, key=KEY, body=body).status == 200


@pytest.mark.parametrize("name", ["kv_transfer_params", "ec_transfer_params"])
@pytest.mark.parametrize("given", [{}, {"remote_host": "10.0.0.1"}, "x", 0, False])
def test_no_user_steers_where_computed_state_goes(ask, engine, name, given):
    """Neither by its name nor by what is laid over it: vllm_xargs may be a text, too, and an
    engine's process fails over that."""
    for body in ({name: given}, {"vllm_xargs": {name: given}}, {"vllm_xargs": {name: None}}):
        answer = ask("POST", CHAT, key=KEY, body=body)
        assert (answer.status, answer.json()["error"]["param"]) == (403, name)
    assert engine.seen == []
    for body in ({name: None}, {"vllm_xargs": {"other": 1}}, {"vllm_xargs": None}):
        assert ask("POST", CHAT, key=KEY, body=body).status == 200
    assert ask("POST", CHAT, key="the-operator-token", body={name: given}).status == 200


@pytest.mark.parametrize(
    ("route", "body", "put_in"),
    [
        (CHAT, {}, {"max_completion_tokens": 50}),
        (CHAT, {"max_tokens": None}, {"max_completion_tokens": 50}),
        (CHAT, {"max_tokens": 0, "max_completion_tokens": 0}, {"max_completion_tokens": 50}),
        (CHAT, {"max_tokens": 7}, {}),
        (CHAT, {"max_completion_tokens": 50, "max_tokens": None}, {}),
        ("/v1/completions", {"prompt": "x"}, {"max_tokens": 50}),
        ("/v1/completions", {"max_tokens": None}, {"max_tokens": 50}),
        ("/v1/completions", {"max_tokens": 0, "echo": True}, {}),
        ("/v1/responses", {"input": "x"}, {"max_output_tokens": 50}),
        ("/v1/responses", {"max_output_tokens": 8}, {}),
        ("/v1/embeddings", {"input": "x"}, {}),
    ],
)
def test_a_request_that_leaves_open_how_much_is_told_the_limit(
    ask, build, engine, route, body, put_in
):
    routes = [["POST", route]]
    ask("POST", route, key=KEY, body=body, through=build(user=routes, body={"tokens": 50}))
    assert json.loads(engine.seen[0][2]) == {**body, **put_in}
    ask("POST", route, key=KEY, body=body, through=build(user=routes))
    assert json.loads(engine.seen[1][2]) == body


def test_the_limit_and_the_wish_for_usage_go_in_together(ask, build, engine):
    body = b'{ "stream": true, "model": "m" }'
    ask("POST", CHAT, key=KEY, body=body, through=build(body={"tokens": 50}))
    sent = engine.seen[0][2]
    assert json.loads(sent) == {
        "stream": True, "model": "m",
        "max_completion_tokens": 50, "stream_options": {"include_usage": True},
    }  # fmt: skip
    assert sent.endswith(body[1:])


def test_a_body_that_is_too_large_told_or_untold(ask, build, engine):
    door = build(body={"bytes": 100})
    body = json.dumps({"x": "y" * 100}).encode()
    answer = ask("POST", CHAT, key=KEY, body=body, through=door)
    assert answer.status == 413
    assert answer.headers["connection"] == "close"
    untold = [("transfer-encoding", "chunked"), ("content-length", "0")]
    assert ask("POST", CHAT, key=KEY, body=body, through=door, headers=untold).status == 413
    assert engine.seen == []


@pytest.mark.parametrize(("expect", "reads"), [((), 3), (((b"expect", b"100-continue"),), 0)])
def test_a_client_that_sends_too_much_may_end_before_it_is_told(build, engine, expect, reads):
    """One that asks before whether it may send is not encouraged."""
    parts = [b"x" * 100] * 3
    left = len(parts)

    async def run():
        sent = []

        async def receive():
            nonlocal left
            left -= 1
            return {"type": "http.request", "body": parts[left], "more_body": left > 0}

        async def send(message):
            sent.append((message, left))

        headers = [(b"authorization", f"Bearer {KEY}".encode()), *expect]
        headers += [(b"content-type", b"application/json"), (b"content-length", b"300")]
        scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
        await build(body={"bytes": 200})(scope, receive, send)
        return sent[0]

    answer, then = asyncio.run(run())
    assert (answer["status"], then) == (413, len(parts) - reads)
    assert (b"connection", b"close") in answer["headers"]
    assert engine.seen == []


def slow(door, sent):
    """A request whose body never comes in; its answer goes to `sent`."""

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    headers = [
        (b"authorization", b"Bearer the-default-key"),
        (b"content-type", b"application/json"),
    ]
    return door({"type": "http", "method": "POST", "path": CHAT, "headers": headers}, receive, send)


def test_a_slow_body_is_given_up(build, engine):
    door, sent = build(body={"seconds": 0.01}), []
    for _ in range(2):  # in one event loop and in the next
        asyncio.run(slow(door, sent))
        assert sent[0]["status"] == 408
        sent.clear()
    assert engine.seen == []


def test_each_body_has_its_own_time():
    """Though one timer is there for all of them."""
    now = [0.0]
    reading = bodies.Reading(BodyLimits(seconds=10.0), lambda: now[0])

    async def run():
        arrives, loop = asyncio.Event(), asyncio.get_running_loop()

        async def receive():
            await arrives.wait()
            return {"type": "http.request", "body": b"{}", "more_body": False}

        first = asyncio.create_task(reading.read(receive, Headers([])))
        await asyncio.sleep(0)
        now[0] = 6.0
        second = asyncio.create_task(reading.read(receive, Headers([])))
        await asyncio.sleep(0)
        now[0] = 10.0
        reading._give_up(loop)
        with pytest.raises(bodies.BodyError, match="within 10 s"):
            await first
        assert not second.done()
        arrives.set()
        assert await second == b"{}"
        now[0] = 99.0
        reading._give_up(loop)  # which is late for nobody
        assert await reading.read(receive, Headers([])) == b"{}"

    asyncio.run(run())


def test_whoever_ends_a_request_that_waits_for_its_body_has_ended_it(build):
    door, sent = build(), []

    async def run():
        task = asyncio.create_task(slow(door, sent))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert sent == []


@pytest.mark.parametrize("coding", [["gzip"], ["gzip", "identity"], ["identity", "gzip"]])
def test_a_compressed_body_is_refused(ask, engine, coding):
    headers = [("content-encoding", each) for each in coding]
    assert ask("POST", CHAT, key=KEY, body={}, headers=headers).status == 415
    assert engine.seen == []


@pytest.mark.parametrize(
    "kinds",
    [
        [],
        ["application/x-www-form-urlencoded"],
        ["text/plain"],
        ["multipart/form-data; boundary=b"],
        ["application/json", "multipart/form-data; boundary=b"],
        ["application/json", "application/json"],
    ],
)
def test_a_body_is_to_be_of_the_type_that_it_is_read_as(build, engine, kinds):
    """What is read as JSON here is not to be read as a form behind the door."""
    headers = [("content-type", kind) for kind in kinds]
    asking = asked(build(), "POST", CHAT, KEY, {}, headers or [("x", "y")], kind=None)
    assert asyncio.run(asking).status == 415
    assert engine.seen == []


def test_a_type_with_parameters_is_that_type(ask):
    headers = [("content-type", "Application/JSON; charset=utf-8")]
    assert ask("POST", CHAT, key=KEY, body={}, headers=headers).status == 200


def test_a_long_conversation_is_one_input_and_a_list_of_texts_is_many(ask):
    many = {"input": [{"role": "user", "content": "x"}] * 300}
    assert ask("POST", "/v1/responses", key=KEY, body=many).status == 200
    assert ask("POST", CHAT, key=KEY, body=many).status == 400


def test_stored_responses_are_the_operators(ask, engine):
    """A response that one key had stored is not to be gone on with by another."""
    body = {"model": "m", "input": "x", "previous_response_id": "resp_1"}
    answer = ask("POST", "/v1/responses", key=KEY, body=body)
    assert (answer.status, answer.json()["error"]["param"]) == (403, "previous_response_id")
    assert engine.seen == []
    assert ask("POST", "/v1/responses", key="the-operator-token", body=body).status == 200
