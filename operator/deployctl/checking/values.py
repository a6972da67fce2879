"""Reads values of which nothing is certain: whatever is not as expected counts as absent."""

import re
from collections.abc import Iterator
from typing import Any

from deployctl.boundedyaml import Path

__all__ = ["Path"]

_SIZE = re.compile(r"(?P<number>\d+(\.\d+)?)\s*(?P<unit>[kmgt]?)(i?b)?", re.IGNORECASE)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def mapping(value: Any) -> dict[str, Any]:
    """The value, if it is a mapping."""
    return value if isinstance(value, dict) else {}


def items(value: Any) -> list[Any]:
    """The value, if it is a list."""
    return value if isinstance(value, list) else []


def mappings(value: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The mappings of a list, each with its index."""
    for index, item in enumerate(items(value)):
        if isinstance(item, dict):
            yield index, item


def text(value: Any) -> str:
    """The value, if it is text."""
    return value if isinstance(value, str) else ""


def number(value: Any) -> float | None:
    """The value, if it is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 1e18 else None


def whole(value: Any, default: int) -> int:
    """The value, if it is a whole number of a size that makes sense."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > 10**12:
        return default
    return value


def dig(value: Any, *path: str | int) -> Any:
    """The value at a path, or None."""
    for part in path:
        if isinstance(part, int):
            value = items(value)[part] if 0 <= part < len(items(value)) else None
        else:
            value = mapping(value).get(part)
    return value


def strings(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every text in a value, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from strings(item, (*path, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from strings(item, (*path, index))


def size(value: object) -> float | None:
    """Reads a Compose byte size: `64m`, `1gb`, 1073741824. None when it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return float(value)
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) and len(value) < 64 else None
    if match is None:
        return None
    power = " kmgt".index(match["unit"].lower()) if match["unit"] else 0
    return float(match["number"]) * 1024.0**power


def seconds(value: object) -> float | None:
    """Reads a Compose duration: `1m30s`. None when it is not one."""
    if isinstance(value, str) and 0 < len(value) < 64:
        parts = _DURATION.findall(value)
        if "".join(n + u for n, u in parts) == value:
            return float(sum(float(n) * _SECONDS[u] for n, u in parts))
    return None
