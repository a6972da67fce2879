"""Tokens are counted from what the engine tells, and the client gets what it asked for."""

import asyncio
import contextlib
import json
from types import SimpleNamespace

import pytest

from deployctl_door import bodies, tokens
from deployctl_door.account import Account
from deployctl_door.door import Door

from .conftest import asked

CHAT = "/v1/chat/completions"
KEY = "the-default-key"
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
    engine.kind = b"text/event-stream; charset=utf-8"
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


def counted(kind, *parts, hide=False):
    counter = tokens.Counter(hide=hide)
    assert counter.begins(kind)
    told = []
    for number, part in enumerate(parts, 1):
        passed = counter.passing(part, last=number == len(parts))
        told.append(part if passed is None else passed)
    counter.end(len(parts))
    return counter.input, counter.output, b"".join(told)


SSE, WHOLE = b"text/event-stream", b"application/json"


@pytest.mark.parametrize(
    "answer",
    [
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4}}',
        b'{"usage":{"input_tokens":3,"output_tokens":4}}',
        b'{"x":"%s","usage": {"prompt_tokens":3,"completion_tokens":4,"d":{}}}'
        % (b"y" * tokens.LARGEST),
        b'{"usage":{"prompt_tokens":3,"completion_tokens":4},"x":[%s1]}' % (b"1," * tokens.LARGEST),
    ],
)
def test_usage_of_answers_that_are_no_stream(answer):
    assert counted(WHOLE, answer) == (3, 4, answer)
    assert counted(WHOLE, answer[:9], answer[9:]) == (3, 4, answer)


def test_usage_of_streams_of_other_apis():
    events = (
        b"event: message_start\n"
        b'data: {"message":{"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
        b'event: message_delta\ndata: {"usage":{"output_tokens":4}}\n\n'
    )
    assert counted(SSE, events) == (3, 4, events)


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_events_may_end_as_http_lines_do(size):
    whole = b"".join(STREAM).replace(b"\n", b"\r\n")
    parts = [whole[at : at + size] for at in range(0, len(whole), size)]
    told = whole.replace(STREAM[2].replace(b"\n", b"\r\n"), b"")
    assert counted(SSE, *parts, hide=True) == (5, 2, told)


def test_what_need_not_be_held_back_is_not():
    """Nothing is, where the client gets all; an event that ends is not, where it gets most."""
    counter = tokens.Counter(hide=False)
    assert counter.begins(SSE)
    assert counter.passing(b"data: a", last=False) is None
    counter = tokens.Counter(hide=True)
    assert counter.begins(SSE)
    assert counter.passing(b"data: a\n\ndata: b", last=False) == b"data: a\n\n"
    assert counter.passing(b"\n\n", last=False) == b"data: b\n\n"
    endless = b"x" * (tokens.LARGEST + 1)
    assert counter.passing(endless, last=False) == endless
    assert counter.passing(b"y", last=True) == b"y"


def test_of_a_stream_that_breaks_off_the_chunks_are_counted():
    """So that a client does not get past a limit by hanging up before the end."""
    assert counted(SSE, *STREAM[:2])[:2] == (0, 2)


def test_an_error_instead_of_a_stream_goes_through(ask, engine):
    engine.parts, engine.status = [b'{"error":', b'"x"}'], 400
    answer = ask("POST", CHAT, key=KEY, body={"stream": True})
    assert (answer.status, answer.body) == (400, b'{"error":"x"}')


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, {"include_usage": True}),
        ({"include_usage": False}, {"include_usage": True}),
        ({"x": 1}, {"x": 1, "include_usage": True}),
        (
            {"continuous_usage_stats": True},
            {"continuous_usage_stats": False, "include_usage": True},
        ),
    ],
)
def test_the_wish_for_usage_leaves_all_else_as_it_was(options, sent):
    document = {"model": "\ud800", "stream": True, "stream_options": options, "n": 1.5}
    words = tokens.asking(document, CHAT)
    body = bodies.with_words(json.dumps(document).encode(), document, words)
    assert json.loads(body) == {**document, "stream_options": sent}
    document.pop("stream_options")
    plain = b" \n" + json.dumps(document, indent=1).encode()
    body = bodies.with_words(plain, document, tokens.asking(document, CHAT))
    assert json.loads(body) == {**document, "stream_options": {"include_usage": True}}
    assert body.endswith(plain[4:])


@pytest.mark.parametrize("options", [{"include_usage": True}, [], 1])
def test_nothing_is_wished_for_where_the_client_did_or_the_engine_refuses(options):
    document = {"stream": True, "stream_options": options}
    assert tokens.asking(document, CHAT) == {}
    assert tokens.asking({"stream": True}, "/v1/responses") == {}
    assert tokens.asking({"stream": False}, CHAT) == {}


class Telling:
    """An engine that leaves usage beside its answers, as vLLM does; `told` is (in, out) or None."""

    def __init__(self, told):
        self.told = told
        self.parts = STREAM
        self.kind = b"text/event-stream"
        self.asked = []

    async def __call__(self, scope, receive, send):
        self.asked.append(json.loads((await receive())["body"]))
        metadata = scope["state"]["request_metadata"] = SimpleNamespace(final_usage_info=None)
        headers = [(b"content-type", self.kind)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in self.parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        if self.told is not None:
            names = ("prompt_tokens", "completion_tokens")
            metadata.final_usage_info = SimpleNamespace(**dict(zip(names, self.told, strict=True)))
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def telling(build):
    """That engine behind a door, what the door wrote down, and a request to it."""
    engine, lines = Telling((5, 2)), []
    door = Door(engine, build()._configuration, Account(log=True, write=lines.append))

    def ask(stream=True):
        answer = asyncio.run(asked(door, "POST", CHAT, KEY, {"stream": stream}))
        line = json.loads(lines[-1])
        return answer.body, (line["tokens_in"], line["tokens_out"])

    return SimpleNamespace(engine=engine, door=door, lines=lines, ask=ask)


def test_an_engine_that_tells_usage_beside_its_answers_is_not_asked_for_it_again(telling):
    shown = b"".join([*STREAM[:2], STREAM[3]])
    assert telling.ask() == (shown, (5, 2))
    assert telling.engine.asked[-1]["stream_options"] == {"include_usage": True}
    telling.engine.parts = [*STREAM[:2], STREAM[3]]
    telling.engine.told = (7, 3)
    assert telling.ask() == (shown, (7, 3))
    assert telling.engine.asked[-1] == {"stream": True}
    assert "first_byte_s" in telling.lines[-1]
    assert json.loads(telling.lines[-1])["first_byte_s"] is not None


def test_of_an_answer_that_told_nothing_the_parts_are_counted_and_the_next_is_asked(telling):
    telling.ask()
    telling.engine.told = None
    telling.engine.parts = STREAM[:2]
    assert telling.ask()[1] == (0, 3)  # its last part is empty
    assert telling.engine.asked[-1] == {"stream": True}
    telling.engine.parts = STREAM
    assert telling.ask()[1] == (5, 2)
    assert telling.engine.asked[-1]["stream_options"] == {"include_usage": True}


def test_a_client_that_hangs_up_has_had_the_parts_that_were_sent(telling):
    """Though the door looked at none of them."""
    telling.ask()
    sent = []

    async def send(message):
        sent.append(message)
        if len(sent) == 4:  # the head, and three parts
            raise ConnectionResetError

    async def receive():
        return {"type": "http.request", "body": b'{"stream": true}', "more_body": False}

    headers = [
        (b"authorization", f"Bearer {KEY}".encode()),
        (b"content-type", b"application/json"),
    ]
    scope = {"type": "http", "method": "POST", "path": CHAT, "headers": headers}
    with contextlib.suppress(ConnectionResetError):
        asyncio.run(telling.door(scope, receive, send))
    line = json.loads(telling.lines[-1])
    assert (line["tokens_in"], line["tokens_out"]) == (0, 3)
    assert b'key="default",direction="output"} 5' in telling.door._account.metrics()


def test_streams_tell_nothing_of_answers_that_are_none(telling):
    """What is told beside one kind need not be told beside the other."""
    telling.ask()
    engine = telling.engine
    engine.told, engine.kind = None, b"application/json"
    engine.parts = [b'{"usage":{"prompt_tokens":3,', b'"completion_tokens":4}}']
    assert telling.ask(stream=False)[1] == (3, 4)
    engine.told = (8, 9)
    assert telling.ask(stream=False)[1] == (8, 9)
    engine.parts = [b"not looked at any more"]
    assert telling.ask(stream=False)[1] == (8, 9)


@pytest.mark.parametrize("odd", [("5", 2), (5, "2"), (None, 2), ([], {})])
def test_usage_that_is_no_numbers_is_none(telling, odd):
    telling.engine.told = odd
    assert telling.ask()[1] == (5, 2)  # as the stream itself says
    telling.engine.told = (5, None)  # what makes no tokens
    assert telling.ask()[1] == (5, 0)


def test_an_error_of_an_engine_that_tells_counts_nothing(telling):
    telling.ask()
    telling.engine.kind, telling.engine.told = b"application/json", None
    telling.engine.parts = [b'{"error":"x"}']
    assert telling.ask()[1] == (0, 0)


def test_what_an_engine_leaves_beside_a_request_is_of_that_request_alone(telling):
    """Though a server may give all of them one state."""
    state = {}
    for _ in range(2):
        body = {"stream": True}
        asyncio.run(asked(telling.door, "POST", CHAT, KEY, body, state=state))
    assert state == {}
