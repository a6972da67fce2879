"""How the engine is called for a plan: chosen arguments and environment. Pure."""

from typing import Any

from deployctl.engines.vllm import flags
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.model.meaning import DECLARED_IN
from deployctl.planning.settings import Settings
from deployctl.planning.weights import Sharding
from deployctl.spec import ServiceSpec
from deployctl.units import GIB


def arguments_of(
    name: str, facts: ModelFacts, settings: Settings, sharding: Sharding, profile: GpuProfile
) -> dict[str, Any]:
    """The arguments that the plan itself chooses, by field; None: left unset."""
    chosen: dict[str, Any] = {
        "served_model_name": name,
        "quantization": _named_quantization(facts, settings),
        "max_model_len": settings.length,
        "tensor_parallel_size": sharding.tensor if sharding.tensor > 1 else None,
        "pipeline_parallel_size": sharding.pipeline if sharding.pipeline > 1 else None,
    }
    quiet = "disable_access_log_for_endpoints"
    known = flags.known(settings.version) and flags.flag(quiet.replace("_", "-"), settings.version)
    if known and quiet not in settings.rest:
        # Probes and scrapes, every few seconds, are not what a log is read for.
        chosen[quiet] = "/health,/metrics"
    if profile.kind == "cpu":
        chosen["gpu_memory_utilization"] = None
        if _by_bytes(settings):
            chosen["kv_cache_memory_bytes"] = round(settings.kv_cache_bytes or 0)
    return chosen


def _named_quantization(facts: ModelFacts, settings: Settings) -> str | None:
    """The method, where the engine must be told: it looks for it in config.json alone.

    Everywhere else it is left unset, so that vLLM picks its fastest kernel (vllm#21376).
    """
    quantization = facts.quantization
    if quantization is None or "quantization" in settings.rest:
        return None
    return None if quantization.file in DECLARED_IN else quantization.method


def _gib(settings: Settings) -> float:
    return (settings.kv_cache_bytes or 0.0) / GIB


def _by_bytes(settings: Settings) -> bool:
    """Whether the CPU's cache is no whole number of GiB.

    VLLM_CPU_KVCACHE_SPACE is read with int() (vllm/platforms/cpu.py), so a fraction needs the
    flag that counts bytes.
    """
    return "kv_cache_memory_bytes" not in settings.rest and not _gib(settings).is_integer()


def environment(
    spec: ServiceSpec, settings: Settings, sharding: Sharding, profile: GpuProfile
) -> dict[str, str]:
    """The engine's environment variables, the user's own last."""
    found: dict[str, str] = {}
    flagged = "kv_cache_memory_bytes" in settings.rest or _by_bytes(settings)
    if profile.kind == "cpu" and not flagged:
        found["VLLM_CPU_KVCACHE_SPACE"] = f"{_gib(settings):.0f}"
    if sharding.tensor > 1 and profile.kind == "cpu":
        # vLLM gives each rank the cores of a NUMA node of its own, and most machines have one.
        found["VLLM_CPU_OMP_THREADS_BIND"] = "nobind"
    elif sharding.tensor > 1:
        link = profile.interconnect
        if link is None or not link.peer_to_peer:
            found["NCCL_P2P_DISABLE"] = "1"
    return {**found, **spec.env}
