"""Why a plan is as it is, in sentences."""

from collections.abc import Iterator

from deployctl.hardware import GpuProfile
from deployctl.model import ModelFacts, meaning
from deployctl.planning import adapters, kernels
from deployctl.planning.context import ContextChoice
from deployctl.planning.settings import Sharding
from deployctl.spec import ServiceSpec
from deployctl.units import GIB, size


def notes(
    spec: ServiceSpec, facts: ModelFacts, profile: GpuProfile, choice: ContextChoice, replicas: int
) -> Iterator[str]:
    """Explains the choices that the user left open."""
    memory = choice.memory
    settings, sharding = memory.settings, memory.settings.sharding
    if profile.kind == "cuda" and spec.tensor_parallel_size is None:
        yield _parallel(spec, choice)
    if replicas > 1:
        yield from _replicas(spec, choice, replicas)
    elif sharding.gpus > 1 and (fewer := _one_gpu_holds(choice)):
        yield fewer
    if choice.chosen and choice.holds:
        yield from _context(choice)
    if choice.unread:
        yield (
            f"The KV cache is in {settings.dtype}: the checkpoint asks for FP8, which no kernel of "
            f"vLLM {settings.version} reads for this model on this card."
        )
    if spec.target == "kubernetes" and facts.local and facts.weight_bytes:
        yield (
            f"{size(facts.weight_bytes)} of weights are sent to a claim of the cluster, once for "
            "all that serve them there; values of the chart can name a claim that has them, or an "
            "OCI image."
        )
    quantization = facts.quantization
    if quantization is not None and quantization.file not in meaning.DECLARED_IN:
        yield f"quantization is named, since only {quantization.file} says how it is stored."
    elif settings.quantization is not None and "quantization" not in settings.rest:
        yield "quantization is left unset, so that vLLM picks its fastest kernel."
    yield from kernels.notes(choice.planner.shape, settings, profile)
    if profile.kind == "cpu" and settings.rest.keys() - spec.engine_args.keys():
        yield (
            "States of layers are kept as every CPU can: recurrent ones in float32, those of "
            "Mamba2 without prefix caching, with which its kernel for CPUs fails."
        )
    if facts.headers_read:
        yield "Weights are taken from the safetensors headers."
    else:
        yield "Weights are computed from the architecture; the headers were not read."
    if adapters.enabled(settings) and adapters.counted(memory.shape, settings):
        yield _adapters(choice)
    compiling = memory.tightest.compiling / GIB
    if profile.kind == "cuda" and compiling >= 0.01:
        yield (
            f"{compiling:.2f} GiB of the activation peak are for the first start, which compiles; "
            "one that finds the compile cache has them for the KV cache."
        )
    if profile.kind == "cuda" and not settings.eager and not memory.graphs_counted:
        graphs = memory.graphs / GIB
        yield (
            f"CUDA graphs ({graphs:.1f} GiB) are captured on top of the budget in vLLM "
            f"{settings.version}."
        )
    if profile.kind == "cuda" and not profile.startups:
        yield (
            f"No logged start-up on {profile.title} was held against a plan yet: trust the first "
            "start's log over these figures."
        )


def _adapters(choice: ContextChoice) -> str:
    """What the slots of adapters take, whether any is loaded or not."""
    settings, shape = choice.memory.settings, choice.memory.shape
    count, taken = adapters.slots(settings), adapters.nbytes(shape, settings, 0, shape.layers)
    stages = ", over all stages" if settings.sharding.pipeline > 1 else ""
    return (
        f"The weights include {count} slot{'s' if count > 1 else ''} for LoRA adapters of up to "
        f"rank {adapters.rank(settings)}: {size(taken)} on each GPU{stages}."
    )


def _context(choice: ContextChoice) -> Iterator[str]:
    """Why this context was chosen, and what a smaller split would hold."""
    settings, limit = choice.memory.settings, choice.planner.limit
    users = choice.planner.spec.users
    full = f" with room for {users} users" if users else ""
    if settings.length == limit:
        yield f"No context was asked for, so it is the model's own {limit:,} tokens{full}."
    else:
        yield (
            f"No context was asked for, so it is the longest that fits{full}, of the model's own "
            f"{limit:,} tokens."
        )
    if choice.fewer:
        yield (
            f"{settings.batch.sequences} sequences run at once: CUDA graphs of more leave no room, "
            "where NCCL reduces over PCIe and takes memory in each."
        )
    world = settings.sharding.gpus
    smaller = [
        step
        for step in choice.steps
        if step.max_model_len and step.tensor_parallel_size * step.pipeline_parallel_size < world
    ]
    if smaller and choice.planner.spec.replicas is None:
        least = smaller[0]
        yield (
            f"--tensor-parallel-size {least.tensor_parallel_size} would hold "
            f"{least.max_model_len:,} tokens, and leave GPUs for more replicas."
        )


def _replicas(spec: ServiceSpec, choice: ContextChoice, replicas: int) -> Iterator[str]:
    if spec.replicas is None:
        yield (
            f"{spec.gpus} GPUs hold {replicas} replicas of "
            f"{choice.memory.settings.sharding.gpus}; replicas scale better than more tensor "
            "parallelism once a model fits: none waits for another, where the GPUs of a split "
            "exchange sums twice a layer for every step."
        )
    yield (
        f"Each of the {replicas} replicas counts by itself what the limits of keys allow: a key "
        f"has up to {replicas} times as much of all together."
    )


def _one_gpu_holds(choice: ContextChoice) -> str | None:
    """Where a split is asked for that the model does not need: what replicas would be better at."""
    planner, settings = choice.planner, choice.memory.settings
    one = planner.given(tensor_parallel_size=None, pipeline_parallel_size=None)
    one = one.given(max_model_len=settings.length)
    if not one.runs(Sharding()) or not (alone := one.measure(Sharding())).fits:
        return None
    count = settings.sharding.gpus
    told = (
        f"One GPU holds the model with these {settings.length:,} tokens: without the split, "
        f"--replicas {count} has more throughput with the same GPUs, since none waits for another"
    )
    if not planner.runs(settings.sharding):
        return f"{told}."
    return (
        f"{told}, and holds {count * alone.concurrency:,.1f} full requests at once in all; the "
        f"split answers a single request sooner, and holds {choice.memory.concurrency:,.1f}."
    )


def _parallel(spec: ServiceSpec, choice: ContextChoice) -> str:
    memory, sharding = choice.memory, choice.memory.settings.sharding
    if sharding.gpus == 1 and memory.fits:
        return "One GPU holds the model and the context, so nothing is split."
    if spec.gpus == 1:
        return "One GPU was given, so nothing is split."
    users = f" for {spec.users} users" if spec.users else ""
    if not memory.fits:
        return f"No split over {spec.gpus} GPUs fits; the closest is shown."
    if sharding.pipeline > 1:
        return (
            f"Tensor parallelism over {sharding.tensor} is not enough{users}; "
            f"{sharding.pipeline} pipeline stages do."
        )
    if choice.chosen and memory.settings.length < choice.planner.limit:
        return f"Tensor parallelism over {sharding.tensor} holds the longest context{users}."
    if choice.chosen:
        return (
            f"Tensor parallelism over {sharding.tensor} is the least that holds the model's own "
            f"context{users}."
        )
    return f"Tensor parallelism over {sharding.tensor} is the least that fits{users}."
