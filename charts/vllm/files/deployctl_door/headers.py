"""A request's headers, as a door reads them: a header that is given twice is nobody's word."""

import os
import re

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Headers:
    """The headers of one request. Values are latin-1 text, which keeps every byte."""

    __slots__ = ("_pairs", "_twice", "_values")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self._values: dict[bytes, bytes] = {}
        self._twice: set[bytes] = set()
        for name, value in pairs:
            lower = name.lower()
            if lower in self._values:
                self._twice.add(lower)
            self._values[lower] = value

    def __contains__(self, name: bytes) -> bool:
        return name in self._values

    def one(self, name: bytes) -> str | None:
        """The value of a header; None where it is missing, or given more than once."""
        value = self._values.get(name)
        return None if value is None or name in self._twice else value.decode("latin-1")

    def credential(self) -> str | None:
        """What is presented as `Authorization: Bearer …`, or where that is missing, x-api-key."""
        if b"authorization" not in self._values:
            return self.one(b"x-api-key")
        scheme, _, value = (self.one(b"authorization") or "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def length(self) -> int | None:
        """Content-Length, where it is a number."""
        text = self.one(b"content-length")
        return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None

    def request_id(self) -> str:
        """The client's own X-Request-Id, or where that is none to repeat, a new one."""
        given = self.one(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return os.urandom(16).hex()

    def with_length(self, length: int) -> list[tuple[bytes, bytes]]:
        """The same for a body of another length."""
        return [
            *self.without(b"content-length", b"transfer-encoding"),
            (b"content-length", str(length).encode()),
        ]

    def without(self, *names: bytes) -> list[tuple[bytes, bytes]]:
        """The headers but those."""
        return [pair for pair in self._pairs if pair[0].lower() not in names]
