"""What is known of checkpoints by names alone: model types, quantization methods, fields.

The tables and their sources are in deploy/engines: model-types.json, quantization-methods.json and
checkpoint-names.yaml.
"""

from typing import Any

from deployctl import assets

_TYPES = assets.table("deploy", "engines", "model-types.json")
NESTED: dict[str, dict[str, int]] = _TYPES["nested"]
# The types of which something is so: `tied`, `mla` … as the file explains.
TYPES = {name: frozenset(types) for name, types in _TYPES.items() if isinstance(types, list)}
METHODS: dict[str, dict[str, Any]] = assets.table("deploy", "engines", "quantization-methods.json")[
    "methods"
]
_NAMES = assets.table("deploy", "engines", "checkpoint-names.yaml")
KINDS: dict[str, str] = _NAMES["kinds"]  # of layers, by other words
_ALIASES = {alias: name for name, of in METHODS.items() for alias in of.get("aliases", ())}


def names(thing: str) -> tuple[str, ...]:
    """The names under which checkpoints say something: `layers`, `heads` …"""
    return tuple(_NAMES[thing])


def defaults(model_type: str, *, nested: bool = False) -> dict[str, int]:
    """What absent fields mean for this type; more may be absent in a part of another config."""
    own: dict[str, int] = _TYPES["defaults"].get(model_type, {})
    return {**own, **NESTED.get(model_type, {})} if nested else own


def method_name(name: str) -> str:
    """A quantization method's name as vLLM has it, from any other name of it."""
    return _ALIASES.get(name, name)


def fixed(method: str, setting: str) -> int | None:
    """`bits` or `group_size` of a method that leaves no choice."""
    return METHODS.get(method, {}).get(setting)
