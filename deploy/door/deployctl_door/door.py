"""Door: an ASGI application before another one. Denies whatever is not allowed."""

import hmac
import json
import re
import time
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from deployctl_door import answers, bodies, probe, tokens
from deployctl_door.account import Account, Entry
from deployctl_door.bodies import BodyError, ClientGoneError
from deployctl_door.configuration import Configuration
from deployctl_door.drain import Drain
from deployctl_door.keys import Key, KeyFolder
from deployctl_door.limits import Usage
from deployctl_door.routes import OPERATOR, PROBE, Routes

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

METRICS = "/metrics"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_ANYONE = Key("anyone", "")  # where no key is needed
_OPERATOR = Key("operator", "")


class Door:
    """Wraps an ASGI application.

    Raises:
        KeysError: keys are needed, and cannot be read: nothing is served then.
    """

    def __init__(
        self, app: App, configuration: Configuration, account: Account | None = None
    ) -> None:
        self._app = app
        self._configuration = configuration
        self._routes = Routes(configuration)
        self._account = account or Account(log=configuration.request_log)
        self._keys = KeyFolder(
            configuration.secrets, self._account.complain, keyless=configuration.keyless
        )
        self._probe_token = probe.read(configuration.probe_token)
        self._usage = Usage()
        self._drain = Drain(configuration.drain_file, configuration.drain_after_s)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] == "lifespan":
            self._drain.begin_on_sigterm()
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # becomes HTTP 403

    async def _request(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        headers = Headers(scope["headers"])
        found = self._routes.find(scope)
        entry = Entry(_request_id(headers), scope["method"], found[1] if found else "-")
        out = _Out(send, entry, self._drain)
        try:
            await self._answer(found, _Request(scope, receive, out, headers, entry))
        finally:  # also where the engine failed, or the client hung up
            entry.end()
            self._account.ended(entry)

    async def _answer(self, found: tuple[str, str] | None, request: "_Request") -> None:
        if found is None:
            self._account.refused("-", "no_such_route")
            await answers.error(request.out, 404, "there is nothing here")
        elif found[0] == PROBE:
            await self._probe(request)
        elif found[0] == OPERATOR:
            await self._operator(request)
        else:
            await self._user(request)

    async def _probe(self, request: "_Request") -> None:
        """200 or 503, and nothing of what the engine says beside it."""
        status = 503

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = 200 if message["status"] == 200 else 503

        try:
            await self._app(request.scope, request.receive, note)
        except Exception:
            status = 503  # an engine that is dead says so by an exception
        await answers.whole(request.out, status, b"")

    async def _operator(self, request: "_Request") -> None:
        scope, receive, out, headers, entry = request
        presented = headers.bearer()
        if presented is None or not self._is_operator(presented):
            self._account.refused("-", "no_operator_token")
            await _unauthorized(out, "this route takes the operator's token")
            return
        entry.key = _OPERATOR.name
        if entry.route != METRICS:
            await self._app(scope, receive, out)
            return
        counters = self._account.metrics()

        async def with_counters(message: Message) -> None:
            if message["type"] == "http.response.start":
                # Counters are added behind the engine's: as text, and of another length.
                message["headers"] = [
                    pair for pair in message["headers"] if pair[0].lower() != b"content-length"
                ]
            elif not message.get("more_body", False):
                message["body"] = message.get("body", b"") + counters
            await out(message)

        plain = [
            pair for pair in scope["headers"] if pair[0] not in (b"accept-encoding", b"accept")
        ]
        await self._app({**scope, "headers": plain}, receive, with_counters)

    async def _user(self, request: "_Request") -> None:
        _, _, out, headers, entry = request
        key = self._admitted(headers)
        if key is None:
            self._account.refused("-", "no_key")
            await _unauthorized(out, "the API key is missing, wrong or no longer valid")
            return
        entry.key = key.name
        if self._drain.refuses:
            self._account.refused(key.name, "draining")
            retry = [(b"retry-after", b"1")]
            await answers.error(out, 503, "this server is ending; try again", headers=retry)
            return
        met = self._usage.begin(key)
        if met is not None:
            what, seconds = met
            self._account.refused(key.name, "limit")
            retry = [(b"retry-after", str(seconds).encode())]
            await answers.error(out, 429, f"this key may have {what}", headers=retry)
            return
        try:
            with self._account.under_way():
                await self._carry(request, key)
        except BodyError as error:
            self._account.refused(key.name, "body")
            out.closes = True  # what is left of the body is not waited for
            await answers.error(out, error.status, error.message, parameter=error.parameter)
        except ClientGoneError:
            self._account.refused(key.name, "client_gone")
        finally:
            self._usage.end(key, entry.input + entry.output)

    def _admitted(self, headers: "Headers") -> Key | None:
        ring = self._keys.now()
        if ring.open:
            return _ANYONE
        presented = headers.bearer() or headers.one(b"x-api-key")
        if presented is None:
            return None
        key = ring.find(presented, time.time())
        return _OPERATOR if key is None and ring.is_operator(presented) else key

    def _is_operator(self, presented: str) -> bool:
        return self._keys.now().is_operator(presented) or (
            self._probe_token is not None and hmac.compare_digest(presented, self._probe_token)
        )

    async def _carry(self, request: "_Request", key: Key) -> None:
        """Reads the body, holds it against limits and key, and passes the request on."""
        scope, receive, out, headers, entry = request
        limits = self._configuration.body
        if scope["method"] in ("GET", "HEAD", "DELETE"):
            await self._app(scope, receive, out)
            return
        if headers.one(b"content-encoding") not in (None, "identity"):
            raise BodyError(415, "a body is not to be compressed")
        body = await bodies.read(receive, limits, headers.length())
        hide, stream = False, False
        kind = (headers.one(b"content-type") or "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data":
            if key.models is not None:
                entry.model = bodies.form_field(body, headers.one(b"content-type") or "", "model")
        else:
            document = bodies.parse(body, limits)
            model = document.get("model")
            entry.model = model if isinstance(model, str) else None
            stream = document.get("stream") is True
            if hide := tokens.ask_for_usage(document, entry.route):
                body = json.dumps(document).encode()
                scope = {**scope, "headers": headers.with_length(len(body))}
        if key.models is not None and entry.model not in key.models:
            self._account.refused(key.name, "model")
            message = f"this key may ask {', '.join(key.models) or 'no model'}"
            await answers.error(out, 403, message, parameter="model")
            return
        out.counter = tokens.Counter(stream=stream, hide=hide)
        await self._app(scope, _again(body, receive), out)


class Headers:
    """A request's headers."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs

    def one(self, name: bytes) -> str | None:
        """The value of a header; None where it is missing, or given more than once."""
        values = [value for given, value in self._pairs if given.lower() == name]
        return values[0].decode("latin-1") if len(values) == 1 else None

    def bearer(self) -> str | None:
        """What is presented as `Authorization: Bearer …`."""
        scheme, _, value = (self.one(b"authorization") or "").partition(" ")
        return value.strip() if scheme.lower() == "bearer" and value.strip() else None

    def length(self) -> int | None:
        """Content-Length, where it is a number."""
        text = self.one(b"content-length")
        return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None

    def with_length(self, length: int) -> list[tuple[bytes, bytes]]:
        """The same for a body of another length."""
        rest = [
            p for p in self._pairs if p[0].lower() not in (b"content-length", b"transfer-encoding")
        ]
        return [*rest, (b"content-length", str(length).encode())]


class _Out:
    """Sends an answer: adds what every answer has, and counts as it passes."""

    def __init__(self, send: Send, entry: Entry, drain: Drain) -> None:
        self._send = send
        self._entry = entry
        self._drain = drain
        self.closes = False
        self.counter: tokens.Counter | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start(message)
        elif message["type"] == "http.response.body":
            self._entry.first_byte()
            if self.counter is not None:
                last = not message.get("more_body", False)
                message["body"] = self.counter.passing(message.get("body", b""), last=last)
                if last:
                    self._entry.input, self._entry.output = self.counter.input, self.counter.output
                elif not message["body"]:
                    return
        await self._send(message)

    def _start(self, message: Message) -> None:
        self._entry.status = message["status"]
        given = message.get("headers") or []
        headers = [pair for pair in given if pair[0].lower() not in (b"x-request-id", b"server")]
        headers.append((b"x-request-id", self._entry.request_id.encode()))
        if self.closes or self._drain.began:
            headers = [pair for pair in headers if pair[0].lower() != b"connection"]
            headers.append((b"connection", b"close"))
        message["headers"] = headers


class _Request(NamedTuple):
    """One request on its way through the door."""

    scope: MutableMapping[str, Any]
    receive: Receive
    out: _Out
    headers: Headers
    entry: Entry


async def _unauthorized(out: _Out, message: str) -> None:
    await answers.error(out, 401, message, headers=[(b"www-authenticate", b"Bearer")])


def _request_id(headers: Headers) -> str:
    given = headers.one(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given.encode("latin-1")):
        return given
    return uuid.uuid4().hex


def _again(body: bytes, receive: Receive) -> Receive:
    """Gives the body once more, then whatever comes after it: a client that hangs up."""
    given = False

    async def next_message() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return next_message
