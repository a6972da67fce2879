"""Headers of weights, safetensors and GGUF, and the shard index: bytes in, facts out. No I/O.

They are untrusted input: every length is bounded before it is read, nothing is read but the
header, and what contradicts itself is refused. The Hub's own library does not promise that.

Safetensors (github.com/huggingface/safetensors, README): eight bytes, the header's length as a
little-endian integer; the header, one JSON object; then the tensors' bytes without gaps. GGUF
(github.com/ggml-org/ggml, docs/gguf.md): magic, version, counts, then typed key-value pairs.
"""

import json
import math
import re
import struct
from collections.abc import Callable
from typing import Any

from deployctl.errors import ModelError
from deployctl.hub.jsonfile import lfs_pointer
from deployctl.model import TensorInfo

MAX_HEADER = 100_000_000  # bytes; the reference implementation's own limit
MAX_ELEMENTS = 2**62
_DTYPE = re.compile(r"[A-Za-z0-9_]{1,32}")
BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F8_E4M3FNUZ", "F8_E5M2FNUZ"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
    **{"F4": 4, "F6_E2M3": 6, "F6_E3M2": 6},
}
MAX_GGUF = 64 * 1024 * 1024  # vocabularies are the bulk of it: 5 to 15 MiB
MAX_PAIRS = 65_536
MAX_KEY = 65_535
MAX_TEXT = 64 * 1024  # a longer text (a chat template, say) is kept as its length
_CHUNK = 1024 * 1024
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?"}
_SCALARS |= {10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9


def header_length(first: bytes, file_size: int | None, where: str) -> int:
    """Reads the length of the header from a file's first bytes (eight or more).

    Raises:
        ModelError: the file is cut short, or the length cannot be true.
    """
    if first.startswith(b"version "):
        raise lfs_pointer(where)
    if len(first) < 8:
        raise _broken("the file is cut short: it has no header", where)
    length = int.from_bytes(first[:8], "little")
    if length > MAX_HEADER or length < 2:
        raise _broken(f"its header claims a length of {length} bytes", where)
    if file_size is not None and length > file_size - 8:
        raise _broken("the file is cut short: it ends inside its header", where)
    return length


def parse_header(header: bytes, file_size: int | None, where: str) -> tuple[TensorInfo, ...]:
    """Reads the tensors that a header lists, in the order of their bytes.

    Raises:
        ModelError: no JSON, no table of tensors, or it does not match the file.
    """
    try:
        table = json.loads(header.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise _broken("its header is not JSON", where) from error
    if not isinstance(table, dict):
        raise _broken("its header is not a table of tensors", where)
    rows = [_row(name, entry, where) for name, entry in table.items() if name != "__metadata__"]
    rows.sort(key=lambda row: row[:2])
    end = 0
    for start, stop, tensor in rows:
        if start != end:
            raise _broken(f"tensor {_name(tensor.name)} overlaps another, or leaves a gap", where)
        end = stop
    expected = 8 + len(header) + end
    if file_size is not None and file_size != expected:
        what = "cut short" if file_size < expected else "longer than its header says"
        raise _broken(f"the file is {what}: {file_size} bytes instead of {expected}", where)
    return tuple(tensor for _, _, tensor in rows)


def _row(name: str, entry: Any, where: str) -> tuple[int, int, TensorInfo]:
    shown = _name(name)
    if not isinstance(entry, dict):
        raise _broken(f"its header has no usable entry for tensor {shown}", where)
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or not _DTYPE.fullmatch(dtype):
        raise _broken(f"tensor {shown} has no dtype", where)
    if not (isinstance(shape, list) and len(shape) <= 64 and all(map(_count, shape))):
        raise _broken(f"tensor {shown} has no usable shape", where)
    if not (isinstance(offsets, list) and len(offsets) == 2 and all(map(_count, offsets))):
        raise _broken(f"tensor {shown} has no usable data_offsets", where)
    start, stop = offsets
    elements = math.prod(shape)
    held = (stop - start) * 8  # in whole numbers: a shape may be larger than any float
    wanted = elements * BITS[dtype] if dtype in BITS else held
    if stop < start or elements > MAX_ELEMENTS or held != wanted:
        raise _broken(f"tensor {shown}: dtype and shape do not match its bytes", where)
    tensor = TensorInfo.model_construct(
        name=name.encode("utf-8", "replace").decode("utf-8"),
        dtype=dtype,
        shape=tuple(shape),
        nbytes=stop - start,
    )
    return start, stop, tensor


def shards(index: dict[str, Any], where: str) -> dict[str, list[str]]:
    """Reads an index file: shard -> the tensors it should hold.

    Raises:
        ModelError: no usable `weight_map`.
    """
    table = index.get("weight_map")
    if not isinstance(table, dict) or not table:
        raise ModelError(
            "the index has no weight_map", where=where, hint="download the index again"
        )
    expected: dict[str, list[str]] = {}
    for tensor, shard in table.items():
        plain = isinstance(shard, str) and shard.isprintable() and 0 < len(shard) <= 255
        if not plain or "/" in shard or shard.startswith(".") or "\\" in shard:
            raise ModelError(
                f"tensor {_name(tensor)} is listed in {ascii(shard)[:80]}, which is not a file of "
                "this checkpoint",
                where=where,
                hint="download the index again",
            )
        expected.setdefault(shard, []).append(tensor)
    return expected


def _count(value: object) -> bool:
    return type(value) is int and 0 <= value <= MAX_ELEMENTS


def _name(name: str) -> str:
    return ascii(name if len(name) <= 100 else name[:97] + "...")


def _broken(message: str, where: str) -> ModelError:
    return ModelError(message, where=where, hint="download the file again")


def gguf_metadata(read: Callable[[int, int], bytes], where: str) -> dict[str, Any]:
    """Reads the pairs of a GGUF header; arrays become `{"length": n}`.

    `read(start, length)` gives bytes.

    Raises:
        ModelError: not GGUF, cut short, or impossible.
    """
    cursor = _Cursor(read, where)
    if cursor.take(4) != b"GGUF":
        raise _broken("this is not a GGUF file", where)
    version = cursor.number("<I")
    if version not in (2, 3):
        raise _broken(f"GGUF version {version} is not supported", where)
    tensors, pairs = cursor.number("<Q"), cursor.number("<Q")
    if pairs > MAX_PAIRS:
        raise _broken(f"its header claims {pairs} metadata entries", where)
    pairs_read: dict[str, Any] = {"gguf.version": version, "gguf.tensor_count": tensors}
    for _ in range(pairs):
        key = cursor.text(MAX_KEY)
        pairs_read[key] = cursor.value(cursor.number("<I"))
    return pairs_read


class _Cursor:
    """Reads forward in chunks, and never past MAX_GGUF."""

    def __init__(self, read: Callable[[int, int], bytes], where: str) -> None:
        self._read, self._where = read, where
        self._buffer, self._at, self._base = b"", 0, 0

    def take(self, count: int) -> bytes:
        if self._at + count > len(self._buffer):
            self._base += self._at
            if self._base + count > MAX_GGUF:
                raise _broken("its metadata is too large", self._where)
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
            data = self.take(min(length, MAX_GGUF + 1))
            if length > MAX_TEXT:
                return {"length": length}
            return data.decode("utf-8", "replace")
        if kind == _ARRAY:
            return {"length": self._skip_array()}
        raise _broken(f"its metadata has a value of unknown type {kind}", self._where)

    def _skip_array(self) -> int:
        kind, length = self.number("<I"), int(self.number("<Q"))
        if length > MAX_GGUF:
            raise _broken(f"its metadata has a list of {length} values", self._where)
        if kind in _SCALARS:
            self.take(length * struct.calcsize(_SCALARS[kind]))
        elif kind == _STRING:
            for _ in range(length):
                self.take(min(self.number("<Q"), MAX_GGUF + 1))
        else:
            raise _broken("its metadata has lists of lists", self._where)
        return length
