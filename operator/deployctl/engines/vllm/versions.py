"""vLLM's versions: their order, and the tables by version (deploy/engines/vllm-*.json)."""

import re
from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any

from deployctl import assets

OLDEST = "0.8.0"  # the first release that planning describes
_PART = re.compile(r"\d+")
_UNTAGGED = re.compile(r"0\.\d+\.dev")


@cache
def key(version: str) -> tuple[int, ...]:
    """Orders versions by their numbers; `0.10.0` is above `0.9.2`, a suffix is ignored.

    A build from source without tags calls itself 0.1.devN: it is newer than any release.
    """
    if _UNTAGGED.match(version):
        return (9999, 0, 0)
    release = re.match(r"\d{1,9}(?:\.\d{1,9})*", version)
    numbers = tuple(int(n) for n in _PART.findall(release.group() if release else "0"))
    return (*numbers, 0, 0, 0)[:3] if len(numbers) < 3 else numbers


def at_least(version: str, first: str) -> bool:
    """Says whether `version` is `first` or newer."""
    return key(version) >= key(first)


def document(name: str) -> dict[str, Any]:
    """One of the tables by version: deploy/engines/vllm-NAME.json."""
    table: dict[str, Any] = assets.table("deploy", "engines", f"vllm-{name}.json")
    return table


@lru_cache(maxsize=4096)  # a refused plan asks a hundred thousand times
def behaviour(name: str, version: str) -> Any:
    """Returns what `version` does about `name`, one of the keys of the behaviour file.

    Raises:
        KeyError: the file has no such name; a bug.
    """
    return in_force(document("behaviour")[name], version)


def unproven(version: str) -> str | None:
    """Why deployctl's tests do not run a release newer than those that they do; None: not said."""
    table = assets.table("deploy", "engines", "vllm-releases.yaml")["unproven"]
    return next((str(why) for known, why in table.items() if key(known) == key(version)), None)


def dropped(architecture: str, version: str) -> str | None:
    """The last release that served an architecture which `version` does not; None: it does, or
    nothing is known.
    """
    if architecture in assets.table("deploy", "engines", "vllm-releases.yaml")["carried"]:
        return None
    last = in_force(document("dropped")["dropped"].get(architecture, ()), version)
    return None if last is None else str(last)


def in_force(periods: Iterable[Sequence[Any]], version: str) -> Any:
    """The value of the last of `periods` that began with `version` or before.

    A period is its first release and the value; without a value it ends what was before. None
    where nothing holds.
    """
    value = None
    for first, *rest in periods:
        if at_least(version, first):
            value = rest[0] if rest else None
    return value
