"""Door: an ASGI application before another one. Denies whatever is not allowed."""

import time

from deployctl_door import answers, bodies, forms, keys, probe, tokens
from deployctl_door.account import Account, Entry
from deployctl_door.bodies import BodyError, ClientGoneError
from deployctl_door.configuration import Configuration
from deployctl_door.drain import Drain
from deployctl_door.headers import Headers
from deployctl_door.keyfolder import KeyFolder
from deployctl_door.keys import Key
from deployctl_door.limits import Usage
from deployctl_door.outgoing import App, Message, Outgoing, Receive, Request, Scope, Send
from deployctl_door.routes import OPERATOR, PREFLIGHT, PROBE, USER, Routes
from deployctl_door.underway import UnderWay

METRICS = "/metrics"
FORMS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})
_ANYONE = Key(keys.ANYONE, "")  # where no key is needed
_OPERATOR = Key(keys.OPERATOR, "")
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
        self._drain = Drain(configuration.drain_file, configuration.drain_after_s)
        self._answers = {
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
        # The dictionary is the door's own from here on.
        scope = {**scope, "headers": list(scope["headers"])}
        headers = Headers(scope["headers"])
        found = self._routes.find(scope, headers)
        # Of what is not on the list, nothing that the client chose is kept.
        method, route = (scope["method"], found[1]) if found else ("-", "-")
        entry = Entry(headers.request_id(), method, route)
        out = Outgoing(send, entry, self._drain)
        try:
            answer = self._answers[found[0]] if found else self._nothing
            await answer(Request(scope, receive, out, headers, entry))
            entry.status = entry.status or _CLIENT_GONE  # nobody was there to be answered
        except ClientGoneError:
            entry.status = _CLIENT_GONE
            self._account.refused(entry.key, "client_gone")
        except BaseException:
            entry.status = entry.status or 500
            raise  # the engine's own, which its outermost handler answers
        finally:
            self._account.ended(entry)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            self._drain.begin_on_sigterm()
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            self._account.refused("-", "websocket")
            await receive()
            await send({"type": "websocket.close", "code": 1008})  # becomes HTTP 403

    async def _nothing(self, request: Request) -> None:
        self._account.refused("-", "no_such_route")
        await answers.error(request.out.send, 404, "there is nothing here")

    async def _probe(self, request: Request) -> None:
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
        await answers.whole(request.out.send, status, b"")

    async def _preflight(self, request: Request) -> None:
        """What the engine's CORS middleware says; nothing, where it has none that answers."""
        answers_it = False

        async def of_cors(message: Message) -> None:
            nonlocal answers_it
            if message["type"] == "http.response.start":
                names = {name.lower() for name, _ in message.get("headers") or ()}
                answers_it = b"access-control-allow-methods" in names
            if answers_it:
                await request.out.send(message)

        await self._app(request.scope, request.receive, of_cors)
        if not answers_it:
            await self._nothing(request)

    async def _operator(self, request: Request) -> None:
        scope, receive, out, headers, entry = request
        presented = headers.credential()
        if presented is None or not self._is_operator(presented):
            self._account.refused("-", "no_operator_token")
            await _unauthorized(out, "this route takes the operator's token")
            return
        entry.key = _OPERATOR.name
        if entry.route != METRICS:
            await self._app(scope, receive, out.send)
            return
        # As text, for the door's own counters come behind the engine's.
        scope["headers"] = headers.without(b"accept-encoding", b"accept")
        await self._app(scope, receive, self._with_counters(out))

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

    async def _user(self, request: Request) -> None:
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
            await answers.error(out.send, 503, "this server is ending; try again", headers=retry)
            return
        met = self._usage.begin(key)
        if met is not None:
            what, seconds = met
            self._account.refused(key.name, "limit")
            retry = [(b"retry-after", str(seconds).encode())]
            await answers.error(out.send, 429, f"this key may have {what}", headers=retry)
            return
        self._account.under_way.add(1)
        try:
            passed = await self._looked_at(request, key)
            self._account.passed_on(entry)
            await self._app(*passed, out.send)
        except BodyError as error:
            self._account.refused(key.name, "body" if error.status != 403 else "model")
            out.closes = error.status in (408, 413)
            if error.status == 413 and b"expect" not in headers:
                await bodies.discard(request.receive)
            await answers.error(out.send, error.status, error.message, parameter=error.parameter)
        finally:
            self._account.under_way.add(-1)
            out.end()
            self._usage.end(key, entry.input + entry.output)

    def _admitted(self, headers: Headers) -> Key | None:
        ring = self._keys.now()
        if ring.open:
            return _ANYONE
        presented = headers.credential()
        if presented is None:
            return None
        key = ring.find(presented, time.time())
        return _OPERATOR if key is None and ring.is_operator(presented) else key

    def _is_operator(self, presented: str) -> bool:
        return self._keys.now().is_operator(presented) or probe.shown(presented, self._probe_token)

    async def _looked_at(self, request: Request, key: Key) -> tuple[Scope, Receive]:
        """Reads the body, and holds it against limits and key: what the engine gets.

        Raises:
            BodyError: it does not get that.
            ClientGoneError: there is nobody to be answered.
        """
        scope, receive, out, headers, entry = request
        if scope["method"] in ("GET", "HEAD", "DELETE"):
            return scope, receive
        form = _is_form(headers, entry.route)
        limits = self._configuration.body
        body = await bodies.read(receive, limits, headers.length())
        hide = False
        if form:
            entry.model = _model_of_form(body, headers, sure=key.models is not None)
        else:
            document = bodies.parse(body, limits, entry.route)
            model = document.get("model")
            entry.model = model if isinstance(model, str) else None
            if key is not _OPERATOR:
                bodies.check_own(document, entry.route)
            asking = tokens.asking(document, entry.route)
            hide = bool(asking)
            if words := {**bodies.at_most(document, limits, entry.route), **asking}:
                body = bodies.with_words(body, document, words)
                scope["headers"] = headers.with_length(len(body))
        if key.models is not None and entry.model not in key.models:
            raise BodyError(403, f"this key may ask {', '.join(key.models) or 'no model'}", "model")
        out.counter = tokens.Counter(hide=hide)
        return scope, bodies.again(body, receive)


def _is_form(headers: Headers, route: str) -> bool:
    """Whether the body is a form, and not JSON.

    Raises:
        BodyError: it is neither, or not what the route takes (415).
    """
    if b"content-encoding" in headers and headers.one(b"content-encoding") != "identity":
        raise BodyError(415, "a body is not to be compressed")
    kind = headers.one(b"content-type")
    form = route in FORMS
    takes = "multipart/form-data" if form else "application/json"
    if kind is None or (kind != takes and kind.partition(";")[0].strip().lower() != takes):
        raise BodyError(415, f"the body is to be {takes}")
    return form


def _model_of_form(body: bytes, headers: Headers, *, sure: bool) -> str | None:
    try:
        return forms.field(body, headers.one(b"content-type") or "", "model")
    except forms.FormError as error:
        if sure:
            raise BodyError(400, f"the form cannot be read: {error}") from error
        return None


async def _unauthorized(out: Outgoing, message: str) -> None:
    await answers.error(out.send, 401, message, headers=[(b"www-authenticate", b"Bearer")])
