"""Whether an engine hands out tool calls and reasoning apart from the text, whole and streamed.

Asked is what an agent asks: a request with tools, in which the model decides (`auto`). A function
that the request names, or `required`, says little of the parser, since the engine then guides the
answer by a grammar: it is asked for besides. A small model may make no call, or not reason,
although all is well: then nothing is decided, and that is no failure. What is one: a call or
reasoning that comes back as text, or not at all.
"""

from typing import Any, NamedTuple

import httpx

from deployctl.endpoint import Chats
from deployctl.operations.measure.asking import SmokeCheck
from deployctl.operations.measure.messages import Call, Chatted, Message, streamed, whole
from deployctl.operations.measure.request import When
from deployctl_loadtest import foreign

MAX_TOKENS = 1024  # a model that reasons does so before it calls
NAMED_TOKENS = 128  # of a call that the engine guides: a small model may fill whatever it gets
LOST_TOKENS = 4  # more than these were written, and nothing came: somebody took them
FUNCTION = "get_weather"
TOOL = {
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
_NO_PARSER = (
    "name a parser with --engine-arg tool-call-parser=NAME (vLLM: with --enable-auto-tool-choice "
    "too), or say none if no tools are wanted"
)
_STREAM = (
    "a known kind of fault of vLLM's parsers: another parser or release; agents that do not "
    "stream are not hit"
)


class _Wish(NamedTuple):
    """Whether tool calls are asked for, and what it means that none comes."""

    asked: bool
    offered: bool  # the plan says that there are, or the user does
    due: bool  # the user says that the model makes one


def checks(
    client: httpx.Client, model: str, chats: Chats | None, question: str, tools: When = "auto"
) -> list[SmokeCheck]:
    """What the plan promises of chats, each tried by a request or two.

    Of an address nobody knows what it promises: a server that refuses tools fails only where
    `tools` is "yes".
    """
    promised = chats.tool_calls if chats else None
    known = promised in ("parsed", "text")
    wish = _Wish(
        tools == "yes" or (tools == "auto" and (chats is None or known)),
        tools == "yes" or known,
        tools == "yes",
    )
    found = []
    if wish.asked:
        reasons = chats is None or chats.reasoning_parser is not None
        found += _tool_calls(client, model, wish, MAX_TOKENS if reasons else NAMED_TOKENS)
    if chats and chats.reasoning_parser:
        found.append(_reasoning(client, model, question))
    return found


def _tool_calls(
    client: httpx.Client, model: str, wish: _Wish, named_tokens: int
) -> list[SmokeCheck]:
    body = _body(model, _WISH, tools=[TOOL], tool_choice="auto")
    reply = whole(client, body)
    found = [_of_its_own(reply, wish)]
    if reply.message is None:
        return found
    if not _call(reply.message)[1]:
        found.append(_streamed(client, body, reply.message))
    if not wish.offered:
        return found
    named = {**body, "tool_choice": _NAMED, "max_tokens": named_tokens}
    return [*found, _named(whole(client, named), named_tokens)]


def _of_its_own(reply: Chatted, wish: _Wish) -> SmokeCheck:
    """With `auto` the model decides: a call that it writes must come back as one."""
    name, title, message = "auto_tool", "a tool call comes back parsed", reply.message
    if message is None:
        hint = _NO_PARSER if reply.status == 400 and "tool" in reply.detail else _LOGS
        if wish.offered or reply.status not in (400, 404, 422, 501):
            return _unanswered(name, title, reply, hint)
        said = f"not decided: no tools are taken: {reply.detail}"
        return SmokeCheck(name, True, title, said, reply.seconds)
    call, problem = _call(message)
    if not problem:
        return SmokeCheck(name, True, title, call, reply.seconds)
    if lost := _lost(message):
        return SmokeCheck(name, False, title, lost, reply.seconds, _OTHER_PARSER)
    if wish.due:
        hint = "does this model call tools, and does its chat template show it how?"
        return SmokeCheck(name, False, title, problem, reply.seconds, hint)
    return SmokeCheck(name, True, title, f"not decided: {problem}", reply.seconds)


def _lost(message: Message) -> str | None:
    """How a call was lost that the model wrote, as far as can be told."""
    if any(FUNCTION in call.name and call.name != FUNCTION for call in message.calls):
        return f"the call came back garbled: {_short(message.calls[0].name)}"
    if message.calls:
        return None
    if _written(message.content):
        return f"the call came back as text: {_short(message.content)}"
    if message.content.strip() or message.finish == "length":
        return None
    if _written(message.reasoning):
        return f"the call came back as reasoning: {_short(message.reasoning)}"
    if not message.reasoning and (message.tokens or 0) > LOST_TOKENS:
        return f"the model wrote {message.tokens} tokens, and nothing came back: no text, no call"
    return None


def _streamed(client: httpx.Client, body: dict[str, Any], expected: Message) -> SmokeCheck:
    """The same request, streamed, must give the same call: most agents stream."""
    name, title = "streamed_tool", "streamed, it is the same call"
    reply = streamed(client, body)
    problem = _difference(reply, expected)
    if problem and reply.message and not reply.message.faults:
        # Unless the engine's answers differ by themselves: then so does another one.
        again = whole(client, body)
        if again.message is None or again.message.calls != expected.calls:
            said = "not decided: the engine's answers differ at temperature 0"
            return SmokeCheck(name, True, title, said, reply.seconds)
    detail = problem or "name and arguments in pieces"
    return SmokeCheck(name, not problem, title, detail, reply.seconds, _STREAM if problem else None)


def _difference(reply: Chatted, expected: Message) -> str:
    """What a client of the stream has otherwise than one that asked for the whole; or nothing."""
    message = reply.message
    if message is None:
        return reply.detail
    if message.faults:
        return "; ".join(message.faults)
    if message.calls != expected.calls and not _same(message.calls, expected.calls):
        return _lost(message) or f"{_listed(message.calls)}, not {_listed(expected.calls)}"
    if _written(message.content) and not _written(expected.content):
        return f"the call comes as text too: {_short(message.content)}"
    if message.finish != expected.finish:
        return f"finish_reason is {message.finish}, not {expected.finish}"
    return ""


def _same(calls: tuple[Call, ...], others: tuple[Call, ...]) -> bool:
    """Whether calls mean the same: JSON may be spaced otherwise."""
    try:
        read = [
            [(c.name, foreign.document(c.arguments.encode())) for c in given]
            for given in (calls, others)
        ]
    except ValueError:
        return False
    return read[0] == read[1]


def _listed(calls: tuple[Call, ...]) -> str:
    return _short(", ".join(f"{call.name}({call.arguments})" for call in calls) or "no call")


def _named(reply: Chatted, most: int) -> SmokeCheck:
    """A function that the request names must come back as a call: the engine guides the answer."""
    name, title, message = "named_tool", "a named tool call comes back parsed", reply.message
    if message is None:
        return _unanswered(name, title, reply, _LOGS)
    call, problem = _call(message)
    if problem and message.finish == "length":
        said = f"not decided: {most} tokens are full"
        return SmokeCheck(name, True, title, said, reply.seconds)
    hint = _OTHER_PARSER if problem else None
    return SmokeCheck(name, not problem, title, problem or call, reply.seconds, hint)


def _reasoning(client: httpx.Client, model: str, question: str) -> SmokeCheck:
    name, title = "reasoning", "reasoning comes back apart"
    reply = whole(client, _body(model, question))
    message, seconds = reply.message, reply.seconds
    if message is None:
        return _unanswered(name, title, reply, _LOGS)
    content = message.content.strip()
    tag = next((tag for tag in _TAGS if tag in content), None)
    hint = "another parser with --engine-arg reasoning-parser=NAME, or none"
    if tag:
        said = f"the answer holds {tag}: {_short(content)}"
    elif message.reasoning and not content and message.finish != "length":
        said = "the whole answer came back as reasoning"
    elif message.reasoning:
        words = f"{len(message.reasoning)} characters"
        return SmokeCheck(name, True, title, words, seconds)
    else:
        return SmokeCheck(name, True, title, "not decided: the model did not reason", seconds)
    return SmokeCheck(name, False, title, said, seconds, hint)


def _unanswered(name: str, title: str, reply: Chatted, hint: str) -> SmokeCheck:
    if "context length" in reply.detail:
        said = "not decided: the context is too short for the question"
        return SmokeCheck(name, True, title, said, reply.seconds)
    return SmokeCheck(name, False, title, reply.detail, reply.seconds, hint)


def _body(model: str, text: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": text}]
    return {
        "model": model, "messages": messages, "max_tokens": MAX_TOKENS, "temperature": 0, **more
    }  # fmt: skip


def _call(message: Message) -> tuple[str, str]:
    """(the first call as a person writes it, ""), or ("", what is wrong with it)."""
    if not message.calls:
        said = f": {_short(message.content)}" if message.content.strip() else ""
        return "", f"the model made no call{said}"
    call = message.calls[0]
    try:
        arguments = foreign.document(call.arguments.encode())
        given = ", ".join(f"{key}={value}" for key, value in arguments.items())
    except (TypeError, ValueError, AttributeError):
        return "", f"a call whose arguments are no JSON: {_short(call.arguments)}"
    if call.name != FUNCTION:
        return "", f"a call of {_short(call.name)}, which is not there"
    return f"{call.name}({_short(given)})", ""


def _written(content: str) -> bool:
    """Whether a text holds a call of our function, in any model's way to write one."""
    return FUNCTION in content and any(sign in content for sign in "{(<[")


def _short(text: str) -> str:
    plain = foreign.message(text)
    return (plain[:80] + ("…" if len(plain) > 80 else "")) or "(nothing)"
