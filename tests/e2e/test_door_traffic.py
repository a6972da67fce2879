"""What the door lets in is as without it: streams, hang-ups, crowds; and what it writes down."""

import asyncio
import contextlib
import json
import re
import socket

import pytest
from tests.e2e.guarded import REVOKED, TEAM, total
from tests.e2e.streams import CHAT, COMPLETION, GOES, LONG, events, request, streaming
from tests.e2e.wire import Wire

from process_shell import until

pytestmark = pytest.mark.vllm


@pytest.fixture
def engine(keyed_engine):
    return keyed_engine


def test_a_stream_comes_token_by_token_and_a_long_answer_is_whole(engine):
    for _ in range(GOES):
        with contextlib.closing(Wire(engine.port)) as wire:
            chunks = streaming(wire, engine, "/v1/completions", COMPLETION, max_tokens=LONG)
            first = next(chunks)
            early = engine.running() == 1  # it is still at work: nothing was held back
            found, end = events([first, *chunks])
        assert end == b"[DONE]"
        assert len(found) > LONG / 2
        if early:
            break
    else:
        pytest.fail("each answer was complete before its first chunk came")
    whole = engine.complete(TEAM, LONG).json()
    assert whole["usage"]["completion_tokens"] == LONG
    assert "".join(one["choices"][0]["text"] for one in found) == whole["choices"][0]["text"]


@pytest.mark.parametrize(
    ("path", "body"), [("/v1/completions", COMPLETION), ("/v1/chat/completions", CHAT)]
)
def test_usage_is_told_to_who_asks_and_counted_for_all(engine, path, body):
    """Of the first stream because the door asks, and then because vLLM leaves it beside each."""
    counted = []
    for options in ({}, {"stream_options": {"include_usage": True}}, {}):
        before = engine.figures()
        with contextlib.closing(Wire(engine.port)) as wire:
            found, end = events(streaming(wire, engine, path, body, max_tokens=12, **options))
        assert end == b"[DONE]"
        told = [one["usage"] for one in found if one.get("usage")]
        assert [one["completion_tokens"] for one in told] == ([12] if options else [])
        assert all(one["choices"] for one in found if not one.get("usage"))
        name, labels = "deployctl_door_tokens_total", ('key="team"', 'direction="output"')
        counted.append(total(engine.figures(), name, *labels) - total(before, name, *labels))
    assert counted == [12, 12, 12]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_ends_its_request(engine, stream):
    before = total(engine.figures(), made := "vllm:generation_tokens_total")
    body = {**COMPLETION, "max_tokens": 2000, "stream": stream}
    with socket.create_connection(("127.0.0.1", engine.port)) as client:
        client.sendall(request(engine, "/v1/completions", body))
        if stream:
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        until(lambda: engine.running() == 1)
    until(lambda: engine.running() == 0)
    assert 0 < total(engine.figures(), made) - before < 2000


@pytest.mark.parametrize("count", [200, 1000])
def test_many_connections_at_once_are_all_answered(engine, count):
    body = {**COMPLETION, "max_tokens": 2, "stream": True}

    async def one(number, opened):
        reader, writer = await asyncio.open_connection("127.0.0.1", engine.port)
        opened.append(number)
        while len(opened) < count:  # all are there before the first one asks
            await asyncio.sleep(0.01)
        key = REVOKED if number % 10 == 0 else TEAM
        close = "Connection: close\r\n"
        writer.write(request(engine, "/v1/completions", body, key=key, headers=close))
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ", 2)[1]), answer.count(b'"text"'), b"[DONE]" in answer

    async def everyone():
        opened = []
        return await asyncio.gather(*(one(number, opened) for number in range(count)))

    answers = asyncio.run(asyncio.wait_for(everyone(), 120))
    refused = [answer for answer in answers if answer == (401, 0, False)]
    whole = [answer for answer in answers if answer[0] == 200 and answer[1] and answer[2]]
    assert (len(refused), len(whole)) == (count // 10, count - count // 10)


def logged(engine, request_id):
    """The line of the request log that has this id."""
    lines = [line for line in engine.log().splitlines() if f'"request_id":"{request_id}"' in line]
    return [json.loads(line[line.index("{") :]) for line in lines]


def test_the_request_log_has_all_but_the_prompt(engine):
    before = engine.figures()
    asked = {"model": engine.model, "prompt": "a word of Xanadu", "max_tokens": 3}
    asked |= {"temperature": 0, "ignore_eos": True}
    identified = {"key": TEAM, "x_request_id": "of-the-client:1"}
    reply = engine.ask("POST", "/v1/completions", asked, **identified)
    assert (reply.status, reply.headers["X-Request-Id"]) == (200, "of-the-client:1")
    (line,) = until(lambda: logged(engine, "of-the-client:1"))
    usage = reply.json()["usage"]
    assert {name: line[name] for name in ("key", "model", "method", "route", "status")} == {
        "key": "team", "model": engine.model, "method": "POST", "route": "/v1/completions",
        "status": 200,
    }  # fmt: skip
    assert (line["tokens_in"], line["tokens_out"]) == (usage["prompt_tokens"], 3)
    assert 0 < line["first_byte_s"] <= line["duration_s"] < 60
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])

    refused = engine.ask("GET", "/version", key=TEAM, x_request_id="two words")
    made = refused.headers["X-Request-Id"]
    assert (refused.status, len(made)) == (404, 32)
    (line,) = until(lambda: logged(engine, made))
    assert (line["status"], line["route"], line["tokens_out"]) == (404, "-", 0)

    told = engine.log()
    for secret in ("Xanadu", TEAM, engine.key, engine.operator_token, REVOKED):
        assert secret not in told
    after, labels = engine.figures(), ('key="team"', 'route="/v1/completions"', 'status="200"')
    name = "deployctl_door_requests_total"
    assert total(after, name, *labels) == total(before, name, *labels) + 1


def test_bodies_beyond_the_limits_do_not_reach_the_engine(engine):
    fine = {"model": engine.model, "prompt": "Hello", "max_tokens": 1}
    deep = []
    for _ in range(80):
        deep = [deep]
    before = engine.figures()
    for more, parameter in (
        ({"n": 17}, "n"),
        ({"best_of": 1e6}, "best_of"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt": ["x"] * 257}, "prompt"),
        ({"n": "9999"}, "n"),
        ({"extra": deep}, None),
    ):
        reply = engine.ask("POST", "/v1/completions", {**fine, **more}, key=TEAM)
        assert (reply.status, reply.json()["error"]["param"]) == (400, parameter), more
    head = f"POST /v1/completions HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {TEAM}\r\n"
    head += "Content-Type: application/json\r\n"
    wire = Wire(engine.port)
    for rest, status in (
        (f"Content-Length: {64 << 20}\r\n\r\n", 413),
        (f"Transfer-Encoding: chunked\r\n\r\n100000\r\n{'x' * (1 << 20)}\r\n", 413),
        ("Content-Length: 10\r\n\r\n{", 408),  # the rest never comes
        ("Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", 415),
        ('Content-Length: 15\r\n\r\n{"n":1,"n":999}', 400),
        ("Content-Length: 3\r\n\r\nNaN", 400),
        ("Content-Length: 2\r\n\r\n[]", 400),
        ("Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 415),
    ):
        answer = wire.ask((head + rest).encode())
        wire.close()
        assert answer.status == status, (rest[:60], answer)
        assert json.loads(answer.body)["error"]["message"]
    after = engine.figures()
    name, labels = "deployctl_door_refusals_total", ('key="team"', 'reason="body"')
    assert total(after, name, *labels) - total(before, name, *labels) == 14
    for name in ("vllm:prompt_tokens_total", "http_requests_total"):
        assert total(after, name) == total(before, name)
    assert engine.complete(TEAM).status == 200
