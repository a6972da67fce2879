"""Reads a request's body within its limits, and looks at what it asks for."""

import asyncio
import contextlib
import json
import math
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deployctl_door.configuration import BodyLimits
from deployctl_door.headers import Headers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_COUNTS = ("n", "best_of")
_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens")
_LOGPROBS = ("logprobs", "top_logprobs", "prompt_logprobs")
# Lists of what is worked on one by one.
_LISTS = ("prompt", "input", "documents", "queries", "items", "texts", "images", "inputs")
_PAIRS = ("text_1", "text_2", "data_1", "data_2")
# Which limit a name is held to.
_LIMITS = {
    **dict.fromkeys(_COUNTS, "n"),
    **dict.fromkeys(_TOKENS, "tokens"),
    **dict.fromkeys(_LOGPROBS, "logprobs"),
    **dict.fromkeys((*_LISTS, *_PAIRS, "messages"), "prompts"),
}
# Where an engine fetches or leaves what it has computed: addresses of hosts, numbers of blocks that
# may be another's. Between engines that work together, and no word of a user's.
_STEERING = ("kv_transfer_params", "ec_transfer_params")
_MORE_ARGUMENTS = "vllm_xargs"  # are laid over the same
_NOT_ALL = frozenset({*_STEERING, _MORE_ARGUMENTS, "previous_response_id"})
RESPONSES = "/v1/responses"  # whose `input` is one conversation
# By which names a route is told how much to generate at most: the first is put in where a request
# has none of them.
_AT_MOST = {
    "/v1/chat/completions": ("max_completion_tokens", "max_tokens"),
    "/v1/completions": ("max_tokens",),
    RESPONSES: ("max_output_tokens",),
}
_SPACE = " \t\n\r"  # of JSON, and no other
_NOT_JSON = "the body is not JSON that this server reads"
LINGER_S, QUIET_S = 5.0, 0.5  # how long the rest of a body is read, and how long waited for


class BodyError(Exception):
    """A body that the engine does not get to see."""

    def __init__(self, status: int, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.parameter = parameter


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


class Reading:
    """Reads bodies within their limits. One timer is there for all of them, since nearly every body
    is whole when it is asked for.
    """

    def __init__(self, limits: BodyLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._digits = len(str(limits.bytes))  # of a length that could be above the limit
        # Who reads, and until when at most: the oldest first.
        self._ends: dict[asyncio.Task[Any] | None, float] = {}
        self._late: set[asyncio.Task[Any] | None] = set()
        self._watched: asyncio.AbstractEventLoop | None = None  # the loop that has the timer

    async def read(self, receive: Receive, headers: Headers) -> bytes:
        """The whole body of a request with those headers.

        Raises:
            BodyError: it is larger than the limit (413), or takes too long (408).
            ClientGoneError: the client hung up.
        """
        most, seconds = self._limits.bytes, self._limits.seconds
        announced = headers.values.get(b"content-length")
        # One of fewer digits is below the limit.
        if announced is not None and len(announced) >= self._digits and headers.length() > most:
            raise BodyError(413, f"the body is larger than {most} bytes")
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        self._ends[task] = self._clock() + seconds
        if self._watched is not loop:
            self._watched = loop
            loop.call_later(seconds, self._give_up, loop)
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    raise ClientGoneError
                part = message.get("body", b"")
                size += len(part)
                if size > most:
                    raise BodyError(413, f"the body is larger than {most} bytes")
                if not message.get("more_body", False):
                    return b"".join([*parts, part]) if parts else part
                parts.append(part)
        except asyncio.CancelledError as error:
            # Python 3.10 does not count who else cancelled it.
            if task not in self._late:
                raise
            self._late.discard(task)
            if getattr(task, "uncancel", int)():
                raise
            raise BodyError(408, f"the body did not come in within {seconds:g} s") from error
        finally:
            self._ends.pop(task, None)

    def _give_up(self, loop: asyncio.AbstractEventLoop) -> None:
        """Cancels whoever is late, and looks again when the next one would be."""
        now = self._clock()
        for task, end in list(self._ends.items()):
            if end > now:
                loop.call_later(end - now, self._give_up, loop)
                return
            del self._ends[task]
            self._late.add(task)
            if task is not None:
                task.cancel()
        self._watched = None


async def discard(receive: Receive) -> None:
    """Reads on while a client sends what is not wanted: it hears an answer only after that, and a
    connection that is closed before is reset, with the answer in it."""
    loop = asyncio.get_running_loop()
    end = loop.time() + LINGER_S
    with contextlib.suppress(asyncio.TimeoutError):
        while (left := end - loop.time()) > 0:
            message = await asyncio.wait_for(receive(), min(left, QUIET_S))
            if not message.get("more_body", False):
                return


def parse(body: bytes, limits: BodyLimits, route: str = "") -> dict[str, Any]:
    """The JSON object that a body is, within the limits.

    What two readers could take for different things is refused: a name that is given twice in an
    object, a text that is not UTF-8, a number that is none of JSON's.

    Raises:
        BodyError: it is none, or asks for too much (400).
    """
    try:
        text = body.decode().strip(_SPACE)
        document, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise BodyError(400, _NOT_JSON) from error
    if end != len(text):
        raise BodyError(400, _NOT_JSON)
    if not isinstance(document, dict):
        raise BodyError(400, "the body is no JSON object")
    if body.count(b"{") + body.count(b"[") > limits.depth:  # it could be as deep
        _check_depth(document, limits.depth)
    for name, value in document.items():
        limit = _LIMITS.get(name)
        if limit == "prompts":
            if name != "input" or route != RESPONSES:
                _check_list(name, value, limits.prompts)
        elif limit is not None and (most := getattr(limits, limit)) is not None:
            _check_number(name, value, most)
    stream = document.get("stream")
    if stream is not None and stream is not True and stream is not False:
        # An engine that takes 1 for true would stream without telling what it cost.
        raise BodyError(400, "stream is no boolean", "stream")
    return document


def check_own(document: dict[str, Any], route: str) -> None:
    """That a request goes on with no stored response, which may be another's, and moves no KV
    cache between engines.

    Raises:
        BodyError: it does (403).
    """
    if _NOT_ALL.isdisjoint(document):
        return
    name = "previous_response_id"
    if route == RESPONSES and document.get(name) is not None:
        raise BodyError(403, "stored responses are for the operator alone", name)
    more = document.get(_MORE_ARGUMENTS)
    for name in _STEERING:
        if document.get(name) is not None or (isinstance(more, dict) and name in more):
            raise BodyError(403, f"{name} is for the operator alone", name)


def at_most(document: dict[str, Any], most: int, route: str) -> dict[str, Any]:
    """What is to be put into a request so that it generates no more tokens than that, where it does
    not say how much: an engine would go on to the end of the context."""
    names = _AT_MOST.get(route, ())
    if not names or any(document.get(each) for each in names):
        return {}
    # 0 is an answer of no tokens, or none that counts: other names are looked at then.
    zero = document.get(names[0]) == 0 and len(names) == 1
    return {} if zero else {names[0]: most}


def with_words(body: bytes, document: dict[str, Any], words: dict[str, Any]) -> bytes:
    """The body with these in it; the rest stays as it was sent where none of them is there.

    `document` is what the body says, without a name given twice.
    """
    if document.keys() & words.keys():
        return json.dumps({**document, **words}).encode()
    more = _ENCODER.encode(words)[1:-1].encode()
    rest = body[body.index(b"{") + 1 :]
    return b"{" + more + (b"," if document else b"") + rest


def _check_number(name: str, value: Any, most: float) -> None:
    if value is None or isinstance(value, bool):
        return
    if isinstance(value, str):  # some readers take "999" for a number
        raise BodyError(400, f"{name} is no number", name)
    # Below 0 some mean: all there are.
    if isinstance(value, (int, float)) and not 0 <= value <= most:
        raise BodyError(400, f"{name} must be between 0 and {most:g}", name)


def _check_list(name: str, value: Any, most: int) -> None:
    if isinstance(value, dict):  # of a score: what older engines take for several
        value = value.get("content")
    if not isinstance(value, list) or len(value) <= most:
        return
    # A list of numbers is one prompt's tokens, and one of messages one conversation.
    one = not isinstance(value[0], list) if name == "messages" else type(value[0]) is int
    if not one:
        raise BodyError(400, f"{name} has more than {most} entries", name)


def _check_depth(document: Any, most: int) -> None:
    level = [document]
    for _ in range(most):
        level = [
            inner
            for each in level
            for inner in (each.values() if isinstance(each, dict) else each)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return
    raise BodyError(400, f"the body is nested more than {most} levels deep")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise BodyError(400, "the body has a name twice in one object")
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError("larger than a number can be")
    return number


# As json.loads and json.dumps, which make one of each for every call with options.
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_DECODER = json.JSONDecoder(object_pairs_hook=_once, parse_constant=_no_number, parse_float=_finite)
