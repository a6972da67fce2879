"""Whether smoke sees that tool calls and reasoning come back apart from the text."""

import json

import httpx
import pytest

from deployctl.endpoint import Chats
from deployctl.operations.measure import chats

CALL = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
PARSED = {"content": None, "tool_calls": [CALL], "finish_reason": "tool_calls"}
AS_TEXT = {"content": '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>'}
WORDS = {"content": "I cannot know the weather."}
REFUSED = (400, '"auto" tool choice requires --enable-auto-tool-choice')


def piece(index=0, call_id=None, name=None, arguments=None):
    function = {"name": name, "arguments": arguments}
    return {"tool_calls": [{"index": index, "id": call_id, "function": function}]}


# As vLLM streams it: the role, the name, the arguments in pieces, the end.
STREAM = [
    {"role": "assistant", "content": ""},
    piece(call_id="c1", name="get_weather"),
    piece(arguments='{"ci'),
    piece(arguments='ty":"Pa'),
    piece(arguments='ris"}'),
]


def sent(deltas, finish="tool_calls", end="data: [DONE]\n\n"):
    """A stream of these deltas."""
    chunks = [{"choices": [{"delta": delta}]} for delta in deltas]
    chunks.append({"choices": [{"delta": {}, "finish_reason": finish}]})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + end


def tried(answers, tool_calls="parsed", reasoning=None, tools="auto"):
    """The checks against a server; answers are by tool_choice: a message, or a (status, error).

    An answer may be several, given in turn.
    """
    turns = {name: iter(found) for name, found in answers.items() if isinstance(found, list)}

    def handler(request):
        body = json.loads(request.content)
        choice = body.get("tool_choice", "reasoning")
        name = "named" if isinstance(choice, dict) else "stream" if body.get("stream") else choice
        found = next(turns[name]) if name in turns else answers[name]
        if isinstance(found, str):
            return httpx.Response(200, text=found)
        if isinstance(found, tuple):
            return httpx.Response(found[0], json={"error": {"message": found[1]}})
        choice = {"message": found, "finish_reason": found.get("finish_reason", "stop")}
        usage = {"completion_tokens": found.get("tokens")}
        return httpx.Response(200, json={"choices": [choice], "usage": usage})

    client = httpx.Client(base_url="http://h:1", transport=httpx.MockTransport(handler))
    plan = Chats(tool_calls, reasoning) if tool_calls else None
    found = chats.checks(client, "m", plan, "Capital of France?", tools)
    return {check.name: check for check in found}


def streamed(answer, whole=PARSED):
    return tried({"auto": whole, "stream": answer, "named": PARSED})["streamed_tool"]


def test_parsed_calls_pass():
    found = tried({"named": PARSED, "auto": PARSED, "stream": sent(STREAM)})
    assert {name: check.ok for name, check in found.items()} == {
        "auto_tool": True,
        "streamed_tool": True,
        "named_tool": True,
    }
    assert found["auto_tool"].detail == found["named_tool"].detail == "get_weather(city=Paris)"


def test_a_call_as_text_is_a_finding():
    found = tried({"named": AS_TEXT, "auto": AS_TEXT})
    assert not found["named_tool"].ok
    assert "the model made no call" in found["named_tool"].detail
    assert not found["auto_tool"].ok
    assert found["auto_tool"].detail.startswith("the call came back as text: <tool_call>")
    assert "tool-call-parser=NAME" in found["auto_tool"].hint
    assert "streamed_tool" not in found  # there is nothing to compare


# What vLLM's parsers make of a call in a syntax that they half know: qwen3_coder and glm45 take it
# and give nothing, poolside_v1 takes all of it for the name; qwen3 for reasoning.
@pytest.mark.parametrize(
    ("message", "detail"),
    [
        ({"content": None, "tokens": 18}, "the model wrote 18 tokens, and nothing came back"),
        (
            {"tool_calls": [{"function": {"name": '{"name": "get_weather"', "arguments": "{}"}}]},
            "the call came back garbled",
        ),
        ({"reasoning": '{"name": "get_weather"}'}, "the call came back as reasoning"),
    ],
)
def test_a_call_that_the_parser_loses_is_a_finding(message, detail):
    check = tried({"named": PARSED, "auto": message})["auto_tool"]
    assert not check.ok
    assert check.detail.startswith(detail)
    assert "another one with --engine-arg" in check.hint


@pytest.mark.parametrize(
    "message",
    [
        WORDS,
        {"content": "get_weather"},
        {"content": "", "tokens": 1},
        {"content": "", "reasoning": "get_weather() or", "finish_reason": "length"},
        {"tool_calls": [{"function": {"name": "get_weather", "arguments": "{broken"}}]},
        {"tool_calls": [{"function": {"name": "other", "arguments": "{}"}}]},
    ],
)
def test_a_model_that_makes_no_call_of_its_own_decides_nothing(message):
    check = tried({"named": PARSED, "auto": message})["auto_tool"]
    assert check.ok
    assert check.detail.startswith("not decided: ")
    due = tried({"named": PARSED, "auto": message}, tools="yes")["auto_tool"]
    assert not due.ok
    assert due.detail == check.detail.removeprefix("not decided: ")


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (
            sent([*STREAM[:2], piece(name="get_weather", arguments="{}")]),
            "the name comes more than once",
        ),
        (sent([piece(call_id="c1", name="get_weather"), piece(call_id="c2")]), "the id changes"),
        (sent([piece(None, "c1", "get_weather")]), "a piece of a call has no index"),
        (sent([piece(name="get_weather", arguments='{"city": "Paris"}')]), "a call has no id"),
        (sent(STREAM[:4]), 'get_weather({"city":"Pa), not get_weather({"city": "Paris"})'),
        (sent([*STREAM, STREAM[-1]]), 'get_weather({"city":"Paris"}ris"}), not'),
        (sent([*STREAM, piece(1, "c2", "get_weather", "{}")]), "get_weather({}), not"),
        (sent([{"content": AS_TEXT["content"]}], "stop"), "the call came back as text"),
        (sent([{"content": AS_TEXT["content"]}, *STREAM]), "the call comes as text too"),
        (sent(STREAM, "stop"), "finish_reason is stop, not tool_calls"),
        (sent([], "stop"), "no call, not get_weather"),
        (sent(STREAM, None), "the stream ends without a finish_reason"),
        (sent(STREAM, end=""), "the stream ends without [DONE]"),
        ('data: {"error": {"message": "died"}}\n\n', "an error within the stream"),
        ("data: {broken\n\n", "a chunk that is none: {broken"),
        ('data: {"choices": [7]}\n\n', "a chunk that is none"),
        ((500, "the parser raised"), "HTTP 500: the parser raised"),
    ],
)
def test_a_stream_that_differs_is_a_finding(answer, detail):
    check = streamed(answer)
    assert not check.ok
    assert detail in check.detail
    assert check.hint


def test_pieces_mean_what_the_whole_means_however_they_are_cut():
    keep_alive = ": still here\n\n" + sent(STREAM)
    assert streamed(keep_alive).ok
    last_has_no_blank = sent([*STREAM[:1], piece(0, "c1", "get_weather", '{"city":"Paris"}')])
    assert streamed(last_has_no_blank).ok


def test_an_engine_whose_answers_differ_by_themselves_decides_nothing():
    rome = {"function": {"name": "get_weather", "arguments": '{"city": "Rome"}'}}
    other = {**PARSED, "tool_calls": [rome]}
    stream = sent([piece(0, "c1", "get_weather", '{"city": "London"}')])
    found = tried({"auto": [PARSED, other], "stream": stream, "named": PARSED})
    assert found["streamed_tool"].ok
    assert found["streamed_tool"].detail.startswith("not decided: ")
    assert not streamed(stream).ok


def test_a_named_call_must_come_back():
    check = tried({"named": WORDS, "auto": WORDS})["named_tool"]
    assert not check.ok
    cut = {**WORDS, "finish_reason": "length"}
    check = tried({"named": cut, "auto": WORDS})["named_tool"]
    assert (check.ok, check.detail) == (True, "not decided: 128 tokens are full")


def test_an_engine_that_refuses_is_a_finding_and_a_short_context_is_none():
    (check,) = tried({"auto": REFUSED}).values()
    assert not check.ok
    assert "HTTP 400" in check.detail
    short = (400, "This model's maximum context length is 256 tokens.")
    (check,) = tried({"auto": short}).values()
    assert (check.ok, check.detail.split(":")[0]) == (True, "not decided")
    found = tried({"auto": WORDS, "named": short})
    assert found["named_tool"].ok


def test_a_template_that_knows_tools_without_a_parser_is_a_finding():
    (check,) = tried({"auto": REFUSED}, tool_calls="text").values()
    assert not check.ok
    assert "--enable-auto-tool-choice" in check.detail
    assert "say none" in check.hint


@pytest.mark.parametrize("tool_calls", ["off", "none"])
def test_where_no_tools_are_wanted_or_known_nothing_is_asked_unless_told_to(tool_calls):
    assert tried({}, tool_calls=tool_calls) == {}
    (check,) = tried({"auto": REFUSED}, tool_calls=tool_calls, tools="yes").values()
    assert not check.ok


def test_tools_no_asks_for_none():
    assert tried({}, tools="no") == {}


def test_of_an_address_a_call_is_tried_and_a_refusal_is_no_failure():
    found = tried({"auto": PARSED, "stream": sent(STREAM)}, tool_calls=None)
    assert [check.ok for check in found.values()] == [True, True]
    (check,) = tried({"auto": REFUSED}, tool_calls=None).values()
    assert check.ok
    assert check.detail.startswith("not decided: no tools are taken: HTTP 400")
    (check,) = tried({"auto": AS_TEXT}, tool_calls=None).values()
    assert not check.ok
    (check,) = tried({"auto": (500, "it died")}, tool_calls=None).values()
    assert not check.ok
    (check,) = tried({"auto": REFUSED}, tool_calls=None, tools="yes").values()
    assert not check.ok


@pytest.mark.parametrize(
    ("message", "ok", "detail"),
    [
        ({"content": "Paris.", "reasoning": "France, so"}, True, "10 characters"),
        ({"content": "Paris.", "reasoning_content": "France, so"}, True, "10 characters"),
        ({"content": "Paris."}, True, "not decided: the model did not reason"),
        ({"content": "", "reasoning": "Hm", "finish_reason": "length"}, True, "2 characters"),
        ({"content": None, "reasoning": "Paris."}, False, "whole answer came back as reasoning"),
        ({"content": "<think>France</think>Paris."}, False, "the answer holds <think>"),
    ],
)
def test_reasoning(message, ok, detail):
    (check,) = tried({"reasoning": message}, "none", "qwen3").values()
    assert check.ok is ok
    assert detail in check.detail
    assert (check.hint is None) is ok


@pytest.mark.parametrize("document", [None, {}, {"choices": []}, {"choices": [{"text": "x"}]}])
def test_an_answer_that_is_none(document):
    client = httpx.Client(
        base_url="http://h:1",
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=document)),
    )
    found = chats.checks(client, "m", Chats("parsed", "qwen3"), "?")
    assert [check.ok for check in found] == [False, False]
    assert {check.detail for check in found} == {"the answer has no message"}
