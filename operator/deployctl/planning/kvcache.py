"""The KV cache: bytes a token, blocks, tokens and how many requests fit.

Follows vllm/v1/core/kv_cache_utils.py: every group of layers draws blocks from one pool, and a
request takes blocks of each group. `Layout` describes the pool of one GPU; `planning.pages` says
what its groups are, `planning.budget` how many bytes it gets.
"""

from dataclasses import dataclass

from deployctl.engines.vllm.versions import behaviour
from deployctl.planning.pages import Page, groups, pages_of
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape


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
        """Bytes that one more token of a short request takes, in every group that keeps it."""
        kept = (page for page in self.groups if not page.states)
        return round(sum(self.block_bytes / page.tokens for page in kept))


def layout(
    shape: Shape, settings: EngineSettings, layers: tuple[int, int], *, cpu: bool = False
) -> Layout:
    """Lays out the cache of a pipeline stage that holds layers `layers[0]` to `layers[1]`."""
    version = settings.version
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
