"""How the engine is called for a plan: arguments, in one fixed order, and environment. Pure."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from deployctl.engines.vllm import flags
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.model.meaning import DECLARED_IN
from deployctl.planning.serving import declined
from deployctl.planning.settings import ARGUMENTS, EngineSettings
from deployctl.spec import ServiceSpec
from deployctl.spec.collector import collector
from deployctl.units import GIB


def arguments(
    spec: ServiceSpec,
    facts: ModelFacts,
    profile: GpuProfile,
    settings: EngineSettings,
    name: str,
    serving: Mapping[str, Any],
) -> tuple[str, ...]:
    """Writes the settings that are not left to the engine as command-line arguments.

    `name` is the one that clients ask for, `serving` what makes the engine read chats. What the
    plan decides wins over the spec. Model, revision, host, port and secrets are the target's
    business and never appear here.
    """
    chosen = _chosen(name, facts, profile, settings)
    words: list[str] = []
    for argument in ARGUMENTS:
        value = chosen[argument] if argument in chosen else getattr(spec, argument)
        words.extend(_words(argument, None if value is False else value, settings.version))
    for argument, value in serving.items():
        words.extend(_words(argument, value, settings.version))
    for argument in sorted(settings.rest):
        if declined(argument, settings.rest[argument]):
            continue
        words.extend(_words(argument, settings.rest[argument], settings.version))
    return tuple(words)


def _chosen(
    name: str, facts: ModelFacts, profile: GpuProfile, settings: EngineSettings
) -> dict[str, Any]:
    """The arguments that the plan itself chooses, by field; None: left unset."""
    sharding = settings.sharding
    quiet = "disable_access_log_for_endpoints"
    known = flags.known(settings.version) and flags.flag(quiet.replace("_", "-"), settings.version)
    chosen: dict[str, Any] = {
        "served_model_name": name,
        "quantization": _named_quantization(facts, settings),
        "max_model_len": settings.length,
        "tensor_parallel_size": sharding.tensor if sharding.tensor > 1 else None,
        "pipeline_parallel_size": sharding.pipeline if sharding.pipeline > 1 else None,
        "kv_cache_memory_bytes": None,
        # Probes and scrapes, every few seconds, are not what a log is read for.
        quiet: "/health,/metrics" if known and quiet not in settings.rest else None,
    }
    if settings.dtype != "bfloat16" and profile.before_ampere:
        # Releases up to 0.9.0 do not leave bfloat16 by themselves (vllm/config.py).
        chosen["dtype"] = settings.dtype
    if profile.slice:
        # Depending on release and rights, the engine sees the whole card's memory, the slice's or
        # none, and has other defaults for each (vllm#55381).
        chosen["max_num_seqs"] = settings.batch.sequences
        chosen["max_num_batched_tokens"] = settings.batch.tokens
    if profile.kind == "cpu":
        chosen["gpu_memory_utilization"] = None
        if _by_bytes(settings):
            chosen["kv_cache_memory_bytes"] = round(settings.kv_cache_bytes or 0)
    return chosen


def _named_quantization(facts: ModelFacts, settings: EngineSettings) -> str | None:
    """The method, where the engine must be told: it looks for it in config.json alone.

    Everywhere else it is left unset, so that vLLM picks its fastest kernel (vllm#21376).
    """
    quantization = facts.quantization
    if quantization is None or "quantization" in settings.rest:
        return None
    return None if quantization.file in DECLARED_IN else quantization.method


def _gib(settings: EngineSettings) -> float:
    return (settings.kv_cache_bytes or 0.0) / GIB


def _by_bytes(settings: EngineSettings) -> bool:
    """Whether the CPU's cache is not a whole number of GiB.

    VLLM_CPU_KVCACHE_SPACE is read with int() (vllm/platforms/cpu.py), so a fraction needs the
    flag that counts bytes.
    """
    return "kv_cache_memory_bytes" not in settings.rest and not _gib(settings).is_integer()


def environment(spec: ServiceSpec, profile: GpuProfile, settings: EngineSettings) -> dict[str, str]:
    """The engine's environment variables, the user's own last."""
    tensor = settings.sharding.tensor
    variables: dict[str, str] = {}
    flagged = "kv_cache_memory_bytes" in settings.rest or _by_bytes(settings)
    if profile.kind == "cpu" and not flagged:
        variables["VLLM_CPU_KVCACHE_SPACE"] = f"{_gib(settings):.0f}"
    if tensor > 1 and profile.kind == "cpu":
        # vLLM gives each rank the cores of a NUMA node of its own, and most machines have one.
        variables["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    elif tensor > 1:
        link = profile.interconnect
        if link is None or not link.peer_to_peer:
            variables["NCCL_P2P_DISABLE"] = "1"
    if (traces := collector(spec.otlp_traces_endpoint)) is not None:
        # vLLM speaks gRPC unless it is told otherwise (vllm/tracing), which has no paths.
        variables["OTEL_SERVICE_NAME"] = spec.service
        if traces.by_http:
            variables["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] = "http/protobuf"
    return {**variables, **settings.environment}


def _words(name: str, value: Any, version: str) -> Iterator[str]:
    plain = name.strip("-").replace("_", "-")
    if value is None:
        return
    if value is False:
        # argparse.BooleanOptionalAction; one that can only be turned on is off by default.
        known = flags.flag(plain, version)
        if known is not None and known.negatable:
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
