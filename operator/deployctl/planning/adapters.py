"""LoRA adapters: the slots that the engine keeps for them, and the graphs that it captures twice.

Every linear layer is wrapped, whatever the adapters that come later adapt, and has its stacked
tensors from the start (vllm/lora/layers, create_lora_weights), so the log counts them as weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.planning.linear import DTYPE_BYTES
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Layer, Shape, layers_of
from deployctl.planning.states import CACHELESS

RANK, SLOTS = 16, 1  # vllm/config/lora.py
# The first release that wraps experts (lora/layers/fused_moe.py).
EXPERTS = "0.11.1"
# Models that name embedding_modules (vllm/model_executor/models of 0.20 to 0.33): the table and the
# output layer have slots too.
_EMBEDDED = (
    *("apertus", "exaone", "exaone4", "granite", "granitemoe", "llama", "minicpm", "mixtral"),
    *("nemotron", "phimoe", "qwen3", "qwen3_moe", "solar"),
)


@dataclass(frozen=True)
class _Wrapped:
    """One wrapped layer: the names that an adapter may have it by, and the values a rank."""

    names: tuple[str, ...]
    values: float


def enabled(settings: EngineSettings) -> bool:
    """Whether adapters are served."""
    return settings.rest.get("enable_lora") is True


def slots(settings: EngineSettings) -> int:
    """Adapters that one step may use."""
    return _number(settings, "max_loras", SLOTS)


def rank(settings: EngineSettings) -> int:
    """The largest rank that an adapter may have: that of every slot."""
    return _number(settings, "max_lora_rank", RANK)


def counted(shape: Shape, settings: EngineSettings) -> bool:
    """Whether the slots of all layers are known."""
    plain = not (shape.latent or shape.shared_blocks or shape.side.width or shape.side.streams)
    plain = plain and not any(_unknown(layer) for layer in {*layers_of(shape)})
    return plain and settings.rest.get("enable_tower_connector_lora") is not True


def nbytes(shape: Shape, settings: EngineSettings, start: int, stop: int) -> float:
    """Bytes of the slots of layers `start` to `stop` on one rank, and of what is beside them."""
    if not enabled(settings) or not counted(shape, settings):
        return 0.0
    targets = settings.rest.get("lora_target_modules")
    named = {str(name) for name in targets} if isinstance(targets, list) else None
    values = 0.0
    for wrapped in _wrapped(shape, settings, start, stop):
        if named is None or named & {*wrapped.names}:
            values += wrapped.values
    width = DTYPE_BYTES.get(str(settings.rest.get("lora_dtype")), settings.dtype_bytes)
    return slots(settings) * rank(settings) * values * width


def graph_cases(settings: EngineSettings) -> int:
    """How often each CUDA graph is captured (v1/cudagraph_dispatcher.py, _get_lora_cases)."""
    if not enabled(settings) or not behaviour("lora_graphs_apart", settings.version):
        return 1
    if settings.rest.get("specialize_active_lora") is not True:
        return 2
    most = slots(settings) + 1
    return 1 + sum(n & (n - 1) == 0 or n == most for n in range(1, most + 1))


def _unknown(layer: Layer) -> bool:
    return layer.stateful or layer.indexed or layer.kind in CACHELESS


def _number(settings: EngineSettings, name: str, default: int) -> int:
    given = settings.rest.get(name)
    if isinstance(given, bool) or not isinstance(given, int):
        return default
    return given if 1 <= given <= 1 << 16 else default


def _wrapped(shape: Shape, settings: EngineSettings, start: int, stop: int) -> Iterator[_Wrapped]:
    tensor = settings.sharding.tensor
    cut = tensor if settings.rest.get("fully_sharded_loras") is True else 1
    hidden = shape.hidden
    for layer in layers_of(shape)[start:stop]:
        full = layer.kind not in ("sliding_attention", "chunked_attention")
        width = (shape.full_head_dim if full else 0) or shape.head_dim
        own = (shape.full_kv_heads if full else 0) or shape.kv_heads
        queries = shape.heads * width * (2 if shape.gated_attention else 1) / tensor
        keys = 0.0 if layer.shares else max(1.0, own / tensor) * width
        read = 1 if layer.shares else 3  # each part of a merged layer has its own first matrix
        into = read * hidden / cut + queries + 2 * keys
        yield _Wrapped(("qkv_proj", "q_proj", "k_proj", "v_proj"), into)
        out = shape.heads * width / tensor + hidden / cut
        yield _Wrapped(("o_proj", "out_proj"), out)
        if layer.feed in ("dense", "both"):
            wide = 2 if layer.shares and shape.double_wide else 1
            yield from _mlp(shape, wide * shape.intermediate / tensor, cut)
        if layer.feed in ("sparse", "both"):
            yield from _experts(shape, settings, cut)
    if shape.model_type in _EMBEDDED:
        if start == 0:
            yield _Wrapped(("embed_tokens",), shape.vocab + hidden)
        if stop == shape.layers:
            yield _Wrapped(("lm_head",), shape.vocab + hidden)


def _mlp(shape: Shape, inner: float, cut: int, times: int = 1) -> Iterator[_Wrapped]:
    up = 2 if shape.gated else 1
    names = ("gate_up_proj", "gate_proj", "up_proj")
    yield _Wrapped(names, times * up * (shape.hidden / cut + inner))
    yield _Wrapped(("down_proj",), times * (inner + shape.hidden / cut))


def _experts(shape: Shape, settings: EngineSettings, cut: int) -> Iterator[_Wrapped]:
    tensor = settings.sharding.tensor
    yield _Wrapped(("gate",), shape.hidden + shape.experts)
    if shape.shared_size:
        yield from _mlp(shape, shape.shared_size / tensor, cut)
    if at_least(settings.version, EXPERTS):
        whole = settings.whole_experts
        inner = shape.expert_size if whole else shape.expert_size / tensor
        held = -(-shape.experts // tensor) if whole else shape.experts
        for piece in _mlp(shape, inner, 1 if whole else cut, held):
            yield _Wrapped(("experts", *piece.names), piece.values)
