"""How large the pods of a plan are: nodes of a replica, host memory, CPU, cache. Pure."""

import math
from contextlib import suppress

from deployctl.hardware import GpuProfile
from deployctl.planning.plan import ServingPlan

# Host memory, GiB: a worker's own (Python, CUDA context, pinned buffers) and the API server's.
_WORKER_GIB, _SERVER_GIB = 4.0, 6.0
# Flags that keep a part of the weights or of the cache in host memory, in GiB: whether of each card
# (vllm/config/offload.py, vllm/config/cache.py).
_OFFLOADING = {"--cpu-offload-gb": True, "--swap-space": True, "--kv-offloading-size": False}
_MOST_GIB = 65536.0
# Compiled code and a second revision beside the first, GiB.
_CACHE_SPARE_GIB = 20.0
# The first release that has --nnodes, --node-rank and --master-addr (vllm/engine/arg_utils.py).
SEVERAL_NODES = "0.11.1"


def _weights_gib(plan: ServingPlan) -> float | None:
    """GiB of weights of one replica, all cards together."""
    if plan.memory is None:
        return None
    return plan.memory.weights_gib * plan.world_size


def nodes_of(plan: ServingPlan, profile: GpuProfile) -> int:
    """Nodes of one replica: each has as many stages of the pipeline as its cards allow."""
    if plan.accelerator == "cpu" or plan.world_size <= profile.max_per_host:
        return 1
    stages = plan.pipeline_parallel_size
    most = max(1, profile.max_per_host // plan.tensor_parallel_size)
    return stages // max(n for n in range(1, most + 1) if stages % n == 0)


def resources(plan: ServingPlan, nodes: int) -> dict[str, str]:
    """What a replica's pod asks of one of its nodes."""
    world = plan.world_size // nodes
    request, limit = memory_gib(plan, nodes)
    return {
        "cpu": str(2 if plan.accelerator == "cpu" else 2 + 2 * world),
        "memory": f"{request}Gi",
        "memoryLimit": f"{limit}Gi",
        "sharedMemory": f"{math.ceil(plan.shm_gib)}Gi",
    }


def memory_gib(plan: ServingPlan, nodes: int) -> tuple[int, int]:
    """Host memory of an engine on each of its nodes, GiB: what it asks for, and the most.

    The request holds the processes and half of the weights while they load. The limit has room
    for a loader that holds all weights at once, as one for .bin files does, and for shared
    memory. On a CPU the weights and the KV cache stay in host memory.
    """
    world = plan.world_size // nodes
    weights = (_weights_gib(plan) or 16.0) / nodes
    if plan.accelerator == "cpu":
        memory = plan.memory
        cache = (memory.kv_cache_gib + memory.activation_gib) * world if memory else 4.0
        request = _SERVER_GIB + world + weights + cache
    else:
        request = _SERVER_GIB + _WORKER_GIB * world + 0.5 * weights
    request += _offloaded_gib(plan) / nodes
    return math.ceil(request), math.ceil(request + weights + math.ceil(plan.shm_gib))


def _offloaded_gib(plan: ServingPlan) -> float:
    """GiB of host memory that flags of the engine set aside, of all of its cards."""
    total = 0.0
    for word, following in zip(plan.engine.args, (*plan.engine.args[1:], ""), strict=False):
        name, equals, value = word.partition("=")
        if name in _OFFLOADING:
            with suppress(ValueError):  # the plan refuses what is no number
                each = float(value if equals else following)
                total += each * (plan.world_size if _OFFLOADING[name] else 1)
    return total if total < _MOST_GIB else 0.0


def cache(plan: ServingPlan) -> dict[str, str]:
    """The size of the volume for downloads and compiled code."""
    weights = _weights_gib(plan)
    if weights is None:
        return {}
    gib = 0.0 if plan.model_local else 1.2 * weights
    size = f"{max(1, math.ceil((gib + _CACHE_SPARE_GIB) / 10)) * 10}Gi"
    return {"size": size, "ephemeralSize": size}
