"""Memory refusals, each with what would do instead."""

from collections.abc import Iterator

from deployctl.errors import Reason
from deployctl.planning.budget import CONTEXT_GIB, Memory
from deployctl.planning.sharding import Planner
from deployctl.units import GIB

# GiB of an idle card that nobody can have, for refusals of a utilization, where a wrong refusal
# would be worse than a late one.
UNUSABLE_GIB = 0.25


def refusals(planner: Planner, memory: Memory) -> Iterator[Reason]:
    """Refuses what the memory does not hold."""
    profile, users = planner.profile, planner.spec.users
    settings, stage = memory.settings, memory.tightest
    if profile.kind == "cpu":
        yield from _host(memory)
    elif memory.load_peak > memory.total - CONTEXT_GIB * GIB:
        yield Reason(
            "weights_too_large",
            f"the weights take {memory.load_peak / GIB:.1f} GiB while they load; "
            f"{profile.title} has {memory.total / GIB:.1f} GiB",
            _larger_card(planner, memory),
        )
        return
    elif memory.requested > memory.total - UNUSABLE_GIB * GIB or _no_room_for_graphs(memory):
        yield Reason(
            "utilization_too_high",
            f"a utilization of {settings.utilization:g} asks for "
            f"{memory.requested / GIB:.2f} of {memory.total / GIB:.2f} GiB; an idle card has "
            "less than that free, or no room for CUDA graphs",
            "use --gpu-memory-utilization 0.95 or less",
        )
    if stage.pool <= 0:
        yield Reason(
            "weights_too_large",
            f"weights ({stage.weights / GIB:.1f} GiB) and working memory "
            f"({(stage.non_torch + stage.activation) / GIB:.1f} GiB) leave nothing of "
            f"{memory.requested / GIB:.1f} GiB for the KV cache",
            _larger_card(planner, memory),
        )
        return
    if not memory.fits:
        longest = min(memory.longest, settings.length)
        yield Reason(
            "kv_cache_too_small",
            f"one request of {settings.length} tokens needs {memory.request_bytes / GIB:.2f} GiB "
            f"of KV cache; {stage.pool / GIB:.2f} GiB are left. The longest context that fits is "
            f"{longest} tokens",
            _shorter(planner, memory, longest),
        )
    elif users is not None and memory.concurrency < users:
        yield Reason(
            "kv_cache_too_small",
            f"the KV cache holds {memory.concurrency:.1f} requests of "
            f"{settings.length} tokens at once; {users} were asked for",
            _for_users(planner, memory, users),
        )


def _no_room_for_graphs(memory: Memory) -> bool:
    """Whether graphs that are captured on top of the budget cannot but run out of memory.

    Their estimate is for many graphs; a third of it is what any capture needs.
    """
    if memory.graphs_counted or memory.settings.kv_cache_bytes is not None:
        return False
    room = memory.total - memory.requested
    return memory.graphs > 0 and room < CONTEXT_GIB * GIB + memory.graphs / 3


def _host(memory: Memory) -> Iterator[Reason]:
    stage = memory.tightest
    needed = stage.weights * 1.2 + max(0.0, stage.pool) + 2 * GIB
    if needed * len(memory.stages) > memory.total:
        yield Reason(
            "weights_too_large",
            f"weights, KV cache and the engine need about {needed / GIB:.1f} GiB of "
            f"memory; this host has {memory.total / GIB:.1f} GiB",
            "use a smaller model, or less --kv-cache-gib",
        )


def _shorter(planner: Planner, memory: Memory, longest: int) -> str:
    ways = [f"set --max-model-len {longest}"] if longest else []
    if planner.profile.kind == "cpu":
        gib = int(memory.request_bytes // GIB) + 1
        return ", or ".join([*ways, f"set --kv-cache-gib {gib}"])
    ways += _more_gpus(planner, memory)
    return ", or ".join(ways or [_room(planner, memory)])


def _for_users(planner: Planner, memory: Memory, users: int) -> str:
    stage = memory.tightest
    longest = stage.layout.longest(stage.pool / users, memory.settings.length)
    ways = [f"set --max-model-len {longest}"] if longest else []
    return ", or ".join(ways + _more_gpus(planner, memory)) or "ask for fewer --users"


def _more_gpus(planner: Planner, memory: Memory) -> list[str]:
    larger = planner.larger_than(memory.settings.sharding)
    if larger is None:
        return []
    words = f"--gpus {larger.gpus} --tensor-parallel-size {larger.tensor}"
    if larger.pipeline > 1:
        words += f" --pipeline-parallel-size {larger.pipeline}"
    return [f"use {words}"]


def _larger_card(planner: Planner, memory: Memory) -> str:
    return ", or ".join([*_more_gpus(planner, memory), _room(planner, memory)])


def _room(planner: Planner, memory: Memory) -> str:
    """Which cards would do, or how large one would have to be, all else being the same."""
    cards = planner.cards_for(memory.settings.sharding)
    if cards:
        return f"use --gpu {' or '.join(cards)}"
    missing = memory.request_bytes - min(memory.pool, memory.request_bytes)
    total = max((memory.requested + missing) / memory.settings.utilization, memory.load_peak)
    return f"a card of {int(total / GIB) + 1} GiB"
