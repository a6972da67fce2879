"""Whether smoke sees that tool calls and reasoning come back apart from the text."""

import json

import httpx
import pytest

from deployctl.endpoint import Chats
from deployctl.operations.measure import chats

CALL = {"type": "function", "function": {"name": "get_weather", "arguments": '{"city": "Paris"}'}}
PARSED = {"content": None, "tool_calls": [CALL]}
AS_TEXT = {"content": '<tool_call>{"name": "get_weather", "arguments": {}}</tool_call>'}
WORDS = {"content": "I cannot know the weather."}


def tried(answers, tool_calls="parsed", reasoning=None):
    """The checks against a server; answers are by tool_choice: a message, or a (status, error)."""

    def handler(request):
        body = json.loads(request.content)
        choice = body.get("tool_choice", "reasoning")
        found = answers["named" if isinstance(choice, dict) else choice]
        if isinstance(found, tuple):
            return httpx.Response(found[0], json={"error": {"message": found[1]}})
        reason = found.pop("finish_reason", "stop") if "finish_reason" in found else "stop"
        return httpx.Response(200, json={"choices": [{"message": found, "finish_reason": reason}]})

    client = httpx.Client(base_url="http://h:1", transport=httpx.MockTransport(handler))
    found = chats.checks(client, "m", Chats(tool_calls, reasoning), "Capital of France?")
    return {check.name: check for check in found}


def test_parsed_calls_pass():
    found = tried({"named": PARSED, "auto": PARSED})
    assert [check.ok for check in found.values()] == [True, True]
    assert found["named_tool"].detail == "get_weather(city=Paris)"


def test_a_call_as_text_is_a_finding():
    found = tried({"named": AS_TEXT, "auto": AS_TEXT})
    assert not found["named_tool"].ok
    assert "the model made no call" in found["named_tool"].detail
    assert not found["auto_tool"].ok
    assert found["auto_tool"].detail.startswith("the call came back as text: <tool_call>")
    assert "tool-call-parser=NAME" in found["auto_tool"].hint


@pytest.mark.parametrize(
    "message",
    [
        WORDS,
        {"content": "get_weather"},
        {"content": ""},
        {"tool_calls": [{"function": {"name": "get_weather", "arguments": "{broken"}}]},
        {"tool_calls": [{"function": {"name": "other", "arguments": "{}"}}]},
    ],
)
def test_a_model_that_makes_no_call_of_its_own_decides_nothing(message):
    check = tried({"named": PARSED, "auto": message})["auto_tool"]
    assert check.ok
    assert check.detail.startswith("not decided: ")


def test_a_named_call_must_come_back():
    check = tried({"named": WORDS, "auto": WORDS})["named_tool"]
    assert not check.ok
    cut = {**WORDS, "finish_reason": "length"}
    check = tried({"named": cut, "auto": WORDS})["named_tool"]
    assert (check.ok, check.detail) == (True, "not decided: 128 tokens are full")


def test_an_engine_that_refuses_is_a_finding_and_a_short_context_is_none():
    refused = (400, '"auto" tool choice requires --enable-auto-tool-choice')
    found = tried({"named": refused, "auto": refused})
    assert not found["auto_tool"].ok
    assert "HTTP 400" in found["auto_tool"].detail
    short = (400, "This model's maximum context length is 256 tokens.")
    found = tried({"named": short, "auto": short})
    assert all(check.ok and "not decided" in check.detail for check in found.values())


def test_a_template_that_knows_tools_without_a_parser_is_a_finding():
    (check,) = tried({}, tool_calls="text").values()
    assert not check.ok
    assert "no parser is set" in check.detail
    assert "say none" in check.hint


@pytest.mark.parametrize("tool_calls", ["off", "none"])
def test_where_no_tools_are_wanted_or_known_nothing_is_asked(tool_calls):
    assert tried({}, tool_calls=tool_calls) == {}


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
    assert [check.ok for check in found] == [False, False, False]
    assert {check.detail for check in found} == {"the answer has no message"}
