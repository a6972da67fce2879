"""The metadata of a GGUF file: bytes in, a dict out. The format is llama.cpp's
(github.com/ggml-org/ggml, docs/gguf.md): magic, version, counts, then typed key-value pairs.
"""

import math
import struct
from collections.abc import Callable
from typing import Any

from deployctl.errors import ModelError

MAX_BYTES = 64 * 1024 * 1024  # vocabularies are the bulk of it: 5 to 15 MiB
MAX_PAIRS = 65_536
MAX_KEY = 65_535
MAX_TEXT = 64 * 1024  # a longer text (a chat template, say) is kept as its length
_CHUNK = 1024 * 1024
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"}
_SCALARS |= {10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


def metadata(read: Callable[[int, int], bytes], where: str) -> dict[str, Any]:
    """Reads the pairs. Arrays are given as `{"length": n}`; `read(start, length)` gives bytes.

    Raises:
        ModelError: not GGUF, cut short, or absurd.
    """
    cursor = _Cursor(read, where)
    if cursor.take(4) != b"GGUF":
        raise _broken("this is not a GGUF file", where)
    version = cursor.number("<I")
    if version not in (2, 3):
        raise _broken(f"GGUF version {version} is not known here", where)
    tensors, pairs = cursor.number("<Q"), cursor.number("<Q")
    if pairs > MAX_PAIRS:
        raise _broken(f"its header claims {pairs} metadata entries", where)
    found: dict[str, Any] = {"gguf.version": version, "gguf.tensor_count": tensors}
    for _ in range(pairs):
        key = cursor.text(MAX_KEY)
        found[key] = cursor.value(cursor.number("<I"))
    return found


class _Cursor:
    """Reads forward in chunks, and never past MAX_BYTES."""

    def __init__(self, read: Callable[[int, int], bytes], where: str) -> None:
        self._read, self._where = read, where
        self._buffer, self._at, self._base = b"", 0, 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._buffer):
            self._base += self._at
            if self._base + count > MAX_BYTES:
                raise _broken("its metadata is absurdly large", self._where)
            self._buffer, self._at = self._read(self._base, max(count, _CHUNK)), 0
            if len(self._buffer) < count:
                raise _broken("the file is cut short: it ends inside its metadata", self._where)
        data = self._buffer[self._at : self._at + count]
        self._at += count
        return data

    def number(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def text(self, limit: int) -> str:
        length = self.number("<Q")
        if length > limit:
            raise _broken(f"its metadata has a name of {length} bytes", self._where)
        return self.take(length).decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind in _SCALARS:
            number = self.number(_SCALARS[kind])
            finite = not isinstance(number, float) or math.isfinite(number)
            return number if finite else str(number)
        if kind == _STRING:
            length = self.number("<Q")
            data = self.take(min(length, MAX_BYTES + 1))
            if length > MAX_TEXT:
                return {"length": length}
            return data.decode("utf-8", "replace")
        if kind == _ARRAY:
            return {"length": self._skip_array()}
        raise _broken(f"its metadata has a value of unknown type {kind}", self._where)

    def _skip_array(self) -> int:
        kind, length = self.number("<I"), int(self.number("<Q"))
        if length > MAX_BYTES:
            raise _broken(f"its metadata has a list of {length} values", self._where)
        if kind in _SCALARS:
            self.take(length * struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING:
            for _ in range(length):
                self.take(min(self.number("<Q"), MAX_BYTES + 1))
        else:
            raise _broken("its metadata has lists of lists", self._where)
        return length


def _broken(message: str, where: str) -> ModelError:
    return ModelError(message, where=where, hint="download the file again")
