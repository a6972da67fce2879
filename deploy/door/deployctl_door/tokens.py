"""Counts the tokens of an answer from the usage that the engine tells with it.

A stream tells it in a chunk of its own at the end, if asked to. The door asks for it, and where
the client had not, takes that chunk out again.
"""

import json
from typing import Any

# Routes whose streams tell usage only where `stream_options` asks for it.
ASKED_FOR = frozenset({"/v1/chat/completions", "/v1/completions"})
LARGEST = 16 << 20  # bytes of an answer that is no stream and is read for its usage


def ask_for_usage(document: dict[str, Any], route: str) -> bool:
    """Makes the engine tell the usage of a stream; True where the client had not asked."""
    if route not in ASKED_FOR or document.get("stream") is not True:
        return False
    options = document.get("stream_options")
    if options is not None and not isinstance(options, dict):
        return False  # the engine refuses it
    if (options or {}).get("include_usage") is True:
        return False
    document["stream_options"] = {**(options or {}), "include_usage": True}
    return True


class Counter:
    """Reads usage out of the parts of one answer as they pass."""

    def __init__(self, *, stream: bool, hide: bool) -> None:
        self.input = self.output = 0
        self._stream = stream
        self._hide = hide  # whether the chunk with usage is for the door alone
        self._parts: list[bytes] = []
        self._size = 0
        self._rest = b""  # an event of a stream that has not ended yet

    def passing(self, part: bytes, *, last: bool) -> bytes:
        """Looks at a part; returns what of it goes on to the client."""
        if self._stream:
            return self._events(part, last)
        if self._size <= LARGEST:
            self._parts.append(part)
            self._size += len(part)
            if last and self._size <= LARGEST:
                self._read(b"".join(self._parts))
        return part

    def _events(self, part: bytes, last: bool) -> bytes:
        whole = self._rest + part
        self._rest = b""
        # The quick way: whole events, none of which tells usage.
        if whole.endswith(b"\n\n") and b'"usage"' not in whole:
            return whole
        *events, rest = whole.split(b"\n\n")
        if last and rest:
            events.append(rest)
            rest = b""
        self._rest = rest
        kept = [event for event in events if not (b'"usage"' in event and self._is_hidden(event))]
        end = b"" if last and not whole.endswith(b"\n\n") else b"\n\n"
        return b"\n\n".join(kept) + end if kept else b""

    def _is_hidden(self, event: bytes) -> bool:
        """Counts an event's usage; True where the event is there for nothing else."""
        data = b"".join(
            line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")
        )
        document = self._read(data)
        return self._hide and document is not None and document.get("choices") == []

    def _read(self, data: bytes) -> dict[str, Any] | None:
        try:
            document = json.loads(data)
        except (ValueError, RecursionError):
            return None
        if not isinstance(document, dict):
            return None
        usage = document.get("usage") or _inner(document)
        if isinstance(usage, dict):
            # Chat and completions have the first names, responses and messages the second.
            self.input = _number(usage, "prompt_tokens", "input_tokens") or self.input
            self.output = _number(usage, "completion_tokens", "output_tokens") or self.output
            return document
        return None


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
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return 0
