"""Memory refusals, each with what would do instead."""

from collections.abc import Callable, Iterator

from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.planning.budget import Memory
from deployctl.planning.weights import Sharding
from deployctl.units import GIB

# Bytes of a checkpoint that is quantized while it loads that are alive at once, over its
# unquantized weights: Qwen2.5-72B ran out of 139.7 GiB with 135.4 GiB of BF16 weights.
ONLINE_LOAD = 1.03
# GiB of an idle card that nobody can have: an H100 has 78.68 of 79.19 free. The second figure
# is for refusals of a utilization, where a wrong refusal would be worse than a late one.
CONTEXT_GIB = 0.5
UNUSABLE_GIB = 0.25


def findings(
    memory: Memory,
    profile: GpuProfile,
    users: int | None,
    larger: Callable[[], Sharding | None],
    cards: Callable[[], list[str]],
) -> Iterator[Reason]:
    """Refuses what the memory does not hold.

    `larger` finds a sharding that would fit, `cards` the profiles on which this one would.
    """
    setting, stage = memory.setting, memory.tightest
    if profile.kind == "cpu":
        yield from _host(memory)
    elif memory.load_peak > memory.total - CONTEXT_GIB * GIB:
        yield Reason(
            "weights_too_large",
            f"the weights take {memory.load_peak / GIB:.1f} GiB while they load; "
            f"{profile.title} has {memory.total / GIB:.1f} GiB",
            _card(memory, larger, cards),
        )
        return
    elif memory.requested > memory.total - UNUSABLE_GIB * GIB or _no_room_for_graphs(memory):
        yield Reason(
            "utilization_too_high",
            f"a utilization of {setting.utilization:g} asks for "
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
            _card(memory, larger, cards),
        )
        return
    if not memory.fits:
        longest = min(memory.longest, setting.length)
        needed = stage.layout.request_blocks(setting.length) * stage.layout.block_bytes
        yield Reason(
            "kv_cache_too_small",
            f"one request of {setting.length} tokens needs {needed / GIB:.2f} GiB of KV "
            f"cache; {stage.pool / GIB:.2f} GiB are left. The longest context that fits is "
            f"{longest} tokens",
            _shorter(longest, memory, profile, larger, cards),
        )
    elif users is not None and memory.concurrency < users:
        yield Reason(
            "kv_cache_too_small",
            f"the KV cache holds {memory.concurrency:.1f} requests of "
            f"{setting.length} tokens at once; {users} were asked for",
            _for_users(memory, users, larger),
        )


def _no_room_for_graphs(memory: Memory) -> bool:
    """Whether graphs that are captured on top of the budget cannot but run out of memory.

    Their estimate is for many graphs; a third of it is what any capture needs.
    """
    if memory.graphs_counted or memory.setting.kv_cache_bytes is not None:
        return False
    graphs = max(stage.graphs for stage in memory.stages)
    return graphs > 0 and memory.total - memory.requested < CONTEXT_GIB * GIB + graphs / 3


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


def _shorter(
    longest: int,
    memory: Memory,
    profile: GpuProfile,
    larger: Callable[[], Sharding | None],
    cards: Callable[[], list[str]],
) -> str:
    ways = [f"set --max-model-len {longest}"] if longest else []
    if profile.kind == "cpu":
        block = memory.tightest.layout
        needed = block.request_blocks(memory.setting.length) * block.block_bytes
        ways.append(f"set --kv-cache-gib {int(needed // GIB) + 1}")
        return ", or ".join(ways)
    ways += _more(larger)
    if not ways:
        ways.append(_room(memory, cards))
    return ", or ".join(ways)


def _for_users(memory: Memory, users: int, larger: Callable[[], Sharding | None]) -> str:
    stage = memory.tightest
    each = stage.pool / users
    longest = stage.layout.longest(each, memory.setting.length)
    ways = [f"set --max-model-len {longest}"] if longest else []
    ways += _more(larger)
    return ", or ".join(ways) or "ask for fewer --users"


def _more(larger: Callable[[], Sharding | None]) -> list[str]:
    found = larger()
    if found is None:
        return []
    world = found.tensor * found.pipeline
    words = f"--gpus {world} --tensor-parallel-size {found.tensor}"
    if found.pipeline > 1:
        words += f" --pipeline-parallel-size {found.pipeline}"
    return [f"use {words}"]


def _card(
    memory: Memory, larger: Callable[[], Sharding | None], cards: Callable[[], list[str]]
) -> str:
    return ", or ".join([*_more(larger), _room(memory, cards)])


def _room(memory: Memory, cards: Callable[[], list[str]]) -> str:
    """Which cards would do, or how large one would have to be, all else being the same."""
    named = cards()
    if named:
        return f"use --gpu {' or '.join(named)}"
    stage = memory.tightest
    setting = memory.setting
    needed = stage.layout.request_blocks(setting.length) * stage.layout.block_bytes
    missing = needed - min(stage.pool, needed)
    total = max((memory.requested + missing) / setting.utilization, memory.load_peak)
    return f"a card of {int(total / GIB) + 1} GiB"
