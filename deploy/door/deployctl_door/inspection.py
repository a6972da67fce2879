"""What a user's request is held against before the engine has it, and what it took once it is over.

Where the engine tells usage beside its answers, as vLLM does, parts of an answer pass without a
look. That is found out as it goes: a route whose last answer told nothing is asked for usage in the
answer itself.
"""

from deployctl_door import bodies, forms, tokens
from deployctl_door.bodies import BodyError
from deployctl_door.configuration import BodyLimits
from deployctl_door.exchange import Exchange, Receive, Scope, Send
from deployctl_door.headers import Headers
from deployctl_door.keys import Key

FORMS = frozenset({"/v1/audio/transcriptions", "/v1/audio/translations"})


class Inspection:
    """Looks at requests on their way in, and counts their tokens."""

    def __init__(self, limits: BodyLimits) -> None:
        self._limits = limits
        self._reading = bodies.Reading(limits)
        # Routes, and whether it was a stream, whose last answer told usage beside it.
        self._telling: set[tuple[str, bool]] = set()

    async def passed(
        self, scope: Scope, receive: Receive, headers: Headers, exchange: Exchange, key: Key
    ) -> Send:
        """Reads the body, and holds it against limits and key: how the engine is to send.

        Raises:
            BodyError: it is not called.
            ClientGoneError: there is nobody to be answered.
        """
        limits = self._limits
        if scope["method"] in ("GET", "HEAD", "DELETE"):
            return exchange.send
        form = _is_form(headers, exchange.route)
        body = await self._reading.read(receive, headers)
        hide = False
        if form:
            exchange.model = _model_of_form(body, headers, sure=key.models is not None)
        else:
            document = bodies.parse(body, limits, exchange.route)
            if not key.operator:
                bodies.check_own(document, exchange.route)
            model, words = document.get("model"), {}
            exchange.model = model if isinstance(model, str) else None
            exchange.streams = document.get("stream") is True
            if limits.tokens is not None:
                words = bodies.at_most(document, limits.tokens, exchange.route)
            if exchange.streams and (exchange.route, True) not in self._telling:
                asking = tokens.asking(document, exchange.route)
                hide, words = bool(asking), {**words, **asking}
            if words:
                body = bodies.with_words(body, document, words)
                scope["headers"] = headers.with_length(len(body))
        if key.models is not None and exchange.model not in key.models:
            raise BodyError(403, f"this key may ask {', '.join(key.models) or 'no model'}", "model")
        exchange.body = body
        if (exchange.route, exchange.streams) in self._telling:
            return exchange.pass_on
        exchange.counter = tokens.Counter(hide=hide)
        return exchange.send

    def count(self, scope: Scope, exchange: Exchange) -> int:
        """The tokens of a request that has ended, in whatever way."""
        told = tokens.told(scope)
        if told is not None:
            exchange.input, exchange.output = told
            self._telling.add((exchange.route, exchange.streams))
        else:
            exchange.count()
            if exchange.status == 200:
                self._telling.discard((exchange.route, exchange.streams))
        return exchange.input + exchange.output


def _is_form(headers: Headers, route: str) -> bool:
    """Whether the body is a form, and not JSON.

    Raises:
        BodyError: it is neither, or not what the route takes (415).
    """
    values, form = headers.values, route in FORMS
    if values.get(b"content-encoding", b"identity") != b"identity":
        raise BodyError(415, "a body is not to be compressed")
    if not form and values.get(b"content-type") == b"application/json":
        return False
    kind = headers.one(b"content-type")
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
