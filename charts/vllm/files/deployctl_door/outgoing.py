"""An answer on its way out: gets what every answer of the door has, and is counted as it passes."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from deployctl_door.account import Entry
from deployctl_door.drain import Drain
from deployctl_door.headers import Headers
from deployctl_door.tokens import Counter

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Outgoing:
    """What an application sends an answer with."""

    def __init__(self, send: Send, entry: Entry, drain: Drain) -> None:
        self._send = send
        self._entry = entry
        self._drain = drain
        self.closes = False  # whether the connection ends with this answer
        self.counter: Counter | None = None

    async def __call__(self, message: Message) -> None:
        """Passes a message on, or holds it back."""
        kind = message["type"]
        if kind == "http.response.body":
            counter = self.counter
            if counter is not None:
                more = message.get("more_body", False)
                part = counter.passing(message.get("body", b""), last=not more)
                if part is not None:
                    if not part and more:
                        return
                    message["body"] = part
            if self._entry.first_byte_s is None:
                self._entry.first_byte()
        elif kind == "http.response.start":
            self._start(message)
        await self._send(message)

    def end(self) -> None:
        """The answer has ended, or broke off: its tokens are known."""
        if self.counter is not None:
            self.counter.end()
            self._entry.input, self._entry.output = self.counter.input, self.counter.output

    def _start(self, message: Message) -> None:
        self._entry.status = message["status"]
        headers = []
        kind = b""
        for pair in message.get("headers") or ():
            name = pair[0].lower()
            if name == b"content-type":
                kind = pair[1]
            if name not in (b"x-request-id", b"server"):
                headers.append(pair)
        if self.counter is not None and not self.counter.begins(kind):
            self.counter = None
        headers.append((b"x-request-id", self._entry.request_id.encode()))
        if self.closes or self._drain.began:
            headers = [pair for pair in headers if pair[0].lower() != b"connection"]
            headers.append((b"connection", b"close"))
        message["headers"] = headers


class Request(NamedTuple):
    """One request on its way through the door."""

    scope: Scope
    receive: Receive
    out: Outgoing
    headers: Headers
    entry: Entry
