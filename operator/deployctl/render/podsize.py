"""How large the pods of a plan are: nodes of a replica, host memory, CPU, cache. Pure."""

import math

from deployctl.hardware import GpuProfile
from deployctl.planning.plan import ServingPlan

# Host memory, GiB: a worker's own (Python, CUDA context, pinned buffers) and the API server's.
_WORKER_GIB, _SERVER_GIB = 4.0, 6.0
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
    """Host memory: the request holds the processes and half of the weights while they load.

    The limit has room for a loader that holds all weights at once, as one for .bin files does,
    and for shared memory. On a CPU the weights and the KV cache stay in host memory.
    """
    world = plan.world_size // nodes
    weights = (_weights_gib(plan) or 16.0) / nodes
    shared = math.ceil(plan.shm_gib)
    if plan.accelerator == "cpu":
        memory = plan.memory
        cache = (memory.kv_cache_gib + memory.activation_gib) * world if memory else 4.0
        request = _SERVER_GIB + world + weights + cache
    else:
        request = _SERVER_GIB + _WORKER_GIB * world + 0.5 * weights
    return {
        "cpu": str(2 if plan.accelerator == "cpu" else 2 + 2 * world),
        "memory": f"{math.ceil(request)}Gi",
        "memoryLimit": f"{math.ceil(request + weights + shared)}Gi",
        "sharedMemory": f"{shared}Gi",
    }


def cache(plan: ServingPlan) -> dict[str, str]:
    """The size of the volume for downloads and compiled code."""
    weights = _weights_gib(plan)
    if weights is None:
        return {}
    gib = 0.0 if plan.model_local else 1.2 * weights
    size = f"{max(1, math.ceil((gib + _CACHE_SPARE_GIB) / 10)) * 10}Gi"
    return {"size": size, "ephemeralSize": size}
