"""Whether an engine hands out tool calls and reasoning apart from the text, as its plan says.

A small model may make no call, or not reason, although all is well: then nothing is decided, and
that is no failure. What is one: a call or reasoning that comes back as text.
"""

import json
from typing import Any, NamedTuple

import httpx

from deployctl.endpoint import Chats
from deployctl.operations.measure.asking import SmokeCheck, ask

MAX_TOKENS = 1024  # a model that reasons does so before it calls
NAMED_TOKENS = 128  # of a call that the engine guides: a small model may fill whatever it gets
FUNCTION = "get_weather"
_TOOL = {
    "type": "function",
    "function": {
        "name": FUNCTION,
        "description": "Get the current weather in a city.",
        "parameters": {
            "type": "object",
            # A short list: a guided answer then has an end.
            "properties": {"city": {"type": "string", "enum": ["Paris", "London", "Rome"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
_WISH = "What is the weather in Paris now? Use the tool."
_NAMED = {"type": "function", "function": {"name": FUNCTION}}
_TAGS = ("<think>", "</think>", "<seed:think>", "[THINK]", "<|channel>thought")
_LOGS = "deployctl logs shows what the engine says"
_OTHER_PARSER = (
    "the parser does not read what this model writes: another one with "
    "--engine-arg tool-call-parser=NAME, or none"
)


class _Message(NamedTuple):
    """The parts of an answer."""

    content: str
    reasoning: str
    calls: list[Any]
    cut: bool  # it ended because of its length


def checks(client: httpx.Client, model: str, chats: Chats, question: str) -> list[SmokeCheck]:
    """What the plan promises of chats, each tried by a request or two; nothing where nothing is."""
    found = []
    if chats.tool_calls == "text":
        found.append(_no_parser())
    elif chats.tool_calls == "parsed":
        most = MAX_TOKENS if chats.reasoning_parser else NAMED_TOKENS
        found += [_named(client, model, most), _of_its_own(client, model)]
    if chats.reasoning_parser:
        found.append(_reasoning(client, model, question))
    return found


def _no_parser() -> SmokeCheck:
    return SmokeCheck(
        "tools",
        False,
        "tool calls are parsed",
        "the chat template knows tools, but no parser is set: calls come back as text",
        0.0,
        "name one with --engine-arg tool-call-parser=NAME, or say none if no tools are wanted",
    )


def _named(client: httpx.Client, model: str, most: int) -> SmokeCheck:
    """A function that the request names must come back as a call: the engine guides the answer."""
    name, title = "named_tool", "a named tool call comes back parsed"
    detail, seconds, message = _tool_request(client, model, _NAMED, max_tokens=most)
    if message is None:
        return _unanswered(name, title, detail, seconds)
    call, problem = _call(message)
    if problem and message.cut:
        return SmokeCheck(name, True, title, f"not decided: {most} tokens are full", seconds)
    hint = _OTHER_PARSER if problem else None
    return SmokeCheck(name, not problem, title, problem or call, seconds, hint)


def _of_its_own(client: httpx.Client, model: str) -> SmokeCheck:
    """With `auto` the model decides: a call that it writes must not come back as text."""
    name, title = "auto_tool", "a tool call of its own comes back parsed"
    detail, seconds, message = _tool_request(client, model, "auto")
    if message is None:
        return _unanswered(name, title, detail, seconds)
    call, problem = _call(message)
    if not problem:
        return SmokeCheck(name, True, title, call, seconds)
    if not message.calls and _written(message.content):
        said = f"the call came back as text: {_short(message.content)}"
        return SmokeCheck(name, False, title, said, seconds, _OTHER_PARSER)
    return SmokeCheck(name, True, title, f"not decided: {problem}", seconds)


def _reasoning(client: httpx.Client, model: str, question: str) -> SmokeCheck:
    name, title = "reasoning", "reasoning comes back apart"
    detail, seconds, message = _request(client, model, question)
    if message is None:
        return _unanswered(name, title, detail, seconds)
    tag = next((tag for tag in _TAGS if tag in message.content), None)
    hint = "another parser with --engine-arg reasoning-parser=NAME, or none"
    if tag:
        said = f"the answer holds {tag}: {_short(message.content)}"
    elif message.reasoning and not message.content and not message.cut:
        said = "the whole answer came back as reasoning"
    elif message.reasoning:
        words = f"{len(message.reasoning)} characters"
        return SmokeCheck(name, True, title, words, seconds)
    else:
        return SmokeCheck(name, True, title, "not decided: the model did not reason", seconds)
    return SmokeCheck(name, False, title, said, seconds, hint)


def _unanswered(name: str, title: str, detail: str, seconds: float) -> SmokeCheck:
    if "context length" in detail:
        said = "not decided: the context is too short for the question"
        return SmokeCheck(name, True, title, said, seconds)
    return SmokeCheck(name, False, title, detail, seconds, _LOGS)


def _tool_request(
    client: httpx.Client, model: str, choice: Any, **more: Any
) -> tuple[str, float, _Message | None]:
    return _request(client, model, _WISH, tools=[_TOOL], tool_choice=choice, **more)


def _request(
    client: httpx.Client, model: str, text: str, **more: Any
) -> tuple[str, float, _Message | None]:
    """Returns (what went wrong, seconds, the answer)."""
    body = {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": MAX_TOKENS,
        "temperature": 0,
        **more,
    }
    status, detail, seconds, document = ask(client, "POST", "/v1/chat/completions", json=body)
    if status != 200:
        return detail, seconds, None
    message = _message(document)
    return "the answer has no message", seconds, message


def _message(document: Any) -> _Message | None:
    try:
        choice = document["choices"][0]
        message = choice["message"]
        calls = message.get("tool_calls") or []
        # The field's name until 0.11, and its name since.
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        text = str(message.get("content") or "").strip()
        cut = choice.get("finish_reason") == "length"
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return _Message(text, str(reasoning or ""), calls if isinstance(calls, list) else [], cut)


def _call(message: _Message) -> tuple[str, str]:
    """(the first call as a person writes it, ""), or ("", what is wrong with it)."""
    if not message.calls:
        said = f": {_short(message.content)}" if message.content else ""
        return "", f"the model made no call{said}"
    try:
        function = message.calls[0]["function"]
        name, arguments = function["name"], json.loads(function["arguments"])
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
    except (KeyError, TypeError, ValueError, AttributeError):
        return "", f"a call whose arguments are no JSON: {_short(str(message.calls[0]))}"
    if name != FUNCTION:
        return "", f"a call of {_short(str(name))}, which is not there"
    return f"{name}({_short(given)})", ""


def _written(content: str) -> bool:
    """Whether a text holds a call of our function, in any model's way to write one."""
    return FUNCTION in content and any(sign in content for sign in "{(<[")


def _short(text: str) -> str:
    plain = "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))
    return (plain[:80] + ("…" if len(plain) > 80 else "")) or "(nothing)"
