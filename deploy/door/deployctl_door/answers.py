"""The door's own answers, in the shape of OpenAI's errors."""

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

# Of a request that the engine never saw: the gateway before it may send it again.
NOT_BEGUN = (b"x-deployctl-refused", b"not-begun")
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "invalid_request_error",
    415: "invalid_request_error",
    429: "rate_limit_error",
    503: "service_unavailable",
}
_CODES = {401: "invalid_api_key", 404: "not_found", 429: "rate_limit_exceeded"}


async def error(
    send: Send,
    status: int,
    message: str,
    *,
    parameter: str | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answers with an error and nothing of the engine's."""
    document = {
        "error": {
            "message": message,
            "type": _KINDS[status],
            "param": parameter,
            "code": _CODES.get(status),
        }
    }
    body = json.dumps(document, ensure_ascii=True).encode()
    await whole(send, status, body, [(b"content-type", b"application/json"), *headers])


async def whole(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = ()
) -> None:
    """Answers in one piece."""
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})
