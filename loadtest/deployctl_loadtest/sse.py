"""Reads a stream of server-sent events as OpenAI-compatible servers send them. Pure.

Lines come in whole, each with the time at which it was read. A chunk counts as text only
if it carries some: a role-only first chunk, a usage-only last chunk and keep-alives do not.

Most chunks of a stream differ in their text alone. Once one was parsed, those that have its
bytes before and behind a plain text need not be: they say the same, but for the text.

Ours, because libraries parse every chunk: of five load clients the one that reads with this has the
least error of TTFT, gaps and lag in all 55 cells, and takes the least CPU in 51 of them
(`python -m benchmarks.fidelity`; benchmarks/fidelity/README.md).
"""

import json
from typing import Any

from deployctl_loadtest.foreign import (
    KIB,
    MAX_CHUNKS,
    MAX_EVENT,
    MAX_EVENT_LINES,
    MAX_LINE,
    MAX_SILENT,
    TooMuchError,
    count,
    document,
    message,
)

# Where a streamed choice may carry text: completions, chat, and reasoning parsers.
_DELTA_TEXT = ("content", "reasoning_content", "reasoning", "refusal")
_TRIES = 4  # to find what a stream's chunks have in common, before it is given up


class Stream:
    """What one streamed answer has said so far. Its text is kept only where `reply` is given."""

    def __init__(self, reply: list[str] | None = None) -> None:
        self._reply = reply
        self.text_times: list[float] = []
        self.response_id: str | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None
        self.finish_reason: str | None = None
        self.done = False  # [DONE] was seen
        self.error: str | None = None
        self.events = 0
        self._data: list[bytes] = []
        self._size = self._held = 0  # bytes: since the last text, and of the event that comes
        self._at = 0.0
        self._before = self._behind = b""  # of a chunk's text, once one is known
        self._tries = _TRIES

    def block(self, raw: bytes, at: float) -> None:
        """Takes whole lines, the last one's end included, that were read at `at`.

        Raises:
            TooMuchError: a line, an event or the whole is longer than any server's.
        """
        self._size += len(raw)
        texts = len(self.text_times)
        if self._size > MAX_SILENT or texts > MAX_CHUNKS:
            raise TooMuchError("the stream is longer than any answer")
        for text in raw.split(b"\n")[:-1]:
            # A blank line after a chunk that was taken as it stands ends nothing.
            if text or self._data:
                self.line(text, at)
            if self.done:
                return
        if len(self.text_times) > texts:
            self._size = 0

    def line(self, raw: bytes, at: float) -> None:
        """Takes one line, with or without its end, that was read at `at`."""
        if len(raw) > MAX_LINE:
            raise TooMuchError(f"a line of the stream is longer than {MAX_LINE // KIB:,} KiB")
        text = raw.rstrip(b"\r\n")
        if not self._data and self._is_like_the_last(text, at):
            return
        if not text:
            self._dispatch()
        elif text.startswith(b"data:"):
            if self._data and self._data[0] and _whole(self._data):
                # Servers exist that leave out the blank line between events.
                self._dispatch()
            if not self._data:
                self._at, self._held = at, 0
            self._held += len(text)
            if self._data and (self._held > MAX_EVENT or len(self._data) >= MAX_EVENT_LINES):
                raise TooMuchError("an event of the stream is longer than any chunk")
            self._data.append(text[5:].removeprefix(b" "))
        # Comments (":"), event names and ids say nothing that is measured here.

    def close(self) -> None:
        """The stream has ended; an event without its blank line still counts."""
        self._dispatch()

    @property
    def finished(self) -> bool:
        """Whether the server said that this was all. Some never send [DONE]."""
        return self.done or self.finish_reason is not None

    def _dispatch(self) -> None:
        if not self._data:
            return
        data, self._data = b"\n".join(self._data), []
        self.events += 1
        if data.strip() == b"[DONE]":
            self.done = True
            return
        try:
            event = document(data)
        except ValueError:
            self._fail(f"not JSON: {message(data[:80].decode('utf-8', 'replace'))}")
            return
        if not isinstance(event, dict):
            self._fail("an event that is not an object")
        elif event.get("error"):
            self._fail(error_text(event))
        else:
            self._chunk(event)
            if self._tries > 0:
                self._learn(data, event)

    def _is_like_the_last(self, text: bytes, at: float) -> bool:
        """Takes a line that differs from a parsed one in its plain text alone."""
        if not (self._before and text.startswith(self._before) and text.endswith(self._behind)):
            return False
        said = text[len(self._before) : -len(self._behind)]
        if not said or b'"' in said or b"\\" in said:
            return False
        self.events += 1
        self.text_times.append(at)
        if self._reply is not None:
            self._reply.append(said.decode("utf-8", "replace"))
        return True

    def _learn(self, data: bytes, event: dict[str, Any]) -> None:
        """Finds what stands around the text of a chunk that says nothing else."""
        text = _only_text(event)
        if not text:
            return
        self._tries -= 1
        before, quoted, behind = data.partition(b'"' + text.encode() + b'"')
        if not quoted:
            return  # it has escapes
        try:
            # The text may stand elsewhere too: another in its place must be read as the text.
            again = document(before + b'"another"' + behind)
        except ValueError:
            return
        if _only_text(again) == "another":
            self._before, self._behind = b"data: " + before + b'"', b'"' + behind

    def _chunk(self, event: dict[str, Any]) -> None:
        if self.response_id is None and isinstance(event.get("id"), str):
            self.response_id = message(event["id"])
        usage = event.get("usage")
        if isinstance(usage, dict):
            self.input_tokens = count(usage.get("prompt_tokens"), self.input_tokens)
            self.output_tokens = count(usage.get("completion_tokens"), self.output_tokens)
        choices = event.get("choices")
        if not isinstance(choices, list):
            return
        for choice in choices:
            if not isinstance(choice, dict):
                continue
            if _has_text(choice):
                self.text_times.append(self._at)
                if self._reply is not None:
                    self._reply.append(_answer(choice))
            if choice.get("finish_reason"):
                self.finish_reason = message(str(choice["finish_reason"]))

    def _fail(self, message: str) -> None:
        if self.error is None:
            self.error = message


def error_text(event: dict[str, Any]) -> str:
    """The message in an OpenAI-style error document, on one line of at most 200 characters."""
    error = event.get("error", event)
    if isinstance(error, dict):
        error = error.get("message") or error.get("type") or json.dumps(error)
    return message(str(error))


def _only_text(event: dict[str, Any]) -> str | None:
    """The text of a chunk whose one choice has a text, and nothing else that is measured."""
    choices = event.get("choices")
    if event.get("usage") is not None or not isinstance(choices, list) or len(choices) != 1:
        return None
    choice = choices[0]
    if not isinstance(choice, dict) or choice.get("finish_reason"):
        return None
    delta = choice.get("delta")
    if isinstance(delta, dict) and not choice.get("text"):
        said = {key for key, value in delta.items() if value and key != "role"}
        text = delta.get("content") if said == {"content"} else None
    else:
        text = choice.get("text") if not delta else None
    return text if isinstance(text, str) else None


def _has_text(choice: dict[str, Any]) -> bool:
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    if not isinstance(delta, dict):
        return False
    return any(delta.get(key) for key in _DELTA_TEXT) or bool(delta.get("tool_calls"))


def _answer(choice: dict[str, Any]) -> str:
    """The text that belongs to the answer, and so to the next turn's prompt: no reasoning."""
    delta = choice.get("delta")
    text = choice.get("text") or (delta.get("content") if isinstance(delta, dict) else None)
    return text if isinstance(text, str) else ""


def _whole(lines: list[bytes]) -> bool:
    data = b"\n".join(lines)
    if data.strip() == b"[DONE]":
        return True
    try:
        document(data)
    except ValueError:
        return False
    return True
