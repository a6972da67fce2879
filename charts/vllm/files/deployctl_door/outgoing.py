"""An answer on its way out: gets what every answer of the door has, and is counted as it passes."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from deployctl_door.account import Entry
from deployctl_door.drain import Drain
from deployctl_door.headers import Headers
from deployctl_door.tokens import TEXT_END, Counter

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_OURS = (b"x-request-id", b"server")  # not the engine's to say


class Outgoing:
    """What an application sends an answer with."""

    __slots__ = ("_chunks", "_drain", "_entry", "_quick", "_send", "closes", "counter")

    def __init__(self, send: Send, entry: Entry, drain: Drain) -> None:
        self._send = send
        self._entry = entry
        self._drain = drain
        self._chunks = 0  # parts of the body so far
        self._quick = False  # whether a chunk of text may pass without a look at it
        self.closes = False  # whether the connection ends with this answer
        self.counter: Counter | None = None

    def send(self, message: Message) -> Awaitable[None]:
        """Passes a message on, or holds it back. Every chunk comes by here: no coroutine of its
        own, and no look into a chunk that ends as those of text do."""
        if self._quick and message.get("body", b"")[-5:] == TEXT_END:
            self._chunks += 1
            return self._send(message)
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            if self._chunks == 0:
                self._entry.first_byte()
            self._chunks += 1
            if self.counter is not None and self._is_held_back(message, self.counter):
                return _nothing()
        return self._send(message)

    def _is_held_back(self, message: Message, counter: Counter) -> bool:
        more = message.get("more_body", False)
        kept = counter.passing(message.get("body", b""), last=not more)
        self._quick = counter.between
        if kept is None:
            return False
        message["body"] = kept
        return not kept and more

    def end(self) -> None:
        """The answer has ended, or broke off: its tokens are known."""
        if self.counter is not None:
            self.counter.end(self._chunks)
            self._entry.input, self._entry.output = self.counter.input, self.counter.output

    def _start(self, message: Message) -> None:
        self._entry.status = message["status"]
        headers = []
        kind = b""
        for name, value in message.get("headers") or ():
            lower = name.lower()
            if lower == b"content-type":
                kind = value
            if lower not in _OURS:
                headers.append((name, value))
        if self.counter is not None and not self.counter.begins(kind):
            self.counter = None
        headers.append((b"x-request-id", self._entry.request_id.encode()))
        if self.closes or self._drain.began:
            headers = [pair for pair in headers if pair[0].lower() != b"connection"]
            headers.append((b"connection", b"close"))
        message["headers"] = headers


async def _nothing() -> None:
    pass


class Request(NamedTuple):
    """One request on its way through the door."""

    scope: Scope
    receive: Receive
    out: Outgoing
    headers: Headers
    entry: Entry
