"""What lies outside `gpu_memory_utilization`: an engine that would die with its KV cache in place.

By then the cache has taken what profiling left of the budget. Graphs that the version does not
count, a sampler that it did not profile, and a cache that was given outright come on top.
"""

from collections.abc import Iterator
from typing import Any

from deployctl.errors import Reason
from deployctl.planning.budget import Memory
from deployctl.planning.sharding import Planner
from deployctl.units import GIB

_CODE = "utilization_too_high"


def refusal(planner: Planner, memory: Memory) -> Reason:
    """Why the engine would die once its cache is there, and what would do instead."""
    settings = memory.settings
    if settings.kv_cache_bytes is not None:
        started = memory.started()
        most = max(0, int(settings.kv_cache_bytes - memory.overflow()))
        return Reason(
            _CODE,
            f"a KV cache of {settings.kv_cache_bytes / GIB:.2f} GiB, the weights and working "
            f"memory take {started / GIB:.2f} GiB; a card of {memory.total / GIB:.2f} GiB has "
            f"less than that free{held(memory)}",
            f"use --engine-arg kv_cache_memory_bytes={most} or less",
        )
    leaner = ", or ".join(_leaner(planner, memory))
    return Reason(
        _CODE,
        f"a utilization of {settings.utilization:g} asks for {memory.requested / GIB:.2f} of "
        f"{memory.total / GIB:.2f} GiB; with CUDA graphs and the sampler's warm-up for "
        f"{settings.batch.sequences} sequences, it is {memory.overflow() / GIB:.2f} GiB short"
        f"{held(memory)}",
        leaner or "use a lower --gpu-memory-utilization",
    )


def held(memory: Memory) -> str:
    """What others hold, in words that follow a figure."""
    gib = memory.settings.held / GIB
    return f" beside the {gib:.2f} GiB that others hold" if gib else ""


def _leaner(planner: Planner, memory: Memory) -> Iterator[str]:
    """Settings with which the start-up has room, each alone: those nearest to what is asked."""
    sequences = memory.settings.batch.sequences // 2
    while sequences:
        if _starts(planner, memory, max_num_seqs=sequences):
            yield f"use --max-num-seqs {sequences}"
            break
        sequences //= 2
    for percent in range(int(memory.settings.utilization * 100), 9, -1):
        if _starts(planner, memory, gpu_memory_utilization=percent / 100):
            yield f"use --gpu-memory-utilization {percent / 100:g}"
            break


def _starts(planner: Planner, memory: Memory, **settings: Any) -> bool:
    """Whether the same would start, and hold a request, with these settings of the spec."""
    same = planner.given(max_model_len=memory.settings.length, **settings)
    measured = same.measure(memory.settings.sharding)
    return measured.fits and measured.overflow() <= 0
