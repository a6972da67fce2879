"""The KV cache: bytes a token, blocks, tokens and how many requests fit.

Follows vllm/v1/core/kv_cache_utils.py: every group of layers draws blocks from one pool, and a
request takes blocks of each group. `Layout` describes the pool of one GPU; `planning.pages` says
what its groups are, `planning.budget` how many bytes it gets.

DeepSeek V4 compresses its cache: pages of several kinds lie side by side in one block. Each layer
keeps a window of tokens and, where it compresses (`compress_ratios`), one entry for every few
tokens, the raw tokens of the entry that is not complete, and for sparse attention an index
(attention.py and compressor.py of vllm/models/deepseek_v4, sparse_swa.py of
vllm/v1/attention/backends/mla). What needs equally many blocks shares a table
(_get_packed_kv_cache_groups of v1/core/kv_cache_utils.py; kv_cache_planning.py in 0.33).
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployctl.engines.vllm.versions import behaviour
from deployctl.planning.pages import Page, groups, pages_of
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape

SHORTEST = 128  # tokens of a window: gpt-oss, DeepSeek V4
COMPRESSED = "0.31.0"  # the first release that was read: those before it group layers otherwise
_BLOCK = 256  # tokens of a block of the compressed cache, which the kernels ask for
_ENTRY = 584  # bytes of an entry: 448 FP8 values, 64 of 16 bits, 8 scales (fp8_ds_mla)
_ALIGNED = 576  # a page is a multiple of so many bytes, for the kernels
_WINDOW_BLOCK = 64  # tokens of a block of the window
_STATE_BLOCK = {4: 4, 128: 8}  # tokens of a block of what is not compressed yet, by ratio
_SCALED = 128  # values of an index that share a scale of 4 bytes


@dataclass(frozen=True)
class Layout:
    """The pool of one GPU."""

    groups: tuple[Page, ...]  # one page of each
    block_bytes: int  # of the pool: one block of one group
    from_concurrency: bool  # how this version counts the tokens it logs
    reserved_blocks: int
    in_flight: int  # tokens that may be scheduled and not yet settled

    @property
    def block_tokens(self) -> int:
        """Tokens of a block, the smallest of any group."""
        return min(page.tokens for page in self.groups)

    def blocks(self, pool_bytes: float) -> int:
        """Whole blocks in a pool."""
        if self.block_bytes <= 0 or pool_bytes <= 0:
            return 0
        return int(pool_bytes // self.block_bytes)

    def request_blocks(self, length: int) -> int:
        """Blocks that one request of `length` tokens takes at most."""
        return sum(page.needed(length, self.in_flight) for page in self.groups)

    def concurrency(self, pool_bytes: float, length: int) -> float:
        """Requests of `length` tokens that the pool holds at once."""
        needed = self.request_blocks(length)
        return self.blocks(pool_bytes) / needed if needed else 0.0

    def tokens(self, pool_bytes: float, length: int) -> int:
        """The figure that vLLM logs as the cache's size in tokens."""
        if self.from_concurrency:
            # As vLLM computes it, floating point and all.
            return int(self.concurrency(pool_bytes, length) * length)
        return self.blocks(pool_bytes) // len(self.groups) * self.block_tokens

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
        """Bytes that one more token of a short request takes, in every group that keeps it.

        No request is shorter than the shortest windows, of which it takes the same, then.
        """
        kept = (page for page in self.groups if not page.states and not 0 < page.span <= SHORTEST)
        return round(sum(self.block_bytes / page.tokens for page in kept))


def layout(
    shape: Shape, settings: EngineSettings, layers: tuple[int, int], *, cpu: bool = False
) -> Layout:
    """Lays out the cache of a pipeline stage that holds layers `layers[0]` to `layers[1]`."""
    version = settings.version
    if shape.ratios and not cpu:
        tables, block_bytes = packed(compressed_pages(shape, layers))
    else:
        pages = pages_of(shape, settings, layers, cpu=cpu)
        tables, block_bytes = groups(pages or [Page("full", 1, 0)], version)
    # Steps are scheduled ahead of the running one, which a CPU does not do.
    batches = 1 if cpu else behaviour("window_in_flight_batches", version)
    return Layout(
        groups=tables,
        block_bytes=block_bytes,
        from_concurrency=behaviour("tokens_from_concurrency", version),
        reserved_blocks=1 if behaviour("null_block_reserved", version) else 0,
        in_flight=settings.batch.tokens * batches,
    )


def compressed_pages(shape: Shape, layers: tuple[int, int]) -> list[Page]:
    """The pages of layers `layers[0]` to `layers[1]`."""
    start, stop = layers
    return [page for index in range(start, stop) for page in _layer(shape, shape.ratios[index])]


def _layer(shape: Shape, ratio: int) -> Iterator[Page]:
    yield Page("window", _WINDOW_BLOCK, _page(_WINDOW_BLOCK * _ENTRY), span=shape.window)
    if ratio <= 1:
        return
    yield Page("full", _BLOCK, _page(_BLOCK // ratio * _ENTRY))
    yield _state(ratio, shape.head_dim)
    if ratio == 4:  # those alone choose their tokens
        index = shape.index_dim + shape.index_dim // _SCALED * 4
        yield Page("full", _BLOCK, _page(_BLOCK // ratio * index))
        yield _state(ratio, shape.index_dim)


def _state(ratio: int, width: int) -> Page:
    """Keys and scores in float32 of the tokens that are still to be compressed."""
    overlap = 2 if ratio == 4 else 1
    tokens = _STATE_BLOCK[ratio]
    return Page("window", tokens, _page(tokens * 2 * overlap * width * 4), span=overlap * ratio)


def _page(nbytes: int) -> int:
    return math.ceil(nbytes / _ALIGNED) * _ALIGNED


def packed(pages: Sequence[Page]) -> tuple[tuple[Page, ...], int]:
    """One page for each group of layers, and the bytes of a block of the pool.

    Layers that are alike but for the size of their pages are repeats of a pattern where there are
    equally many of each size. A group has as many repeats as the pattern of several sizes with
    most of them, or somewhat more where that leaves less empty.
    """
    alike: dict[tuple[str, int, int], Counter[int]] = {}
    for page in pages:
        alike.setdefault((page.kind, page.tokens, page.span), Counter())[page.nbytes] += 1
    patterns = {key: sizes for key, sizes in alike.items() if len(set(sizes.values())) == 1}
    repeats = {key: max(sizes.values()) for key, sizes in alike.items()}
    least = max((repeats[key] for key, sizes in patterns.items() if len(sizes) > 1), default=0)
    each = _even([repeats[key] for key in patterns], least) if least else 0
    tables: list[Page] = []
    for key, sizes in alike.items():
        groups = math.ceil(repeats[key] / each) if each and key in patterns else 1
        for group in range(groups):
            nbytes = sum(size * len(range(group, n, groups)) for size, n in sizes.items())
            kind, tokens, span = key
            tables.append(Page("full" if kind == "full" else "window", tokens, nbytes, span=span))
    return tuple(tables), max(table.nbytes for table in tables)


def _even(repeats: Sequence[int], least: int) -> int:
    """How many repeats a group has: so many that least is padded, rather more than fewer."""
    return min(
        range(least, max(max(repeats), least) + 1),
        key=lambda size: (sum(-count % size for count in repeats), -size),
    )
