"""What a server that lies can do to a load test: a failed request, and no more."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from deployctl_loadtest.foreign import MAX_LINE, MAX_REFUSAL, printable

from .liar import BLOCK, REFUSED, STREAM, Liar, answer, drip, flood

ROOM_MIB = 400  # above what the client takes before it asks
TEXT = b'data: {"id": "i", "choices": [{"text": "x"}]}\n\n'
COMMENT = b": %b\n" % (b"x" * 60_000)
ODD = {
    "id": "\ud800" + "i" * 5000,
    "choices": [{"text": "x", "finish_reason": "\x1b[2J" + "r" * 5000}],
    "usage": {"prompt_tokens": -1, "completion_tokens": 10**400},
}
LIES = {  # what a server does: how the request is counted, and what is said of it
    "/drip": (drip(STREAM, b": \n"), "timeout", "no end after"),
    "/head": (drip(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"), "timeout", "no end after"),
    "/heads": (flood(b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 1000), "truncated", "headers of more"),
    "/interim": (
        flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 100), "truncated", "headers of more",
    ),
    "/line": (flood(STREAM, b"x" * BLOCK), "stream_error", "a line of the stream is longer"),
    "/late-line": (flood(STREAM + TEXT, b"x" * BLOCK), "stream_error", "a line of the stream"),
    "/event": (flood(STREAM, b"data: x\n" * 1000), "stream_error", "an event of the stream"),
    "/comments": (flood(STREAM, COMMENT), "stream_error", "longer than any answer"),
    "/chunks": (flood(STREAM, TEXT * 1000), "stream_error", "longer than any answer"),
    "/refusal": (flood(REFUSED, b"\x1b[2Jno " * 8192), "http_error", "no no no"),
    "/refused-for-ever": (drip(REFUSED, b"no "), "timeout", "no end after"),
    "/deep": (answer(b"data: " + b"[" * 500_000 + b"\n\n"), "stream_error", "not JSON"),
    "/nan": (answer(b'data: {"choices": NaN}\n\n'), "stream_error", "not JSON"),
    "/error": (answer({"error": {"message": "\ud800 a\x1b[2Jb"}}, b"503 No"), "http_error", "? ab"),
    "/odd": (answer(b"data: " + json.dumps(ODD).encode() + b"\n\n"), "ok", ""),
    "/no-json": (answer(b"\xff" * 999, b"500 No"), "http_error", "\ufffd"),
}  # fmt: skip


@pytest.fixture(scope="module")
def told():
    """What the client made of each lie, and the most that was sent for it."""

    def lie(send, method, path):
        LIES[path][0](send)

    found = {}
    with Liar(lie) as liar:
        words = [sys.executable, Path(__file__).with_name("asking.py"), liar.url, str(ROOM_MIB)]
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as child:
            for path in LIES:
                liar.sent = 0
                seconds = 0.5 if LIES[path][1] == "timeout" else 60
                child.stdin.write(f"{path} {seconds}\n")
                child.stdin.flush()
                line = child.stdout.readline()
                assert line, f"the client died of {path}"
                found[path] = json.loads(line), liar.sent
            child.stdin.close()
    return found


@pytest.mark.parametrize("path", LIES)
def test_it_is_a_failed_request_and_its_reason_is_said(told, path):
    _, outcome, says = LIES[path]
    sample, _ = told[path]
    assert sample["outcome"] == outcome, sample
    assert says in (sample["error"] or "")
    for text in (sample["error"], sample["response_id"], sample["finish_reason"]):
        assert text is None or (len(text) <= 200 and printable(text) == text)


def test_of_a_refusal_and_of_a_line_no_more_is_read_than_may_be_used(told):
    sockets = 12 << 20  # what they hold
    assert told["/refusal"][1] < MAX_REFUSAL + sockets
    assert told["/line"][1] < MAX_LINE + sockets


def test_what_cannot_be_true_is_not_kept(told):
    sample, _ = told["/odd"]
    assert sample["response_id"].startswith("?iii")
    assert (sample["input_tokens"], sample["output_tokens"]) == (None, None)
    assert sample["finish_reason"].startswith("rrr")
