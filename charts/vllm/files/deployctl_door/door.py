"""Door: an ASGI application before another one. Denies whatever is not allowed."""

import time
from collections.abc import Awaitable, Callable

from deployctl_door import answers, bodies, keys, probe
from deployctl_door.account import Account, Entry
from deployctl_door.bodies import BodyError, ClientGoneError
from deployctl_door.configuration import Configuration
from deployctl_door.drain import Drain
from deployctl_door.headers import Headers
from deployctl_door.inspection import Inspection
from deployctl_door.keyfolder import KeyFolder
from deployctl_door.keys import Key
from deployctl_door.limits import Usage
from deployctl_door.outgoing import (
    App,
    Message,
    Outgoing,
    Passed,
    Receive,
    Scope,
    Send,
)
from deployctl_door.routes import OPERATOR, PREFLIGHT, PROBE, USER, Routes
from deployctl_door.underway import UnderWay

METRICS = "/metrics"
_ANYONE = Key(keys.ANYONE, "")  # where no key is needed
_OPERATOR = Key(keys.OPERATOR, "", operator=True)
_Answer = Callable[[Scope, Receive, Headers, Outgoing], Awaitable[Passed | None]]
_CLIENT_GONE = 499  # in the request log, as nginx has it


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
        self._account = account or Account(
            log=configuration.request_log, under_way=UnderWay(configuration.counts)
        )
        self._keys = KeyFolder(
            configuration.secrets,
            self._account.complain,
            keyless=configuration.keyless,
            processes=configuration.processes,
        )
        self._probe_token = probe.read(configuration.probe_token)
        self._usage = Usage()
        self._inspection = Inspection(configuration.body)
        self._drain = Drain(configuration.drain_file, configuration.drain_after_s)
        self._answers: dict[str, _Answer] = {
            USER: self._user,
            OPERATOR: self._operator,
            PROBE: self._probe,
            PREFLIGHT: self._preflight,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or passes it on."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        # As they are now: a server may add what comes behind a chunked body to the same list, which
        # the engine would read and the door has not.
        # The dictionaries are the door's own from here on.
        pairs = list(scope["headers"])
        scope = {**scope, "headers": pairs, "state": {**scope.get("state", {})}}
        headers = Headers(pairs)
        found = self._routes.find(scope, headers)
        # Of what is not on the list, nothing that the client chose is kept.
        method, route = (scope["method"], found[1]) if found else ("-", "-")
        entry = Entry(headers.request_id(), method, route)
        out = Outgoing(send, entry, self._drain)
        try:
            answer = self._answers[found[0]] if found else self._nothing
            passed = await answer(scope, receive, headers, out)
            # What is not needed any more goes: with many requests under way, the interpreter's
            # garbage collector would look at it again and again.
            del answer, headers, found, receive
            # From here, for each part of an answer is run through this function: the door has no
            # other under way then.
            if passed is not None:
                to, receive, send = passed
                del passed
                await self._app(to, receive, send)
            entry.status = entry.status or _CLIENT_GONE  # nobody was there to be answered
        except ClientGoneError:
            entry.status = _CLIENT_GONE
            self._account.refused(entry.key, "client_gone")
        except BaseException:
            entry.status = entry.status or 500
            raise  # the engine's own, which its outermost handler answers
        finally:
            if entry.admitted is not None:
                self._let_out(entry.admitted, scope, out)
            self._account.ended(entry)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._drain.begin_on_sigterm()
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            self._account.refused("-", "websocket")
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # becomes HTTP 403

    async def _nothing(
        self, scope: Scope, receive: Receive, headers: Headers, out: Outgoing
    ) -> None:
        self._account.refused("-", "no_such_route")
        await answers.error(out.send, 404, "there is nothing here")

    async def _probe(self, scope: Scope, receive: Receive, headers: Headers, out: Outgoing) -> None:
        """200 or 503, and nothing of what the engine says beside it."""
        status = 503

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = 200 if message["status"] == 200 else 503

        try:
            await self._app(scope, receive, note)
        except Exception:
            status = 503  # an engine that is dead says so by an exception
        await answers.whole(out.send, status, b"")

    async def _preflight(
        self, scope: Scope, receive: Receive, headers: Headers, out: Outgoing
    ) -> None:
        """What the engine's CORS middleware says; nothing, where it has none that answers."""
        answers_it = False

        async def of_cors(message: Message) -> None:
            nonlocal answers_it
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers") or ()}
                answers_it = b"access-control-allow-methods" in names
            if answers_it:
                await out.send(message)

        await self._app(scope, receive, of_cors)
        if not answers_it:
            await self._nothing(scope, receive, headers, out)

    async def _operator(
        self, scope: Scope, receive: Receive, headers: Headers, out: Outgoing
    ) -> Passed | None:
        entry = out.entry
        presented = headers.credential()
        if presented is None or not self._is_operator(presented):
            self._account.refused("-", "no_operator_token")
            await _unauthorized(out, "this route takes the operator's token")
            return None
        entry.key = _OPERATOR.name
        if entry.route != METRICS:
            return scope, receive, out.send
        # As text, for the door's own counters come behind the engine's.
        scope["headers"] = headers.without(b"accept-encoding", b"accept")
        return scope, receive, self._with_counters(out)

    def _with_counters(self, out: Outgoing) -> Send:
        well = False

        async def send(message: Message) -> None:
            nonlocal well
            if message["type"] == "http.response.start":
                well = message["status"] == 200
                if well:
                    message["headers"] = [
                        pair
                        for pair in message.get("headers") or ()
                        if pair[0].lower() != b"content-length"
                    ]
            elif well and not message.get("more_body", False):
                message["body"] = message.get("body", b"") + self._account.metrics()
            await out.send(message)

        return send

    async def _user(
        self, scope: Scope, receive: Receive, headers: Headers, out: Outgoing
    ) -> Passed | None:
        """What the engine is called with, where it is."""
        entry = out.entry
        key = self._admitted(headers)
        if key is None:
            self._account.refused("-", "no_key")
            await _unauthorized(out, "the API key is missing, wrong or no longer valid")
            return None
        entry.key = key.name
        if self._drain.began and self._drain.refuses:
            self._account.refused(key.name, "draining")
            retry = [(b"retry-after", b"1")]
            await answers.error(out.send, 503, "this server is ending; try again", headers=retry)
            return None
        met = self._usage.begin(key)
        if met is not None:
            what, seconds = met
            self._account.refused(key.name, "limit")
            retry = [(b"retry-after", str(seconds).encode())]
            await answers.error(out.send, 429, f"this key may have {what}", headers=retry)
            return None
        entry.admitted = key
        self._account.under_way.add(1)
        try:
            passed = await self._inspection.passed(scope, receive, headers, out, key)
        except BodyError as error:
            self._account.refused(key.name, "body" if error.status != 403 else "model")
            out.closes = error.status in (408, 413)
            if error.status == 413 and b"expect" not in headers.values:
                await bodies.discard(receive)
            await answers.error(out.send, error.status, error.message, parameter=error.parameter)
            return None
        self._account.passed_on(entry)
        return passed

    def _let_out(self, key: Key, scope: Scope, out: Outgoing) -> None:
        """A request that was let in has ended, in whatever way."""
        self._account.under_way.add(-1)
        self._usage.end(key, self._inspection.count(scope, out))

    def _admitted(self, headers: Headers) -> Key | None:
        ring = self._keys.now()
        if ring.open:
            return _ANYONE
        header, now = headers.values.get(b"authorization"), time.time()
        known = None if header is None else ring.known.get(header)
        if known is not None:
            return None if known.has_expired(now) else known
        presented = headers.credential()
        if presented is None:
            return None
        key = ring.find(presented, now)
        if key is None and ring.is_operator(presented):
            key = _OPERATOR
        if key is not None and header is not None:
            ring.remember(header, key)
        return key

    def _is_operator(self, presented: str) -> bool:
        return self._keys.now().is_operator(presented) or probe.shown(presented, self._probe_token)


async def _unauthorized(out: Outgoing, message: str) -> None:
    await answers.error(out.send, 401, message, headers=[(b"www-authenticate", b"Bearer")])
