"""Which flags a vLLM release has, and what they take (deploy/engines/vllm-flags.json)."""

import difflib
from typing import Any, NamedTuple

from deployctl.engines.vllm.versions import at_least, document, in_force, key
from deployctl.errors import Reason

# What a target or the plan itself passes; given again they would contradict it.
MANAGED = {
    "model": "--model",
    "model-tag": "--model",
    "host": "--expose",
    "port": "--port",
    "uds": "--port",
    "api-key": "--api-key-file",
    "hf-token": "--hf-token-file",
    "revision": "--revision",
    "served-model-name": "--served-model-name",
    "config": "-f",
}


class Flag(NamedTuple):
    """One flag as one release has it. `kind`: bool, int, float, str, json, list or choice."""

    name: str  # without dashes
    kind: str
    default: Any
    choices: tuple[str, ...]
    negatable: bool  # a switch that has a form with --no-; others can only be turned on


def versions() -> tuple[str, ...]:
    """The releases whose flags are known, oldest first."""
    return tuple(document("flags")["versions"])


def known(version: str) -> bool:
    """Whether the flag list of `version` is held; a suffix such as `.post2` does not count."""
    return key(version) in {key(v) for v in versions()}


def flag(name: str, version: str) -> Flag | None:
    """Returns the flag as `version` has it, or None."""
    entry = _at(name, version)
    if entry is None:
        name = _alias(name, version) or ""
        entry = _at(name, version) if name else None
    if entry is None:
        return None
    negatable = entry["t"] == "bool" and not entry.get("on")
    return Flag(name, entry["t"], entry.get("d"), tuple(entry.get("c", ())), negatable)


def _at(name: str, version: str) -> dict[str, Any] | None:
    entry: dict[str, Any] | None = in_force(document("flags")["flags"].get(name, ()), version)
    return entry


def _alias(name: str, version: str) -> str | None:
    for other in document("flags")["flags"]:
        entry = _at(other, version)
        if entry and name in entry.get("a", ()):
            return str(other)
    return None


def check(name: str, value: Any, version: str) -> Reason | None:
    """Says why `name` with `value` cannot be passed to `version`; None when it can.

    The codes are unknown_flag, removed_flag, wrong_flag_value and flag_managed.
    `name` may be written with dashes or underscores, with `no-` before a switch.
    """
    plain = name.strip("-").replace("_", "-")
    if plain in MANAGED:
        return Reason(
            "flag_managed",
            f"--{plain} is set by deployctl itself",
            f"use {MANAGED[plain]} instead of an engine argument",
        )
    described = flag(plain, version)
    if described is None and plain.startswith("no-"):
        positive = flag(plain[3:], version)
        if positive is not None and positive.negatable:
            return None
    if described is None:
        return _missing(plain, version)
    wrong = _ill_typed(described, value)
    if wrong is None:
        return None
    return Reason("wrong_flag_value", f"--{plain} {wrong}", _takes(described))


def _missing(plain: str, version: str) -> Reason:
    periods = document("flags")["flags"].get(plain)
    if periods:
        first, last = periods[0][0], periods[-1]
        if not at_least(version, first):
            return Reason(
                "unknown_flag",
                f"vLLM {version} has no flag --{plain}; it came with {first}",
                f"remove it, or use --engine-version {first} or newer",
            )
        return Reason(
            "removed_flag",
            f"vLLM {version} has no flag --{plain} any more; it was removed in {last[0]}",
            _instead(plain, version) or "remove it",
        )
    return Reason(
        "unknown_flag",
        f"vLLM {version} has no flag --{plain}",
        _instead(plain, version) or "check the spelling; vllm serve --help lists the flags",
    )


def _instead(plain: str, version: str) -> str | None:
    names = [name for name in document("flags")["flags"] if _at(name, version) is not None]
    near = difflib.get_close_matches(plain, names, n=1, cutoff=0.7)
    return f"did you mean --{near[0]}?" if near else None


def _ill_typed(described: Flag, value: Any) -> str | None:
    if value is None:
        return None
    if described.kind == "bool":
        wrong = f"is a switch and takes no value (got {value!r})"
        return None if isinstance(value, bool) else wrong
    if isinstance(value, bool):
        return "needs a value"
    if described.kind == "list":
        return None
    values = value if isinstance(value, list) else [value]
    for item in values:
        if described.kind == "int" and not _is_int(item):
            return f"needs a whole number (got {item!r})"
        if described.kind == "float" and not _is_float(item):
            return f"needs a number (got {item!r})"
        if described.kind == "choice" and described.choices and str(item) not in described.choices:
            return f"does not take {item!r}"
    return None


def _is_int(value: Any) -> bool:
    if isinstance(value, int):
        return True
    text = str(value)
    # vLLM reads 8k, 1.5M, -1 and, for a few flags, auto.
    return text == "auto" or text.lstrip("-").rstrip("kKmMgGtT").replace(".", "", 1).isdecimal()


def _is_float(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _takes(described: Flag) -> str:
    if described.kind == "bool":
        return "write true or false"
    if described.kind == "choice":
        return "it takes " + ", ".join(described.choices)
    return {"int": "give a whole number", "float": "give a number"}.get(
        described.kind, "give a value"
    )
