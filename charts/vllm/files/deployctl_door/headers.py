"""A request's headers, as a door reads them: a header that is given twice is nobody's word."""

import re
import uuid

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class Headers:
    """The headers of one request. Values are latin-1 text, which keeps every byte."""

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self._pairs = pairs
        self._values: dict[bytes, list[bytes]] = {}
        for name, value in pairs:
            self._values.setdefault(name.lower(), []).append(value)

    def all(self, name: bytes) -> list[str]:
        """Every value of a header."""
        return [value.decode("latin-1") for value in self._values.get(name, ())]

    def one(self, name: bytes) -> str | None:
        """The value of a header; None where it is missing, or given more than once."""
        values = self._values.get(name, ())
        return values[0].decode("latin-1") if len(values) == 1 else None

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
        return uuid.uuid4().hex

    def with_length(self, length: int) -> list[tuple[bytes, bytes]]:
        """The same for a body of another length."""
        return [
            *self.without(b"content-length", b"transfer-encoding"),
            (b"content-length", str(length).encode()),
        ]

    def without(self, *names: bytes) -> list[tuple[bytes, bytes]]:
        """The headers but those."""
        return [pair for pair in self._pairs if pair[0].lower() not in names]
