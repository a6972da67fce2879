"""Requests as bytes for a real engine behind its door, and streams of its answers under way."""

import json

from tests.e2e.guarded import TEAM

LONG = 600  # tokens: seconds, even on idle cores
# vLLM's API server may hand the first chunk out when its core has made the last one, where the
# machine does other things too: what is to be seen in the middle of an answer is tried so often.
GOES = 5

COMPLETION = {"prompt": "Hello", "ignore_eos": True}
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "ignore_eos": True}


def request(engine, path, body, *, key=TEAM, headers=""):
    """The bytes of a POST."""
    asked = json.dumps({"model": engine.model, "temperature": 0, **body})
    head = f"POST {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {key}\r\n{headers}"
    length = f"Content-Type: application/json\r\nContent-Length: {len(asked)}\r\n\r\n"
    return f"{head}{length}{asked}".encode()


def streaming(wire, engine, path, body, **more):
    """The chunks of a streamed answer, over a connection that the caller closes."""
    status, headers = wire.begin(request(engine, path, {**body, "stream": True, **more}))
    assert (status, headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
    return wire.chunks()


def events(chunks):
    """The JSON documents of a stream, and what ended it."""
    lines = [line for line in b"".join(chunks).split(b"\n\n") if line]
    data = [line.rpartition(b"data: ")[2] for line in lines]
    return [json.loads(one) for one in data if one != b"[DONE]"], data[-1]
