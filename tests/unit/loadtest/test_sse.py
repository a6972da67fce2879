import json

import pytest

from deployctl_loadtest.foreign import TooMuchError
from deployctl_loadtest.sse import Stream


def lines(*parts):
    stream = Stream()
    for at, raw in parts:
        stream.line(raw, at)
    stream.close()
    return stream


def event(value):
    return b"data: " + json.dumps(value).encode() + b"\n"


def chat(content=None, role=None, finish=None, **more):
    delta = {
        key: value for key, value in (("role", role), ("content", content)) if value is not None
    }
    return event({"id": "r1", "choices": [{"delta": delta, "finish_reason": finish}], **more})


def test_a_role_only_chunk_is_no_token():
    stream = lines((1.0, chat("", role="assistant")), (1.0, b"\n"), (1.1, chat("Hi")), (1.1, b"\n"))
    assert stream.text_times == [1.1]
    assert stream.response_id == "r1"


def test_an_event_has_the_time_of_its_data_line_and_not_of_the_blank_one():
    assert lines((1.0, chat("a")), (9.0, b"\n")).text_times == [1.0]


def test_usage_comes_in_a_last_chunk_without_choices():
    stream = lines(
        (1.0, chat("a", finish="length", usage=None)),
        (1.0, b"\n"),
        (1.2, event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})),
        (1.2, b"\n"),
        (1.2, b"data: [DONE]\n"),
        (1.2, b"\n"),
    )
    assert (stream.input_tokens, stream.output_tokens) == (7, 3)
    assert stream.text_times == [1.0]
    assert stream.done
    assert stream.finish_reason == "length"


def test_completions_and_reasoning_and_tool_calls_are_text():
    stream = lines(
        (1.0, event({"choices": [{"text": "a"}]})),
        (1.0, b"\n"),
        (2.0, event({"choices": [{"delta": {"reasoning_content": "a"}}]})),
        (2.0, b"\n"),
        (3.0, event({"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]})),
        (3.0, b"\n"),
        (4.0, event({"choices": [{"delta": {"content": ""}}]})),
        (4.0, b"\n"),
    )
    assert stream.text_times == [1.0, 2.0, 3.0]


def test_an_error_object_in_the_stream_is_an_error():
    stream = lines(
        (1.0, chat("a")), (1.0, b"\n"), (2.0, event({"error": {"message": "died\nhard"}}))
    )
    assert stream.error == "died hard"


def test_the_first_error_is_the_one_that_is_told():
    stream = lines((1.0, event({"error": "first"})), (1.0, b"\n"), (2.0, b"data: {x\n"))
    assert stream.error == "first"


def test_nonsense_is_an_error_and_quoted():
    assert lines((1.0, b"data: {not json\n")).error == "not JSON: {not json"
    assert lines((1.0, b"data: [1]\n")).error == "an event that is not an object"
    assert lines((1.0, b"data: \xff\xfe\n")).error is not None


def test_carriage_returns_comments_and_other_fields():
    stream = lines(
        (1.0, b": ping\r\n"),
        (1.0, b"event: message\r\n"),
        (1.0, b"retry: 10\r\n"),
        (1.5, chat("a").rstrip(b"\n") + b"\r\n"),
        (1.5, b"\r\n"),
    )
    assert stream.text_times == [1.5]
    assert stream.events == 1


def test_data_without_a_space_and_over_several_lines():
    stream = lines(
        (1.0, b'data:{"id":"x",\n'), (1.1, b'data:"choices":[{"text":"a"}]}\n'), (1.2, b"\n")
    )
    assert stream.error is None
    assert stream.text_times == [1.0]


def test_events_without_a_blank_line_between_them():
    stream = lines((1.0, chat("a")), (2.0, chat("b")), (3.0, b"data: [DONE]\n"))
    assert stream.text_times == [1.0, 2.0]
    assert stream.done


def test_a_stream_may_end_without_done_but_not_without_a_reason():
    assert lines((1.0, chat("a", finish="stop")), (1.0, b"\n")).finished
    assert not lines((1.0, chat("a")), (1.0, b"\n")).finished


def test_absurd_shapes_are_survived():
    for value in ({}, {"choices": None}, {"choices": [None]}, {"choices": [{"delta": 3}]}):
        assert lines((1.0, event(value))).text_times == []
    assert lines((1.0, event({"usage": {"completion_tokens": True}}))).output_tokens is None


def test_a_chunk_may_have_a_long_prompts_tokens():
    said = event({"choices": [{"text": "a", "prompt_token_ids": [128_000] * 300_000}]})
    stream = Stream()
    stream.block(said + b"\n", 1.0)
    assert len(said) > 2 << 20
    assert (stream.text_times, stream.error) == ([1.0], None)


def test_a_long_answer_may_have_all_its_logprobs():
    stream = Stream()
    said = event({"choices": [{"text": "a", "logprobs": "x" * (1 << 20)}]}) + b"\n"
    for second in range(300):
        stream.block(said, float(second))
    assert len(stream.text_times) == 300


def test_a_stream_that_says_nothing_has_an_end():
    stream = Stream()
    stream.block(chat("a") + b"\n", 1.0)
    comments = (b": %b\n" % (b"x" * (1 << 19))) * 200
    stream.block(comments, 2.0)
    stream.block(comments, 2.0)
    with pytest.raises(TooMuchError, match="longer than any answer"):
        stream.block(comments, 2.0)


def test_an_event_of_several_lines_is_not_read_anew_for_ever():
    stream = Stream()
    stream.line(b"data: [1,\n", 1.0)
    with pytest.raises(TooMuchError, match="an event of the stream"):
        stream.line(b"data: %b\n" % (b"1" * (2 << 20)), 1.0)
