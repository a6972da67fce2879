"""Reading data of which nothing is certain: whatever is not as expected counts as absent."""

import re
from collections.abc import Iterator
from typing import Any

Path = tuple[str | int, ...]

# Names of variables and flags that hold secrets.
SECRET_NAME = re.compile(
    r"(^|[_-])(TOKEN|API[_-]?KEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?|(ACCESS|SECRET|PRIVATE)_KEY)$",
    re.IGNORECASE,
)


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
