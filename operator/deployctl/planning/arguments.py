"""The engine's arguments: the same for every target, in one fixed order."""

import json
from collections.abc import Iterator
from typing import Any

from deployctl.spec import ServiceSpec


def arguments(spec: ServiceSpec, chosen: dict[str, Any]) -> tuple[str, ...]:
    """Writes the settings that are not left to the engine as command-line arguments.

    `chosen` holds what the plan decided, by field name; it wins over the spec. Model, host,
    port and secrets are the target's business and never appear here.
    """
    words: list[str] = []
    for name in _ORDER:
        value = chosen.get(name, getattr(spec, name, None))
        words.extend(_words(name, value))
    for name in sorted(spec.engine_args):
        words.extend(_words(name, spec.engine_args[name]))
    return tuple(words)


_ORDER = (
    "served_model_name",
    "revision",
    "trust_remote_code",
    "max_model_len",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "dtype",
    "kv_cache_dtype",
    "enforce_eager",
)


def _words(name: str, value: Any) -> Iterator[str]:
    flag = "--" + name.strip("-").replace("_", "-")
    if value is None or value is False:
        return
    yield flag
    if value is True:
        return
    if isinstance(value, list):
        yield from (str(item) for item in value)
    elif isinstance(value, dict):
        yield json.dumps(value, sort_keys=True)
    else:
        yield f"{value:g}" if isinstance(value, float) else str(value)
