"""Door: an ASGI application before another one. Denies whatever is not allowed."""

import time
from collections.abc import Awaitable, Callable

from deployctl_door import answers, bodies, keys, origins, probe
from deployctl_door.account import Account
from deployctl_door.bodies import BodyError, ClientGoneError
from deployctl_door.configuration import Configuration
from deployctl_door.drain import Drain
from deployctl_door.exchange import App, Exchange, Message, Receive, Scope, Send
from deployctl_door.headers import Headers
from deployctl_door.inspection import Inspection
from deployctl_door.keyfolder import KeyFolder
from deployctl_door.keys import Key
from deployctl_door.limits import Usage
from deployctl_door.routes import OPERATOR, PREFLIGHT, PROBE, USER, Routes
from deployctl_door.underway import UnderWay

METRICS = "/metrics"
_ANYONE = Key(keys.ANYONE, "")  # where no key is needed
_OPERATOR = Key(keys.OPERATOR, "", operator=True)
_Answer = Callable[[Scope, Receive, Headers, Exchange], Awaitable[Send | None]]
_CLIENT_GONE = 499  # in the request log, as nginx has it
_FOREIGN = (
    "this service wants no key, so it answers no web page but its own and those of its machine; "
    "with a key (deployctl keys add), every page that has it is answered"
)


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
        self._counted = tuple(dict.fromkeys(path for _, path in configuration.user))
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
        headers = Headers(list(scope["headers"]))
        # In place, as applications do it: a scope is one request's.
        scope["headers"], scope["state"] = headers.pairs, {**scope.get("state", {})}
        found = self._routes.find(scope, headers)
        # Of what is not on the list, nothing that the client chose is kept.
        method, route = (scope["method"], found[1]) if found else ("-", "-")
        exchange = Exchange(headers.request_id(), method, route, receive, send, self._drain)
        if self._configuration.tell_request_id:
            scope["headers"] = headers.identified(exchange.request_id)
        try:
            answer = self._answers[found[0]] if found else self._nothing
            to = await answer(scope, receive, headers, exchange)
            del headers, found, answer  # or they would live as long as the request
            # From here, for each part of an answer is run through this function: the door has no
            # other under way then.
            if to is not None:
                await self._app(scope, exchange, to)
            exchange.status = exchange.status or _CLIENT_GONE  # nobody was there to be answered
        except ClientGoneError:
            exchange.status = _CLIENT_GONE
            self._account.refused(exchange.key, "client_gone")
        except BaseException:
            exchange.status = exchange.status or 500
            raise  # the engine's own, which its outermost handler answers
        finally:
            if exchange.admitted is not None:
                self._let_out(exchange.admitted, scope, exchange)
            self._account.ended(exchange)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._drain.begin_on_sigterm()
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            self._account.refused("-", "websocket")
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # becomes HTTP 403

    async def _nothing(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: Exchange
    ) -> None:
        self._account.refused("-", "no_such_route")
        await _read_on(receive, headers)
        await answers.error(exchange.send, 404, "there is nothing here")

    async def _probe(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: Exchange
    ) -> None:
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
        await answers.whole(exchange.send, status, b"")

    async def _preflight(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: Exchange
    ) -> None:
        """What the engine's CORS middleware says; nothing, where it has none that answers."""
        if self._keys.now().open and await self._refused_page(receive, headers, exchange):
            return
        answers_it = False

        async def of_cors(message: Message) -> None:
            nonlocal answers_it
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers") or ()}
                answers_it = b"access-control-allow-methods" in names
            if answers_it:
                await exchange.send(message)

        await self._app(scope, receive, of_cors)
        if not answers_it:
            await self._nothing(scope, receive, headers, exchange)

    async def _operator(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: Exchange
    ) -> Send | None:
        presented = headers.credential()
        if presented is None or not self._is_operator(presented):
            self._account.refused("-", "no_operator_token")
            await _unauthorized(receive, headers, exchange, "this route takes the operator's token")
            return None
        exchange.key = _OPERATOR.name
        if exchange.route != METRICS:
            return exchange.send
        # As text, for the door's own counters come behind the engine's.
        scope["headers"] = headers.without(b"accept-encoding", b"accept")
        return self._with_counters(exchange)

    def _with_counters(self, exchange: Exchange) -> Send:
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
                ring = self._keys.now()
                told = self._account.metrics(ring, self._counted, stale=self._keys.stale)
                message["body"] = message.get("body", b"") + told
            await exchange.send(message)

        return send

    async def _user(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: Exchange
    ) -> Send | None:
        """How the engine is to send, where it is called."""
        key = self._admitted(headers)
        if key is None:
            self._account.refused("-", "no_key")
            await _unauthorized(
                receive, headers, exchange, "the API key is missing, wrong or no longer valid"
            )
            return None
        if (
            key is _ANYONE
            and b"origin" in headers.values
            and await self._refused_page(receive, headers, exchange)
        ):
            return None
        exchange.key = key.name
        draining = self._drain.began and self._drain.refuses
        if draining or self._is_dead(scope):
            self._account.refused(key.name, "draining" if draining else "dead")
            await _read_on(receive, headers)
            retry = [(b"retry-after", b"1"), answers.NOT_BEGUN]
            await answers.error(
                exchange.send, 503, "this server is ending; try again", headers=retry
            )
            return None
        met = self._usage.begin(key)
        if met is not None:
            what, seconds = met
            self._account.refused(key.name, "limit")
            await _read_on(receive, headers)
            retry = [(b"retry-after", str(seconds).encode())]
            await answers.error(exchange.send, 429, f"this key may have {what}", headers=retry)
            return None
        exchange.admitted = key
        self._account.under_way.add(1)
        try:
            to = await self._inspection.passed(scope, receive, headers, exchange, key)
        except BodyError as error:
            self._account.refused(key.name, "body" if error.status != 403 else "model")
            exchange.closes = error.status in (408, 413)
            if error.status == 413:
                await _read_on(receive, headers)
            await answers.error(
                exchange.send, error.status, error.message, parameter=error.parameter
            )
            return None
        self._account.passed_on(exchange)
        return to

    async def _refused_page(self, receive: Receive, headers: Headers, exchange: Exchange) -> bool:
        """Turns a web page away that is not to ask where no key is wanted."""
        if not origins.is_foreign(headers.one(b"origin"), headers.one(b"host")):
            return False
        self._account.refused("-", "origin")
        await _read_on(receive, headers)
        await answers.error(exchange.send, 403, _FOREIGN)
        return True

    def _is_dead(self, scope: Scope) -> bool:
        """Whether the engine can answer nothing any more, and is about to end."""
        return False

    def _let_out(self, key: Key, scope: Scope, exchange: Exchange) -> None:
        """A request that was let in has ended, in whatever way."""
        self._account.under_way.add(-1)
        self._usage.end(key, self._inspection.count(scope, exchange))

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


async def _read_on(receive: Receive, headers: Headers) -> None:
    """So that who still sends a body hears the answer; one that waits to be asked for it does."""
    if b"expect" not in headers.values:
        await bodies.discard(receive)


async def _unauthorized(
    receive: Receive, headers: Headers, exchange: Exchange, message: str
) -> None:
    await _read_on(receive, headers)
    await answers.error(exchange.send, 401, message, headers=[(b"www-authenticate", b"Bearer")])
