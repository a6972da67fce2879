"""The engine's arguments: the same for every target, in one fixed order."""

import json
from collections.abc import Iterator
from typing import Any

from deployctl.engines.vllm import flags
from deployctl.engines.vllm.versions import at_least
from deployctl.spec import ServiceSpec

_ORDER = (
    "served_model_name",
    "trust_remote_code",
    "quantization",
    "max_model_len",
    "tensor_parallel_size",
    "pipeline_parallel_size",
    "gpu_memory_utilization",
    "max_num_seqs",
    "max_num_batched_tokens",
    "dtype",
    "kv_cache_dtype",
    "enforce_eager",
    "kv_cache_memory_bytes",
    "disable_access_log_for_endpoints",
)


def arguments(spec: ServiceSpec, version: str, chosen: dict[str, Any]) -> tuple[str, ...]:
    """Writes the settings that are not left to the engine as command-line arguments.

    `chosen` holds what the plan decided, by field name; it wins over the spec. Model, revision,
    host, port and secrets are the target's business and never appear here.
    """
    words: list[str] = []
    for name in _ORDER:
        value = chosen.get(name) if name in chosen else getattr(spec, name, None)
        words.extend(_words(name, None if value is False else value, version))
    for name in sorted(spec.engine_args):
        words.extend(_words(name, spec.engine_args[name], version))
    return tuple(words)


def _words(name: str, value: Any, version: str) -> Iterator[str]:
    plain = name.strip("-").replace("_", "-")
    if value is None:
        return
    if value is False:
        # A switch that is on by default has a negative form (argparse.BooleanOptionalAction).
        known = flags.flag(plain, version)
        if known is not None and at_least(version, "0.9.0") and not plain.startswith("no-"):
            yield f"--no-{plain}"
        return
    yield f"--{plain}"
    if value is True:
        return
    if isinstance(value, list):
        yield from (str(item) for item in value)
    elif isinstance(value, dict):
        yield json.dumps(value, sort_keys=True)
    else:
        yield f"{value:g}" if isinstance(value, float) else str(value)
