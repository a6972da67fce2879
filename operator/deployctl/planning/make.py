"""Joins what is wanted, what the checkpoint says and what the card can: the plan."""

from typing import Any

from deployctl.engines.vllm.images import DEFAULT_VERSION, image
from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.planning.arguments import arguments
from deployctl.planning.plan import EnginePlan, Finding, ServingPlan, Verdict
from deployctl.spec import ServiceSpec

CPU_KV_CACHE_GIB = 1.0


def _default_name(facts: ModelFacts) -> str:
    return facts.source.rstrip("/").rsplit("/", 1)[-1] if facts.local else facts.source


def make_plan(spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile) -> ServingPlan:
    """Says what will run. Never raises for a bad fit: the verdict and its reasons tell."""
    version = spec.engine_version or DEFAULT_VERSION
    architecture = facts.architecture
    context = architecture.max_position_embeddings if architecture else 2048
    length = spec.max_model_len or context
    tensor = spec.tensor_parallel_size or 1
    chosen: dict[str, Any] = {
        "served_model_name": spec.served_model_name or _default_name(facts),
        "max_model_len": length,
        "tensor_parallel_size": tensor if tensor > 1 else None,
        "revision": None,
    }
    reasons: list[Finding] = []
    if facts.engine != "vllm":
        reasons.append(
            Finding(
                code="format_not_served",
                message=f"vLLM does not serve {facts.format} weights",
                fix="use a safetensors checkpoint",
            )
        )
    environment = {}
    if profile.kind == "cpu":
        environment["VLLM_CPU_KVCACHE_SPACE"] = f"{spec.kv_cache_gib or CPU_KV_CACHE_GIB:g}"
        chosen["gpu_memory_utilization"] = None
    environment.update(spec.env)
    verdict: Verdict = "cannot_run" if reasons else "fits"
    return ServingPlan(
        name=spec.service,
        model=facts.source,
        model_local=facts.local,
        revision=facts.revision,
        served_model_name=chosen["served_model_name"],
        gpu=profile.name,
        accelerator=profile.kind,
        verdict=verdict,
        reasons=tuple(reasons),
        engine=EnginePlan(
            name="vllm",
            version=version,
            image=spec.image or image(version, profile.kind),
            args=arguments(spec, chosen),
            env=environment,
        ),
        tensor_parallel_size=tensor,
        max_model_len=length,
        startup_budget_s=900,
        shm_gib=1.0 if tensor == 1 else 8.0,
    )
