"""What a service takes of a card or of a host by the plan that it has; nothing is planned here."""

from typing import NamedTuple

from deployctl.planning.advice import LOAD_RESERVE_GIB
from deployctl.planning.budget import CONTEXT_GIB
from deployctl.planning.plan import ServingPlan

OUTSIDE_GIB = CONTEXT_GIB + LOAD_RESERVE_GIB  # of an engine, outside of its share
# What an engine on a CPU takes beside weights, KV cache and activations: interpreter, torch,
# compiler. vLLM 0.32 with a 16 MB model: 1.9 GiB resident.
CPU_ENGINE_GIB = 2.5
_CPU_WEIGHTS = 1.2


class Taken(NamedTuple):
    """What a service takes of each of its cards, in GiB."""

    fits: bool  # the engine starts and holds what is asked for, were nobody else there
    footprint: float  # once it serves
    peak: float  # before that, at most
    kv_cache: float


def of_host(plan: ServingPlan) -> Taken:
    """What a service takes on a CPU: of the host's memory, by all its processes."""
    memory = plan.memory
    if memory is None:
        return Taken(False, 0, 0, 0)
    each = memory.weights_gib * _CPU_WEIGHTS + max(0.0, memory.kv_cache_gib) + CPU_ENGINE_GIB
    held = each * plan.world_size * plan.replicas
    return Taken(plan.verdict == "fits", held, held, memory.kv_cache_gib)
