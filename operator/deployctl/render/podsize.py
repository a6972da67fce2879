"""How large the pods of a plan are: nodes of a replica, host memory, CPU, cache. Pure."""

import math
from collections.abc import Iterator
from contextlib import suppress

from deployctl.hardware import GpuProfile
from deployctl.planning.plan import ServingPlan
from deployctl.render.door import api_servers

# Host memory, GiB: a worker's own (Python, CUDA context, pinned buffers) and an API server's.
_WORKER_GIB, _SERVER_GIB = 4.0, 6.0
# Flags that keep a part of the weights or of the cache in host memory, in GiB: whether of each card
# (vllm/config/offload.py, vllm/config/cache.py).
_OFFLOADING = {"--cpu-offload-gb": True, "--swap-space": True, "--kv-offloading-size": False}
_IMAGES, _IMAGES_GIB = "--mm-processor-cache-gb", 4.0  # and its default (vllm/config/multimodal.py)
# Flags that take host memory of which they do not say how much: layers by groups, connectors
# (LMCache, Mooncake, …), engines beside the first.
_UNMEASURED = frozenset(
    {
        *("--offload-group-size", "--offload-backend", "--kv-transfer-config"),
        *("--ec-transfer-config", "--data-parallel-size"),
    }
)
_MOST_GIB = 65536.0
_MOST_SERVERS = 1024
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
    request, most = memory_gib(plan, nodes)
    return {
        "cpu": str(2 if plan.accelerator == "cpu" else 2 + 2 * world),
        "memory": f"{request}Gi",
        "memoryLimit": "none" if most is None else f"{most}Gi",
        "sharedMemory": f"{math.ceil(plan.shm_gib)}Gi",
    }


def memory_gib(plan: ServingPlan, nodes: int) -> tuple[int, int | None]:
    """Host memory of an engine on each of its nodes, GiB: what it asks for, and the most; None
    where a flag takes memory of which nobody can tell how much.

    The request holds the processes and half of the weights while they load. The most has room
    for a loader that holds all weights at once, as one for .bin files does, for shared memory, and
    for the images that vLLM keeps. On a CPU the weights and the KV cache stay in host memory.
    """
    world = plan.world_size // nodes
    weights = (_weights_gib(plan) or 16.0) / nodes
    if plan.accelerator == "cpu":
        memory = plan.memory
        cache = (memory.kv_cache_gib + memory.activation_gib) * world if memory else 4.0
        request = _SERVER_GIB + world + weights + cache
    else:
        request = _SERVER_GIB + _WORKER_GIB * world + 0.5 * weights
    request += _offloaded_gib(plan) / nodes + _SERVER_GIB * (_servers(plan) - 1)
    if any(name.partition(".")[0] in _UNMEASURED for name, _ in _flags(plan)):
        return math.ceil(request), None
    most = request + weights + math.ceil(plan.shm_gib) + _images_gib(plan)
    return math.ceil(request), math.ceil(most)


def _offloaded_gib(plan: ServingPlan) -> float:
    """GiB of host memory that flags of the engine set aside, of all of its cards."""
    total = 0.0
    for name, value in _flags(plan):
        if name in _OFFLOADING:
            with suppress(ValueError):  # the plan refuses what is no number
                total += float(value) * (plan.world_size if _OFFLOADING[name] else 1)
    return total if total < _MOST_GIB else 0.0


def _images_gib(plan: ServingPlan) -> float:
    """The most GiB of host memory for images that vLLM keeps: in each API server and in the
    engine's core (vllm/config/multimodal.py)."""
    each = _IMAGES_GIB
    for name, value in _flags(plan):
        if name == _IMAGES:
            with suppress(ValueError):
                each = float(value)
    total = each * (_servers(plan) + 1)
    return total if 0 <= total < _MOST_GIB else 0.0


def _servers(plan: ServingPlan) -> int:
    return min(api_servers(plan.engine.args), _MOST_SERVERS)


def _flags(plan: ServingPlan) -> Iterator[tuple[str, str]]:
    """The engine's flags, each with its value or the word that follows."""
    args = plan.engine.args
    for word, following in zip(args, (*args[1:], ""), strict=False):
        name, equals, value = word.partition("=")
        yield name, value if equals else following


def cache(plan: ServingPlan) -> dict[str, str]:
    """The size of the volume for downloads and compiled code."""
    weights = _weights_gib(plan)
    if weights is None:
        return {}
    gib = 0.0 if plan.model_local else 1.2 * weights
    size = f"{max(1, math.ceil((gib + _CACHE_SPARE_GIB) / 10)) * 10}Gi"
    return {"size": size, "ephemeralSize": size}
