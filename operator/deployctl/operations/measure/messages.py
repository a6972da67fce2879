"""One chat, asked for whole or streamed: either way what a client makes of it is a `Message`."""

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import httpx

from deployctl import web
from deployctl.operations.measure.asking import ask, refusal
from deployctl_loadtest import foreign

_PATH = "/v1/chat/completions"


class Call(NamedTuple):
    """A tool call, as a client has it in the end."""

    name: str
    arguments: str  # JSON, if all is well


class Message(NamedTuple):
    """The parts of an answer."""

    content: str
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    finish: str = ""  # finish_reason
    tokens: int | None = None  # that the model wrote
    faults: tuple[str, ...] = ()  # of a stream: what a client that follows OpenAI's trips over


class Chatted(NamedTuple):
    """A message, or why there is none."""

    message: Message | None
    status: int  # of HTTP; 0 without an answer
    detail: str  # what went wrong
    seconds: float


def whole(client: httpx.Client, body: dict[str, Any]) -> Chatted:
    """Asks for the answer in one piece."""
    status, detail, seconds, document = ask(client, "POST", _PATH, json=body)
    message = _message(document) if status == 200 else None
    return Chatted(message, status, detail or "the answer has no message", seconds)


def streamed(client: httpx.Client, body: dict[str, Any]) -> Chatted:
    """Asks for the answer as a stream, and puts its pieces together."""
    started, assembly = time.perf_counter(), _Assembly()
    status, detail = 0, ""
    try:
        with client.stream("POST", _PATH, json={**body, "stream": True}) as response:
            status = response.status_code
            if status == 200:
                detail = assembly.read(web.lines(response))
            else:
                response.read()
                detail = refusal(response)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        detail = web.problem(error, time.perf_counter() - started)
    seconds = time.perf_counter() - started
    return Chatted(None if detail else assembly.message(), status, detail, seconds)


class _Assembly:
    """The pieces of a stream."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._finish = ""
        self._faults: dict[str, None] = {}  # each once, in order

    def read(self, lines: Iterable[str]) -> str:
        """Takes the lines of a stream; returns why it cannot be read, or nothing."""
        for line in lines:
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                return "" if self._finish else "the stream ends without a finish_reason"
            if not data:
                continue
            try:
                chunk = foreign.document(data.encode())
                if "error" in chunk:
                    return f"an error within the stream: {foreign.message(str(chunk['error']))}"
                for choice in chunk.get("choices") or []:
                    self._take(choice.get("delta") or {})
                    self._finish = choice.get("finish_reason") or self._finish
            except (ValueError, TypeError, AttributeError, KeyError):
                return f"a chunk that is none: {foreign.message(data[:80])}"
        return "the stream ends without [DONE]"

    def message(self) -> Message:
        """The whole."""
        calls = (self._calls[index] for index in sorted(self._calls))
        faults = dict(self._faults)
        faults |= (
            {"a call has no id": None} if any(not c["id"] for c in self._calls.values()) else {}
        )
        return Message(
            "".join(self._content),
            "".join(self._reasoning),
            tuple(Call(call["name"], call["arguments"]) for call in calls),
            self._finish,
            faults=tuple(faults),
        )

    def _take(self, delta: dict[str, Any]) -> None:
        self._content.append(str(delta.get("content") or ""))
        self._reasoning.append(_reasoning(delta))
        for piece in delta.get("tool_calls") or []:
            index = piece.get("index")
            if not isinstance(index, int):
                self._faults["a piece of a call has no index"] = None
                index = max(self._calls, default=0)
            call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
            function = piece.get("function") or {}
            if function.get("name") and call["name"]:
                self._faults["the name comes more than once"] = None
            if piece.get("id") not in (None, "", call["id"]) and call["id"]:
                self._faults["the id changes within a call"] = None
            call["id"] = str(piece.get("id") or call["id"])
            # As OpenAI's client does it: every text is put behind what was there.
            call["name"] += function.get("name") or ""
            call["arguments"] += function.get("arguments") or ""


def _message(document: Any) -> Message | None:
    try:
        choice = document["choices"][0]
        message = choice["message"]
        found = [call["function"] for call in message.get("tool_calls") or []]
        calls = tuple(Call(str(f.get("name")), str(f.get("arguments"))) for f in found)
        content, reasoning = str(message.get("content") or ""), _reasoning(message)
        tokens = (document.get("usage") or {}).get("completion_tokens")
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    finish = str(choice.get("finish_reason") or "")
    return Message(content, reasoning, calls, finish, foreign.count(tokens))


def _reasoning(message: dict[str, Any]) -> str:
    # The field's name until 0.11, and its name since.
    return str(message.get("reasoning_content") or message.get("reasoning") or "")
