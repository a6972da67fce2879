"""Why the plan is as it is, in sentences, and what the engine will choose by itself."""

from typing import Any

from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts
from deployctl.model.meaning import DECLARED_IN
from deployctl.planning.budget import Memory
from deployctl.planning.settings import Settings
from deployctl.planning.shape import Shape
from deployctl.planning.transient import Engine, uses_v2_runner
from deployctl.planning.weights import Sharding
from deployctl.spec import ServiceSpec
from deployctl.units import GIB


def defaults(
    spec: ServiceSpec, settings: Settings, profile: GpuProfile, shape: Shape | None
) -> dict[str, Any]:
    """The settings in force, whether the user or the engine chose them."""
    found: dict[str, Any] = {
        "dtype": settings.dtype,
        "kv_cache_dtype": settings.kv_cache_dtype or "auto",
        "max_num_seqs": settings.batch.sequences,
        "max_num_batched_tokens": settings.batch.tokens,
        "enforce_eager": settings.eager,
    }
    if profile.kind == "cuda":
        found["gpu_memory_utilization"] = settings.utilization
        if shape is not None:
            engine = Engine(settings.version, settings.quantization is not None, spec.env)
            v2 = uses_v2_runner(shape, engine)
            found["model_runner"] = "v2" if v2 else "v1"
    return found


def why(
    spec: ServiceSpec,
    facts: ModelFacts,
    settings: Settings,
    sharding: Sharding,
    replicas: int,
    profile: GpuProfile,
    memory: Memory | None,
) -> tuple[str, ...]:
    """Explains the choices that the user did not make himself."""
    if memory is None:
        return ()
    found: list[str] = []
    world = sharding.tensor * sharding.pipeline
    if profile.kind == "cuda" and spec.tensor_parallel_size is None:
        found.append(_parallel(spec, sharding, memory))
    if replicas > 1 and spec.replicas is None:
        found.append(
            f"{spec.gpus} GPUs hold {replicas} replicas of {world}; replicas scale better than "
            "more tensor parallelism once a model fits."
        )
    if spec.max_model_len is None:
        found.append(
            f"No context was asked for, so the model's own {settings.length} tokens are planned."
        )
    quantization = facts.quantization
    if quantization is not None and quantization.file not in DECLARED_IN:
        found.append(
            f"quantization is named, since only {quantization.file} says how it is stored."
        )
    elif settings.quantization is not None and "quantization" not in settings.rest:
        found.append("quantization is left unset, so that vLLM picks its fastest kernel.")
    if facts.headers_read:
        found.append("Weights are taken from the safetensors headers.")
    else:
        found.append("Weights are computed from the architecture; the headers were not read.")
    if profile.kind == "cuda" and not settings.eager and not memory.graphs_counted:
        graphs = max(stage.graphs for stage in memory.stages) / GIB
        found.append(
            f"CUDA graphs ({graphs:.1f} GiB) are captured on top of the budget in vLLM "
            f"{settings.version}."
        )
    return tuple(found)


def _parallel(spec: ServiceSpec, sharding: Sharding, memory: Memory) -> str:
    size = sharding.tensor * sharding.pipeline
    if size == 1 and memory.fits:
        return "One GPU holds the model and the context, so nothing is split."
    if spec.gpus == 1:
        return "One GPU was given, so nothing is split."
    wish = f" for {spec.users} users" if spec.users else ""
    if not memory.fits:
        return f"No split over {spec.gpus} GPUs fits; the one that comes closest is shown."
    if sharding.pipeline > 1:
        return (
            f"Tensor parallelism over {sharding.tensor} does not suffice{wish}; "
            f"{sharding.pipeline} pipeline stages do."
        )
    return f"Tensor parallelism over {sharding.tensor} is the least that fits{wish}."
