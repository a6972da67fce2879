"""A request's headers, as a door reads them: a header that is given twice is nobody's word."""

import os
import re

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_IDS: list[str] = []  # new ones, which are made many at a time


class Headers:
    """The headers of one request, by name in lower case; None: given more than once.

    Text of them is latin-1, which keeps every byte.
    """

    __slots__ = ("pairs", "values")

    def __init__(self, pairs: list[tuple[bytes, bytes]]) -> None:
        self.pairs = pairs
        # Servers send them in lower case, and each name but once: then nothing is done by name.
        self.values: dict[bytes, bytes | None] = dict(pairs)
        names = b"\n".join(self.values)
        if len(self.values) != len(pairs) or names != names.lower():
            self._merge()

    def _merge(self) -> None:
        """Brings together the names that are one but for their case, or are given twice."""
        self.values = values = {}
        for name, value in self.pairs:
            lower = name.lower()
            values[lower] = None if lower in values else value

    def one(self, name: bytes) -> str | None:
        """The text of a header; None where it is missing, or given more than once."""
        value = self.values.get(name)
        return None if value is None else value.decode("latin-1")

    def credential(self) -> str | None:
        """What is presented as `Authorization: Bearer …`, or where that is missing, x-api-key."""
        if b"authorization" not in self.values:
            return self.one(b"x-api-key")
        scheme, _, value = (self.one(b"authorization") or "").partition(" ")
        return value.strip() or None if scheme.lower() == "bearer" else None

    def length(self) -> int:
        """Content-Length; 0 where it is no number."""
        text = self.one(b"content-length")
        return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else 0

    def request_id(self) -> str:
        """The client's own X-Request-Id, or where that is none to repeat, a new one."""
        if b"x-request-id" in self.values:
            given = self.one(b"x-request-id")
            if given is not None and _REQUEST_ID.fullmatch(given):
                return given
        if not _IDS:
            _IDS.extend(os.urandom(16).hex() for _ in range(256))
        return _IDS.pop()

    def with_length(self, length: int) -> list[tuple[bytes, bytes]]:
        """The same for a body of another length."""
        return [
            *self.without(b"content-length", b"transfer-encoding"),
            (b"content-length", str(length).encode()),
        ]

    def without(self, *names: bytes) -> list[tuple[bytes, bytes]]:
        """The headers but those."""
        return [pair for pair in self.pairs if pair[0].lower() not in names]

    def identified(self, request_id: str) -> list[tuple[bytes, bytes]]:
        """The same with this id, whatever the client's was: from now on they are these."""
        rest = self.without(b"x-request-id")
        self.pairs = [*rest, (b"x-request-id", request_id.encode())]
        return self.pairs
