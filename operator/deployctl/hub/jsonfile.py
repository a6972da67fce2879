"""JSON documents of a checkpoint, read with distrust: size, nesting, encoding, odd numbers.

They are untrusted, and `json` alone lets a file of any size, NaN and Infinity through.
"""

import json
import math
from typing import Any

from deployctl.errors import ModelError
from deployctl.units import size

MAX_DEPTH = 64  # the deepest published config nests 10 levels
_BOM = b"\xef\xbb\xbf"


def parse_object(data: bytes, where: str) -> dict[str, Any]:
    """Reads one JSON object. NaN, Infinity and their like become text, which no field accepts.

    Published configs do hold `Infinity` (in fields nobody plans with), and JSON output cannot.

    Raises:
        ModelError: not UTF-8, not JSON (with line and column), not an object, too deep.
    """
    if data.startswith(_BOM):
        raise ModelError(
            "the file begins with a byte order mark, which the engine refuses",
            where=where,
            hint="save it as UTF-8 without BOM",
        )
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ModelError(
            f"the file is not UTF-8 text (byte {error.start})",
            where=where,
            hint="download it again; a checkpoint's JSON is UTF-8",
        ) from error
    if text.startswith("version https://git-lfs"):
        raise lfs_pointer(where)
    try:
        value = json.loads(text, parse_constant=str, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise ModelError(
            f"not JSON: {error.msg[0].lower()}{error.msg[1:]}",
            where=f"{where}:{error.lineno}:{error.colno}",
            hint="correct it there, or download the file again",
        ) from error
    except RecursionError as error:
        raise _too_deep(where) from error
    except ValueError as error:  # an integer of thousands of digits
        raise ModelError(
            "a number in the file has thousands of digits",
            where=where,
            hint="this is not a file of a checkpoint; download it again",
        ) from error
    if not isinstance(value, dict):
        raise ModelError(
            f"{_kind(value)} where an object was expected",
            where=where,
            hint="the file should begin with {",
        )
    clean: dict[str, Any] = _clean(value, where)
    return clean


def lfs_pointer(where: str) -> ModelError:
    """The error for a file that Git LFS has not fetched."""
    return ModelError(
        "this is a Git LFS pointer, not the file itself",
        where=where,
        hint="run `git lfs pull` in the checkpoint's folder",
    )


def too_large(where: str, limit: int) -> ModelError:
    """The error for a document that is larger than any published one."""
    return ModelError(
        f"the file is larger than {size(limit)}", where=where, hint="not the file it claims to be"
    )


def _finite(text: str) -> float | str:
    value = float(text)
    return value if math.isfinite(value) else text


def _clean(root: Any, where: str) -> Any:
    """Copies without lone surrogates, which no terminal and no file could take; bounds depth."""
    if isinstance(root, str):
        return root.encode("utf-8", "replace").decode("utf-8")

    def copy(value: Any, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise _too_deep(where)
        if isinstance(value, dict):
            return {copy(k, depth): copy(v, depth + 1) for k, v in value.items()}
        if isinstance(value, list):
            return [copy(v, depth + 1) for v in value]
        if isinstance(value, str) and not value.isascii():
            return value.encode("utf-8", "replace").decode("utf-8")
        return value

    return copy(root, 0)


def _too_deep(where: str) -> ModelError:
    return ModelError(
        "the file is nested too deeply",
        where=where,
        hint="this is not a file of a checkpoint; download it again",
    )


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true or false"
    names = {list: "a list", str: "text", int: "a number", float: "a number"}
    return names.get(type(value), "null")
