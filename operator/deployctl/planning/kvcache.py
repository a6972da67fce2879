"""The KV cache: bytes a token, blocks, tokens and how many requests fit.

Follows vllm/v1/core/kv_cache_utils.py: layers of one kind form groups of equal length, every
group draws blocks from one pool, and a request takes blocks of each group. `Layout` describes
the pool of one GPU; `planning.budget` says how many bytes it gets.
"""

import math
from collections import Counter
from dataclasses import dataclass

from deployctl.engines.vllm.versions import behaviour
from deployctl.planning.linear import DTYPE_BYTES
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape

BLOCK_TOKENS = 16  # vllm/config/cache.py, the default on CUDA
CPU_BLOCK_TOKENS = 128  # vllm/platforms/cpu.py, the default on a CPU
# Layers that keep a state of fixed size or nothing at all, not a cache of tokens.
_CACHELESS = {"linear_attention", "mamba", "mlp", "moe", "conv"}


def cache_bytes(kv_cache_dtype: str | None, dtype: str) -> float:
    """Bytes of one cached value. `auto` is the model's dtype; fp8 in its variants is one."""
    if kv_cache_dtype and kv_cache_dtype != "auto":
        if "fp8" in kv_cache_dtype or "int8" in kv_cache_dtype:
            return 1.0
        if "fp4" in kv_cache_dtype or "int4" in kv_cache_dtype:
            return 0.5625  # a 4-bit value and its share of an 8-bit scale for sixteen
        return float(DTYPE_BYTES.get(kv_cache_dtype, 2))
    return float(DTYPE_BYTES.get(dtype, 2))


@dataclass(frozen=True)
class Group:
    """Layers of one kind that share a block table."""

    window: int  # tokens kept; 0: every token
    chunk: bool = False  # chunked local attention (Llama 4) rather than a sliding window
    fixed: bool = False  # one state a request, whatever its length


@dataclass(frozen=True)
class Layout:
    """The pool of one GPU."""

    groups: tuple[Group, ...]
    block_bytes: int  # of the pool: one block of one group
    block_tokens: int
    from_concurrency: bool  # how this version counts the tokens it logs
    reserved_blocks: int
    in_flight: int  # tokens that may be scheduled and not yet settled

    def blocks(self, pool_bytes: float) -> int:
        """Whole blocks in a pool."""
        if self.block_bytes <= 0 or pool_bytes <= 0:
            return 0
        return int(pool_bytes // self.block_bytes)

    def request_blocks(self, length: int) -> int:
        """Blocks that one request of `length` tokens takes at most."""
        total = 0
        for group in self.groups:
            if group.fixed:
                total += 1
            elif not group.window:
                total += math.ceil(length / self.block_tokens)
            elif group.chunk:
                tokens = min(group.window + self.in_flight, length)
                total += math.ceil(tokens / self.block_tokens)
            else:
                tokens = min(group.window - 1 + self.in_flight, length)
                total += math.ceil(tokens / self.block_tokens) + 1
        return total

    def concurrency(self, pool_bytes: float, length: int) -> float:
        """Requests of `length` tokens that the pool holds at once."""
        needed = self.request_blocks(length)
        return self.blocks(pool_bytes) / needed if needed else 0.0

    def tokens(self, pool_bytes: float, length: int) -> int:
        """The figure that vLLM logs as the cache's size in tokens."""
        if self.from_concurrency:
            # As vLLM computes it, floating point and all.
            return int(self.concurrency(pool_bytes, length) * length)
        return self.blocks(pool_bytes) // max(1, len(self.groups)) * self.block_tokens

    def holds(self, pool_bytes: float, length: int) -> bool:
        """Whether one request of `length` tokens fits: vLLM refuses to start otherwise."""
        return self.blocks(pool_bytes) - self.reserved_blocks >= self.request_blocks(length)

    def longest(self, pool_bytes: float, limit: int) -> int:
        """The longest request that fits, up to `limit` tokens; 0 when none does."""
        low, high = 0, max(0, limit)
        while low < high:
            middle = (low + high + 1) // 2
            if self.holds(pool_bytes, middle):
                low = middle
            else:
                high = middle - 1
        return low

    @property
    def token_bytes(self) -> int:
        """Bytes that one more token of a short request takes: every group counts."""
        return round(self.block_bytes / self.block_tokens * len(self.groups))


def layout(
    shape: Shape, settings: EngineSettings, layers: tuple[int, int], *, cpu: bool = False
) -> Layout:
    """Lays out the cache of a pipeline stage that holds layers `layers[0]` to `layers[1]`."""
    version, value_bytes = settings.version, cache_bytes(settings.kv_cache_dtype, settings.dtype)
    if shape.latent:
        # One compressed vector, the same on every rank; V0 pads it to 640 (its own kernel).
        per_layer = (shape.kv_rank + shape.rope_dim) * value_bytes
    else:
        heads = max(1, -(-shape.kv_heads // settings.sharding.tensor))
        per_layer = 2 * heads * shape.head_dim * value_bytes
    # The CPU's MLA kernel knows blocks of 16 alone (vllm/platforms/cpu.py).
    usual = CPU_BLOCK_TOKENS if cpu and not shape.latent else BLOCK_TOKENS
    block_tokens = settings.block_tokens or usual
    groups, deep = _groups(shape, settings, *layers)
    if shape.linear is not None and any(group.fixed for group in groups) and per_layer > 0:
        # Blocks grow until a state fits into one (platforms/interface.py, block alignment).
        needed = -(-shape.linear.state(settings.sharding.tensor) // per_layer)
        block_tokens = max(block_tokens, int(-(-needed // BLOCK_TOKENS) * BLOCK_TOKENS))
    # Steps are scheduled ahead of the running one, which a CPU does not do.
    batches = 1 if cpu else behaviour("window_in_flight_batches", version)
    return Layout(
        groups=groups,
        block_bytes=round(per_layer * block_tokens) * deep,
        block_tokens=block_tokens,
        from_concurrency=behaviour("tokens_from_concurrency", version),
        reserved_blocks=1 if behaviour("null_block_reserved", version) else 0,
        in_flight=settings.batch.tokens * batches,
    )


def _groups(
    shape: Shape, settings: EngineSettings, start: int, stop: int
) -> tuple[tuple[Group, ...], int]:
    """Returns the groups, and the layers of the longest."""
    version, hybrid = settings.version, settings.hybrid
    cached = [_group_of(kind, shape) for kind in shape.kinds[start:stop]]
    kinds = [group for group in cached if group is not None]
    if not kinds:
        return (Group(0),), max(1, stop - start)
    states = any(group.fixed for group in kinds)
    if any(group.chunk for group in kinds):
        hybrid = hybrid and bool(behaviour("hybrid_chunked", version))
    if not states and (not hybrid or not behaviour("hybrid_kv_cache", version)):
        return (Group(0),), len(kinds)
    tally = Counter(kinds)
    if len(tally) == 1:
        return (next(iter(tally)),), len(kinds)
    shortest, longest = min(tally.values()), max(tally.values())
    deep = longest if longest < shortest * behaviour("group_padding_ratio", version) else shortest
    groups = [group for group, size in tally.items() for _ in range(-(-size // deep))]
    return tuple(groups), deep


def _group_of(kind: str, shape: Shape) -> Group | None:
    if kind == "sliding_attention" and shape.window:
        return Group(shape.window)
    if kind == "chunked_attention" and shape.window:
        return Group(shape.window, chunk=True)
    if kind == "linear_attention" and shape.linear is not None:
        return Group(0, fixed=True)
    if kind in _CACHELESS:
        return None
    return Group(0)
