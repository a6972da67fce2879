"""vLLM's versions: their order, and what each one does (deploy/engines/vllm-behaviour.json)."""

import json
import re
from functools import cache
from typing import Any

from deployctl import assets

OLDEST = "0.8.0"  # the first release that planning describes
_PART = re.compile(r"\d+")
_UNTAGGED = re.compile(r"0\.\d+\.dev")


def key(version: str) -> tuple[int, ...]:
    """Orders versions by their numbers; `0.10.0` is above `0.9.2`, a suffix is ignored.

    A build from source without tags calls itself 0.1.devN: it is newer than any release.
    """
    if _UNTAGGED.match(version):
        return (9999, 0, 0)
    release = re.match(r"\d+(?:\.\d+)*", version)
    numbers = tuple(int(n) for n in _PART.findall(release.group() if release else "0"))
    return (*numbers, 0, 0, 0)[:3] if len(numbers) < 3 else numbers


def at_least(version: str, first: str) -> bool:
    """Says whether `version` is `first` or newer."""
    return key(version) >= key(first)


def behaviour(name: str, version: str) -> Any:
    """Returns what `version` does about `name`, one of the keys of the behaviour file.

    Raises:
        KeyError: the file has no such name; a bug.
    """
    found: Any = None
    for first, value, _source in _table()[name]:
        if key(version) >= key(first):
            found = value
    return found


@cache
def _table() -> dict[str, list[tuple[str, Any, str]]]:
    text = assets.path("deploy", "engines", "vllm-behaviour.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    del table["about"]
    return table
