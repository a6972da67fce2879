"""Counts the tokens of an answer from the usage that the engine tells.

vLLM leaves it beside the request once an answer has ended. Of an engine that does not, or has not
yet been seen to, usage is read out of the answer. A stream tells it in a chunk of its own at the
end, if asked to: the door asks for it, and where the client had not, takes that chunk out again. Of
a stream whose client hangs up before, at least the chunks that were sent are counted.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

# Routes whose streams tell usage only where `stream_options` asks for it.
ASKED_FOR = frozenset({"/v1/chat/completions", "/v1/completions"})
LARGEST = 1 << 20  # bytes of an answer, or of one event, that is read as a whole
END = 64 << 10  # bytes at either end of a larger answer in which usage is looked for
# How an event of text ends: with its choices. The event of usage alone ends with its usage, or with
# choices that are empty.
TEXT_END = b"}]}\n\n"
STREAM = b"text/event-stream"
_BETWEEN = re.compile(rb"(\r?\n\r?\n)")  # events of a stream
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')


def asking(document: dict[str, Any], route: str) -> dict[str, Any]:
    """What is to be put into a request for a stream, so that usage is told.

    Nothing where the client asks for it, or the route tells it anyway.
    """
    if route not in ASKED_FOR or document.get("stream") is not True:
        return {}
    options = document.get("stream_options")
    if options is None:
        options = {}
    if not isinstance(options, dict) or options.get("include_usage") is True:
        return {}  # what is no object, the engine refuses
    options = {**options, "include_usage": True}
    if "continuous_usage_stats" in options:  # without usage it means nothing
        options["continuous_usage_stats"] = False
    return {"stream_options": options}


def told(scope: Mapping[str, Any]) -> tuple[int, int] | None:
    """Tokens in and out of a request that has ended, as vLLM leaves them beside it for a middleware
    to read (`request_metadata.final_usage_info`, since before 0.8.5); None where it has not.
    """
    metadata = (scope.get("state") or {}).get("request_metadata")
    usage = getattr(metadata, "final_usage_info", None)
    if usage is None:
        return None
    read = getattr(usage, "prompt_tokens", None)
    made = getattr(usage, "completion_tokens", None) or 0  # of an embedding, none
    return (read, made) if type(read) is int and type(made) is int else None


def kind(content_type: bytes) -> bytes:
    """A content type without its parameters."""
    return content_type.partition(b";")[0].strip().lower()


class Counter:
    """Reads usage out of the parts of one answer as they pass."""

    def __init__(self, *, hide: bool) -> None:
        self.input = self.output = 0
        self.between = False  # in a stream, and no event is under way
        self._hide = hide  # whether a chunk with nothing but usage is for the door alone
        self._stream = False
        self._rest = b""  # an event of a stream that has not ended yet
        self._parts: list[bytes] = []  # of an answer that is no stream
        self._size = 0

    def begins(self, content_type: bytes) -> bool:
        """Whether an answer of that type tells usage."""
        found = kind(content_type)
        self._stream = self.between = found == STREAM
        return self._stream or found == b"application/json"

    def passing(self, part: bytes, *, last: bool) -> bytes | None:
        """Looks at a part; returns what goes on in its place, or None: the part as it is.

        What begins `between` events and ends as one of text needs no look.
        """
        if self._stream:
            kept = self._events(part, last)
            return kept if self._hide else None
        self._size += len(part)
        self._parts.append(part)
        if self._size > LARGEST:
            whole = b"".join(self._parts)
            self._parts = [whole[:END], whole[-END:]]
        return None

    def end(self, chunks: int) -> None:
        """The answer has ended, or broke off, after so many parts."""
        if self._stream:
            self.output = self.output or (0 if self.input else chunks)
        elif self._size <= LARGEST:
            self._read(b"".join(self._parts))
        else:
            self._look_for_usage(self._parts)

    def _events(self, part: bytes, last: bool) -> bytes:
        """What of the events that have ended, and of a last one, is for the client."""
        if self.between and part[-2:] == b"\n\n" and part.count(b"\n\n") == 1:
            return b"" if b'"usage"' in part and self._is_hidden(part) else part
        pieces = _BETWEEN.split(self._rest + part)
        self._rest = b"" if last or len(pieces[-1]) > LARGEST else pieces.pop()
        self.between = not self._rest
        return b"".join(
            event + end
            for event, end in zip(pieces[::2], [*pieces[1::2], b""])  # noqa: B905  3.10
            if b'"usage"' not in event or not self._is_hidden(event)
        )

    def _is_hidden(self, event: bytes) -> bool:
        """Counts an event's usage; True where the event is there for nothing else."""
        data = event[5:]
        if not event.startswith(b"data:") or b"\n" in event.strip():
            lines = event.splitlines()
            data = b"".join(line[5:].strip() for line in lines if line.startswith(b"data:"))
        document = self._read(data)
        return self._hide and document is not None and document.get("choices") == []

    def _read(self, data: bytes) -> dict[str, Any] | None:
        """Counts the usage of a JSON object; returns it if it has one."""
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if isinstance(document, dict) and self._count(document.get("usage") or _inner(document)):
            return document
        return None

    def _look_for_usage(self, parts: list[bytes]) -> None:
        """Usage in what is left of a large answer: after its data, or before it."""
        for text in reversed(parts):
            for found in _USAGE.finditer(text):
                try:
                    usage, _ = json.JSONDecoder().raw_decode(text[found.end() :].decode("latin-1"))
                except (ValueError, RecursionError):
                    continue
                if self._count(usage):
                    return

    def _count(self, usage: Any) -> bool:
        if not isinstance(usage, dict):
            return False
        # Chat and completions have the first names, responses and messages the second.
        self.input = _number(usage, "prompt_tokens", "input_tokens") or self.input
        self.output = _number(usage, "completion_tokens", "output_tokens") or self.output
        return True


def _inner(document: dict[str, Any]) -> Any:
    """The usage of an event that holds a whole response or message."""
    for name in ("response", "message"):
        inner = document.get(name)
        if isinstance(inner, dict) and inner.get("usage"):
            return inner["usage"]
    return None


def _number(usage: dict[str, Any], *names: str) -> int:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return 0
