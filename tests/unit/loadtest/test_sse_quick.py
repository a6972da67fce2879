"""Chunks that differ in their text alone are not parsed again; what they say must be the same."""

import json

import pytest

from deployctl_loadtest import sse
from deployctl_loadtest.sse import Stream


def chunk(text, finish=None, **more):
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "r1", "model": "m", "choices": [choice], **more}


def raw(*documents, separators=None, ascii_only=True):
    return b"".join(
        b"data: " + json.dumps(d, separators=separators, ensure_ascii=ascii_only).encode() + b"\n\n"
        for d in documents
    )


def taken(*blocks, reply=None):
    stream = Stream(reply)
    for number, block in enumerate(blocks):
        stream.block(block, float(number))
    stream.close()
    return stream


@pytest.fixture
def parsed(monkeypatch):
    """Counts the documents that are parsed."""
    seen = []
    document = sse.document
    monkeypatch.setattr(sse, "document", lambda data: seen.append(data) or document(data))
    return seen


@pytest.mark.parametrize("separators", [None, (",", ":")])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_stream_of_like_chunks_is_parsed_once(parsed, separators, ascii_only):
    words = ["a", " b", "日本", "x y", "1", " the"]
    reply = []
    blocks = [raw(chunk(w), separators=separators, ascii_only=ascii_only) for w in words]
    stream = taken(*blocks, reply=reply)
    assert "".join(reply) == "".join(words)
    assert stream.text_times == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert stream.events == len(words)
    # The first, the check of what was learned, and what has escapes.
    assert len(parsed) == (3 if ascii_only else 2)


@pytest.mark.parametrize("odd", ['say "x"', "a\\b", "line\nbreak", "tab\t", "é"])
def test_escapes_are_parsed(odd):
    reply = []
    taken(raw(chunk("a")), raw(chunk(odd)), raw(chunk("b")), reply=reply)
    assert "".join(reply) == f"a{odd}b"


def test_a_chunk_without_text_is_none():
    stream = taken(raw(chunk("a")), raw(chunk("")), raw(chunk("b")))
    assert stream.text_times == [0.0, 2.0]


def test_what_ends_a_stream_is_seen():
    usage = {"id": "r1", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    stream = taken(
        raw(chunk("a"), chunk("b")), raw(chunk("c", "length")), raw(usage) + b"data: [DONE]\n\n"
    )
    assert stream.finish_reason == "length"
    assert (stream.input_tokens, stream.output_tokens) == (3, 4)
    assert stream.done
    assert stream.text_times == [0.0, 0.0, 1.0]


def test_usage_in_every_chunk_is_kept():
    def counted(text, n):
        return chunk(text, usage={"prompt_tokens": 3, "completion_tokens": n})

    stream = taken(*(raw(counted("a", n)) for n in (1, 2, 3)))
    assert stream.output_tokens == 3
    assert len(stream.text_times) == 3


def test_a_text_that_stands_elsewhere_too_is_not_confused():
    # The text is the model's name as well: what is learned must be of the content.
    stream = taken(raw(chunk("m")), raw(chunk("m")), raw(chunk("other")), raw(chunk("")))
    assert stream.text_times == [0.0, 1.0, 2.0]


def test_changing_fields_are_parsed_and_soon_no_longer_learned(parsed):
    count = 20
    stream = taken(*(raw(chunk("a", created=n)) for n in range(count)))
    assert len(stream.text_times) == count
    assert len(parsed) == count + sse._TRIES


def test_an_error_amid_like_chunks_is_seen():
    stream = taken(raw(chunk("a"), chunk("b")), raw({"error": {"message": "out"}}))
    assert stream.error == "out"


def test_an_event_may_end_in_a_later_read():
    whole = raw(chunk("a"))
    stream = Stream()
    stream.block(whole[:-1], 1.0)  # without its blank line
    assert stream.text_times == []
    stream.block(b"\n", 2.0)
    assert stream.text_times == [1.0]


def test_lines_end_in_cr_lf_too():
    block = (raw(chunk("a"), chunk("b")) + b"data: [DONE]\n\n").replace(b"\n", b"\r\n")
    stream = taken(block)
    assert (len(stream.text_times), stream.done) == (2, True)
