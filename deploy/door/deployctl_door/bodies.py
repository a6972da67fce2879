"""Reads a request's body within its limits, and looks at what it asks for."""

import asyncio
import email
import email.policy
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from deployctl_door.configuration import BodyLimits

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

_TOKENS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "min_tokens")
_COUNTS = ("n", "best_of")
_LOGPROBS = ("logprobs", "top_logprobs", "prompt_logprobs")
# Lists of what is worked on one by one.
_LISTS = (
    "prompt",
    "input",
    "documents",
    "queries",
    "text_1",
    "text_2",
    "texts",
    "data_1",
    "data_2",
)


class BodyError(Exception):
    """A body that the engine does not get to see."""

    def __init__(self, status: int, message: str, parameter: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.parameter = parameter


class ClientGoneError(Exception):
    """The client hung up before its request was whole."""


async def read(receive: Receive, limits: BodyLimits, announced: int | None) -> bytes:
    """The whole body. `announced` is its Content-Length, if there is one.

    Raises:
        BodyError: it is larger than the limit (413), or takes too long (408).
        ClientGoneError: the client hung up.
    """
    if announced is not None and announced > limits.bytes:
        raise BodyError(413, f"the body is larger than {limits.bytes} bytes")
    try:
        return await asyncio.wait_for(_all(receive, limits), limits.seconds)
    except asyncio.TimeoutError as error:  # noqa: UP041  another class before Python 3.11
        raise BodyError(408, f"the body did not come in within {limits.seconds:g} s") from error


async def _all(receive: Receive, limits: BodyLimits) -> bytes:
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGoneError
        part = message.get("body", b"")
        size += len(part)
        if size > limits.bytes:
            raise BodyError(413, f"the body is larger than {limits.bytes} bytes")
        parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


def parse(body: bytes, limits: BodyLimits) -> dict[str, Any]:
    """The JSON object that a body is, within the limits.

    A name that is given twice in an object is refused: two readers could take either.

    Raises:
        BodyError: it is none, or asks for too much (400).
    """
    try:
        document = json.loads(body, object_pairs_hook=_once, parse_constant=_no_number)
    except BodyError:
        raise
    except (ValueError, RecursionError) as error:
        raise BodyError(400, "the body is not JSON that this server reads") from error
    if not isinstance(document, dict):
        raise BodyError(400, "the body is no JSON object")
    _check_depth(document, limits.depth)
    for names, most in (
        (_COUNTS, limits.n),
        (_TOKENS, limits.tokens),
        (_LOGPROBS, limits.logprobs),
    ):
        for name in names:
            _check_number(document, name, most)
    for name in _LISTS:
        value = document.get(name)
        # A list of numbers is one prompt's tokens.
        if (
            isinstance(value, list)
            and len(value) > limits.prompts
            and not isinstance(value[0], int)
        ):
            raise BodyError(400, f"{name} has more than {limits.prompts} entries", name)
    return document


def _check_number(document: dict[str, Any], name: str, most: float | None) -> None:
    value = document.get(name)
    if most is None or value is None or isinstance(value, bool):
        return
    if isinstance(value, (int, float)) and value > most:
        raise BodyError(400, f"{name} is {value}, and at most {most:g} are allowed", name)
    if isinstance(value, str):  # some readers take "999" for a number
        raise BodyError(400, f"{name} is no number", name)


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


def form_field(body: bytes, content_type: str, name: str) -> str | None:
    """A text field of a multipart form; None where it is missing, or given more than once."""
    header = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    form = email.message_from_bytes(header + body, policy=email.policy.HTTP)
    values = [
        part.get_payload(decode=True)
        for part in (form.iter_parts() if form.is_multipart() else ())
        if part.get_param("name", header="content-disposition") == name
    ]
    if len(values) != 1 or not isinstance(values[0], bytes):
        return None
    return values[0].decode("utf-8", "replace").strip()
