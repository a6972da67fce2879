"""A request and its answer: the application receives by it and sends by it. The answer gets what
every answer of the door has, and is counted as it passes."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deployctl_door.account import Entry
from deployctl_door.drain import Drain
from deployctl_door.tokens import STREAM, TEXT_END, Counter, kind

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


_OURS = (b"x-request-id", b"server")  # not the engine's to say


class Exchange(Entry):
    """What an application is called with in the place of the server's `receive` and `send`.

    All that the door keeps of a request under way is this one object, one method of it and the
    coroutine that sees its end: the interpreter's garbage collector looks at what lives again and
    again, of a thousand requests as often as of one (benchmarks/door/objects.py).
    """

    __slots__ = (
        "_drain",
        "_kind",
        "_parts",
        "_quick",
        "_receive",
        "_send",
        "_uncounted",
        "body",
        "closes",
        "counter",
    )

    def __init__(
        self, request_id: str, method: str, route: str, receive: Receive, send: Send, drain: Drain
    ) -> None:
        super().__init__(request_id, method, route)
        self._receive = receive
        self._send = send
        self._drain = drain
        # That the door has read, and the application has not: it receives it once more.
        self.body: bytes | None = None
        self._kind = b""  # content type
        self._quick = False  # whether a chunk of text may pass without a look at it
        self._parts = 0  # of the body so far
        self.closes = False  # whether the connection ends with this answer
        self.counter: Counter | None = None
        self._uncounted = False  # whether its parts are all that is counted

    def __call__(self) -> Awaitable[Message]:
        """The next message of the client's: the body once more, then whatever comes after it, as
        that the client hangs up."""
        body = self.body
        if body is None:
            return self._receive()
        self.body = None
        return _whole(body)

    def pass_on(self, message: Message) -> Awaitable[None]:
        """Sends a message of an answer whose usage is told beside it: once it has begun, its parts
        are counted, for a client that hangs up, and pass without a look.

        Every part comes by here, so that there is no coroutine for it, and no more than what the
        interpreter does by itself: a number's truth would be a call.
        """
        if self._parts > 0:
            self._parts += 1
            forward = self._send
            return forward(message)
        self._uncounted = True
        return self.send(message)

    def send(self, message: Message) -> Awaitable[None]:
        """Passes a message on, or holds it back. No look into a chunk that ends as those of text
        do."""
        if self._quick and message.get("body", b"")[-5:] == TEXT_END:
            self._parts += 1
            return self._send(message)
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            if self._parts == 0:
                self.first_byte()
            self._parts += 1
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

    def count(self) -> None:
        """The answer has ended, or broke off, and nothing was told beside it: what its own parts
        tell is counted, or the parts themselves."""
        if self.counter is not None:
            self.counter.end(self._parts)
            self.input, self.output = self.counter.input, self.counter.output
        elif self._uncounted and kind(self._kind) == STREAM:
            self.output = self._parts

    def _start(self, message: Message) -> None:
        self.status = message["status"]
        headers = []
        for pair in message.get("headers") or ():
            name = pair[0].lower()
            if name == b"content-type":
                self._kind = pair[1]
            if name not in _OURS:
                headers.append(pair)
        if self.counter is not None and not self.counter.begins(self._kind):
            self.counter = None
        headers.append((b"x-request-id", self.request_id.encode()))
        if self.closes or self._drain.began:
            headers = [pair for pair in headers if pair[0].lower() != b"connection"]
            headers.append((b"connection", b"close"))
        message["headers"] = headers


async def _whole(body: bytes) -> Message:
    return {"type": "http.request", "body": body, "more_body": False}


async def _nothing() -> None:
    pass
