"""What is sent beside prompts: headers, more fields of the body; and which CA is trusted."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deployctl.endpoint import Endpoint
from deployctl.errors import InputError

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, RFC 9110 section 5.6.2
_OURS = {"authorization", "content-type", "accept-encoding", "content-length", "host", "accept"}
# What the measure rests on: without them there is no stream, or no count of tokens.
_FIXED = {"stream", "stream_options", "messages", "prompt", "model"}


def with_flags(endpoint: Endpoint, headers: Sequence[str] | None, ca_file: Path | None) -> Endpoint:
    """The endpoint with the headers and the CA that were given.

    Raises:
        InputError: a header or file that is none.
    """
    given = dict(_header(text) for text in headers or [])
    wired = endpoint._replace(ca_file=ca_file.absolute() if ca_file else None, headers=given)
    wired.trust()
    if wired.ca_file and not endpoint.url.startswith("https:"):
        raise InputError("--ca-file goes with an https address", where=endpoint.url)
    return wired


def extra_body(text: str | None) -> dict[str, Any]:
    """More fields of each request.

    Raises:
        InputError: it is no JSON object, or has fields that are not its to set.
    """
    if text is None:
        return {}
    where = "--extra-body"
    if text.startswith("@"):
        where = text[1:]
        text = _read(Path(where))
    try:
        document = json.loads(text)
    except ValueError as error:
        raise InputError(f"not JSON: {error}", where=where) from error
    if not isinstance(document, dict):
        raise InputError("not a JSON object", where=where, hint='write {"top_p": 0.9}')
    if taken := sorted(document.keys() & _FIXED):
        raise InputError(f"{taken[0]} is not to be changed", where=where)
    return document


def _header(text: str) -> tuple[str, str]:
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not colon or not _NAME.fullmatch(name):
        # What was given may be a secret: it is not repeated.
        raise InputError("this is no header", where="--header", hint="write 'Name: value'")
    where = f"--header {name}"
    if name.lower() in _OURS:
        hint = "give --api-key-file" if name.lower() == "authorization" else "leave it out"
        raise InputError(f"{name} is set by deployctl", where="--header", hint=hint)
    if value.startswith("@"):
        where = value[1:]
        value = _read(Path(where)).strip()
    if not value.isprintable() or not value.isascii():
        raise InputError("a header's value is one line of ASCII", where=where)
    return name, value


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot be read: {getattr(error, 'strerror', None) or 'not text'}", where=str(file)
        ) from error
