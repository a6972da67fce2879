"""How `engine_args` may be written, and what is kept of that: one name, one value of vLLM's."""

import json
import math
from typing import Any


def as_text(value: object) -> object:
    """What vLLM takes as JSON may be a mapping, or `name.key` each; it is passed as text."""
    if not isinstance(value, dict):
        return value
    plain = {str(k): v for k, v in value.items() if "." not in str(k)}
    for written in (str(k) for k in value if "." in str(k)):
        name, *keys = written.split(".")
        known = {k.strip("-").replace("-", "_"): k for k in plain}
        name = known.get(name.strip("-").replace("-", "_"), name)
        plain[name] = _with_key(plain.get(name, {}), keys, value[written], written)
    return {k: json.dumps(v) if isinstance(v, dict) else v for k, v in plain.items()}


def one_name_each(value: dict[str, Any]) -> dict[str, Any]:
    """Names as Python writes them, and `no_x` as x turned off: so each means one thing.

    Raises:
        ValueError: a name has two values, or a value that is no number.
    """
    named: dict[str, Any] = {}
    for written, given in value.items():
        name = written.strip("-").replace("-", "_")
        if name.startswith("no_") and isinstance(given, bool):
            name, given = name[3:], not given
        if any(isinstance(v, float) and not math.isfinite(v) for v in _listed(given)):
            raise ValueError(f"{name} is {given}, which is no number")
        if name in named and named[name] != given:
            raise ValueError(f"{name} is given twice, as {named[name]!r} and as {given!r}")
        named[name] = given
    return named


def _listed(given: Any) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _with_key(given: object, keys: list[str], value: object, written: str) -> dict[str, Any]:
    """JSON or a mapping with one more key, as `--json-arg.key value` gives it to vLLM."""
    try:
        found = json.loads(given) if isinstance(given, str) else given
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(keys):
        raise ValueError(f"{written} is a key of JSON, and there is no JSON to put it in")
    key, *inner = keys
    if inner:
        value = _with_key(found.get(key, {}), inner, value, written)
    return {**found, key: value}
