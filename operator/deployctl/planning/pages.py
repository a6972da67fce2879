"""Pages: how the engine keeps a request in each layer, and which layers share a block table.

A page is one block of one layer. Follows vllm/v1/kv_cache_interface.py (the specs),
vllm/v1/core/kv_cache_utils.py (the groups) and, for models whose layers keep states,
vllm/platforms/interface.py, _align_hybrid_block_size: a block of attention grows until a state
fits into a page, and the state's page is padded to the same size.
"""

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from deployctl.engines.vllm.versions import behaviour
from deployctl.model.tables import TYPES
from deployctl.planning.linear import DTYPE_BYTES
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape
from deployctl.planning.states import BY_VERSION, CACHELESS, STATEFUL, State

BLOCK_TOKENS = 16  # vllm/config/cache.py, the default on CUDA
SPARSE_BLOCK_TOKENS = 64  # v1/attention/backends/mla/indexer.py, flashmla_sparse.py
CPU_BLOCK_TOKENS = 128  # vllm/platforms/cpu.py, the default on a CPU
CPU_KERNEL_TOKENS = 32  # v1/attention/backends/cpu_attn.py
PACKED_LATENT_BYTES = 656  # a token of fp8_ds_mla: 512 FP8 values, 4 scales, 64 of 16 bits
_INDEX_SCALED = 128  # values of an index that share a scale of 4 bytes


@dataclass(frozen=True)
class Page:
    """One block of one layer."""

    kind: Literal["full", "window", "chunk", "state"]
    tokens: int  # that fit into it
    nbytes: int
    span: int = 0  # tokens of the window or of the chunk
    states: int = 0  # pages that a request takes whatever its length; 0: one for each `tokens`

    def needed(self, length: int, in_flight: int) -> int:
        """Pages that a request of `length` tokens takes at most."""
        if self.states:
            return self.states
        if self.kind == "window":
            kept = min(self.span - 1 + in_flight, length)
            return math.ceil(kept / self.tokens) + 1  # a window may begin inside of a block
        kept = min(self.span + in_flight, length) if self.kind == "chunk" else length
        return math.ceil(kept / self.tokens)

    def grown(self, nbytes: int) -> "Page":
        """The same page with `nbytes`: more tokens where that divides, else padded."""
        if self.kind == "state" or not self.nbytes or nbytes % self.nbytes:
            return replace(self, nbytes=nbytes)
        return replace(self, nbytes=nbytes, tokens=self.tokens * (nbytes // self.nbytes))


def groups(pages: Sequence[Page], version: str) -> tuple[tuple[Page, ...], int]:
    """One page for each group of layers, and the bytes of a block of the pool.

    Layers that need the same number of blocks share one table, whatever their pages. Others get
    pages of one size and groups of equal length (_get_kv_cache_groups_uniform_page_size): as
    many layers as the rarest kind has, or as the commonest when that is not much more.
    """
    if len({(page.kind, page.tokens, page.span) for page in pages}) == 1:
        return (pages[0],), sum(page.nbytes for page in pages)
    largest = max(page.nbytes for page in pages)
    tally: Counter[Page] = Counter()
    for page, times in Counter(pages).items():
        tally[page.grown(largest)] += times
    shortest, longest = min(tally.values()), max(tally.values())
    padded = longest < shortest * behaviour("group_padding_ratio", version)
    deep = longest if padded else shortest
    tables = [page for page, size in tally.items() for _ in range(-(-size // deep))]
    return tuple(tables), largest * deep


def pages_of(
    shape: Shape, settings: EngineSettings, layers: tuple[int, int], *, cpu: bool
) -> list[Page]:
    """The pages of layers `layers[0]` to `layers[1]`; empty when none of them keeps anything."""
    start, stop = layers
    kinds = shape.kinds or ("full_attention",) * shape.layers
    state = shape.state if STATEFUL & set(kinds) else None
    held = state_bytes(state, settings) if state else 0
    attends = any(kind not in STATEFUL - {"hybrid"} for kind in kinds if kind not in CACHELESS)
    tokens = _block_tokens(shape, settings, held if attends else 0, cpu=cpu)
    kept = Page("state", tokens, held, states=_states(shape, settings, hybrid=attends))
    if attends:
        kept = kept.grown(round(_token_bytes(shape, settings) * tokens))
    made: list[Page] = []
    alike: dict[tuple[str, bool], tuple[Page, ...]] = {}  # of layers that differ in nothing else
    for index in range(start, min(stop, len(kinds))):
        kind = kinds[index]
        if kind in STATEFUL and held:
            made.append(kept)
        attention = kind not in CACHELESS and (kind == "hybrid" or kind not in STATEFUL)
        if attention and index < shape.layers - shape.kv_shared:
            like = (kind, index >= len(shape.indexed) or shape.indexed[index])
            if like not in alike:
                alike[like] = tuple(_attention(shape, settings, kind, tokens, indexed=like[1]))
            made.extend(alike[like])
    return _without_windows(made, settings)


def _attention(
    shape: Shape, settings: EngineSettings, kind: str, tokens: int, *, indexed: bool
) -> Iterator[Page]:
    """The pages of a layer of this kind, which attends to tokens."""
    full = kind not in ("sliding_attention", "chunked_attention") or not shape.window
    nbytes = round(_token_bytes(shape, settings, full=full) * tokens)
    if full:
        yield Page("full", tokens, nbytes)
        if shape.index_dim and indexed:
            scales = shape.index_dim // _INDEX_SCALED * 4
            yield Page("full", tokens, (shape.index_dim + scales) * tokens)
    else:
        local: Literal["window", "chunk"] = "window" if kind == "sliding_attention" else "chunk"
        yield Page(local, tokens, nbytes, span=shape.window)


def _without_windows(pages: list[Page], settings: EngineSettings) -> list[Page]:
    """Keeps every token in layers with windows where the engine does, beside full ones."""
    version = settings.version
    hybrid = settings.hybrid and bool(behaviour("hybrid_kv_cache", version))
    if any(page.kind == "chunk" for page in pages):
        hybrid = hybrid and bool(behaviour("hybrid_chunked", version))
    mixed = len({(page.kind, page.span) for page in pages if page.kind != "state"}) > 1
    if hybrid or (not mixed and behaviour("hybrid_kv_cache", version)):
        return pages
    return [page if page.kind == "state" else replace(page, kind="full", span=0) for page in pages]


def cache_bytes(kv_cache_dtype: str | None, dtype: str) -> float:
    """Bytes of one cached value. `auto` is the model's dtype; fp8 in its variants is one."""
    if kv_cache_dtype and kv_cache_dtype != "auto":
        if "fp8" in kv_cache_dtype or "int8" in kv_cache_dtype:
            return 1.0
        if "fp4" in kv_cache_dtype or "int4" in kv_cache_dtype:
            return 0.5625  # a 4-bit value and its share of an 8-bit scale for sixteen
        return float(DTYPE_BYTES.get(kv_cache_dtype, 2))
    return float(DTYPE_BYTES.get(dtype, 2))


def _token_bytes(shape: Shape, settings: EngineSettings, *, full: bool = True) -> float:
    """Bytes of one token in one layer on one rank."""
    value_bytes = cache_bytes(settings.kv_cache_dtype, settings.dtype)
    if shape.latent:
        # One compressed vector, the same on every rank.
        if shape.index_dim and _packed(settings):
            return PACKED_LATENT_BYTES
        return (shape.kv_rank + shape.rope_dim) * value_bytes
    heads, width = shape.kv_heads, shape.head_dim
    if full:
        heads, width = shape.full_kv_heads or heads, shape.full_head_dim or width
    return 2 * max(1, -(-heads // settings.sharding.tensor)) * width * value_bytes


def state_bytes(state: State, settings: EngineSettings) -> int:
    """Bytes of a state on each rank (MambaStateShapeCalculator, MambaStateDtypeCalculator)."""
    tensor = settings.sharding.tensor
    usual = _asked(settings, "mamba_cache_dtype", settings.dtype)
    own = state.dtype
    if own == BY_VERSION:
        own = str(behaviour("nemotron_state_dtype", settings.version))
    own = usual if own == "auto" else own
    if state.kind != "lightning":  # whose one state is in the usual dtype
        own = _asked(settings, "mamba_ssm_cache_dtype", own)
    convolved = state.channels_of(tensor) * (state.kernel - 1) * DTYPE_BYTES.get(usual, 2)
    return convolved + state.recurrent // tensor * DTYPE_BYTES.get(own, 2)


def _asked(settings: EngineSettings, name: str, default: str) -> str:
    value = settings.rest.get(name)
    return value if isinstance(value, str) and value in DTYPE_BYTES else default


def _packed(settings: EngineSettings) -> bool:
    """Whether sparse attention packs FP8 values with their scales (models/config.py)."""
    asked = settings.kv_cache_dtype or "auto"
    if asked == "auto":
        return bool(behaviour("sparse_cache_packed", settings.version))
    return asked.startswith("fp8")


def _block_tokens(shape: Shape, settings: EngineSettings, state: int, *, cpu: bool) -> int:
    """Tokens of a block of attention, beside layers that keep `state` bytes."""
    # The CPU's MLA kernel knows blocks of 16 alone (vllm/platforms/cpu.py).
    usual = CPU_BLOCK_TOKENS if cpu and not shape.latent else BLOCK_TOKENS
    if shape.index_dim and not cpu:
        usual = SPARSE_BLOCK_TOKENS
    tokens = settings.block_tokens or usual
    if not state:
        return tokens
    step = CPU_KERNEL_TOKENS if cpu and not shape.latent else BLOCK_TOKENS
    if shape.latent:
        step = int(behaviour("latent_state_step", settings.version))
    if behaviour("state_step_is_block", settings.version):
        step = max(step, tokens)
    if shape.state is not None and _mode(shape, settings, hybrid=True) == "all":
        step = math.lcm(step, shape.state.chunk)
    needed = -(-state // _token_bytes(shape, settings))
    return max(tokens, int(-(-needed // step) * step))


def _states(shape: Shape, settings: EngineSettings, *, hybrid: bool) -> int:
    """Pages of state that one request takes; 0: one for each block of its tokens."""
    mode = _mode(shape, settings, hybrid=hybrid)
    if mode == "all":
        return 0
    if mode == "none":
        return 1
    # The state in use and the one to share; Mamba2 writes a checkpoint of long prompts too.
    mamba2 = shape.state is not None and shape.state.kind == "mamba2"
    return 2 + (int(behaviour("state_checkpoints", settings.version)) if mamba2 else 0)


def _mode(shape: Shape, settings: EngineSettings, *, hybrid: bool) -> str:
    """mamba_cache_mode in force: what prefix caching keeps of states (models/config.py)."""
    version, asked = settings.version, settings.rest.get("enable_prefix_caching")
    usual = hybrid and bool(behaviour("hybrid_prefix_caching", version))
    modes = behaviour("state_modes", version)
    if not (asked if isinstance(asked, bool) else usual) or modes == ["none"]:
        return "none"
    whole = shape.text_type in TYPES["state_prefix"]
    told = settings.rest.get("mamba_cache_mode")
    if told in modes and (whole or told != "all"):
        return str(told)
    return str(modes[0] if whole or modes[0] != "all" else modes[-1])
