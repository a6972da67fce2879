"""Shape: a decoder's numbers as planning counts them, read with suspicion.

`Architecture` holds what every decoder has; what only some have (biases, latent attention,
shared experts, a vision tower) is read here from the raw configuration. A value of the wrong
type or an absurd size counts as absent: the Hub's documents are not to be trusted.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from deployctl.model import Architecture
from deployctl.model.fields import count
from deployctl.model.tables import TYPES
from deployctl.planning.states import CACHELESS, STATEFUL, State, state_of
from deployctl.planning.vision import Vision, audio_values, vision_of


@dataclass(frozen=True)
class Beside:
    """What Gemma 3n and 4 have beside the usual layer (gemma3n.py, gemma4.py)."""

    width: int = 0  # of the input that each layer has of every token
    vocab: int = 0  # tokens that have such inputs
    streams: int = 0  # copies of the hidden state (AltUp)
    low_rank: int = 0  # of the residual's own path (LAuReL)


@dataclass(frozen=True)
class Shape:
    """A decoder's numbers."""

    model_type: str
    text_type: str  # of the part with the decoder
    name: str
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    positions: int
    qkv_bias: bool = False
    out_bias: bool = False
    qk_norm: bool = False
    norms: int = 2
    gated: bool = True
    # Experts
    experts: int = 0
    topk: int = 0
    expert_size: int = 0
    shared_size: int = 0
    dense_layers: int = 0  # leading layers (or listed ones) without experts
    expert_bias: bool = False
    expert_hidden: int = 0  # where experts work on a width of their own (Nemotron 3, Kimi K3)
    expert_bits: int = 0  # of experts stored otherwise than the rest (DeepSeek V4)
    # Latent attention
    kv_rank: int = 0
    q_rank: int = 0
    rope_dim: int = 0
    nope_dim: int = 0
    v_dim: int = 0
    window: int = 0
    kinds: tuple[str, ...] = ()  # of the layers; () when all keep every token
    full_kv_heads: int = 0  # of layers that keep every token, where theirs differ (Gemma 4)
    full_head_dim: int = 0
    all_project: bool = False  # those of `kv_shared` keep projections of keys and values too
    kv_shared: int = 0  # trailing layers that read the cache of an earlier one (Gemma 3n and 4)
    # Sparse attention (DeepSeek V3.2): width of the index of each token, and whose layers have it
    index_dim: int = 0
    index_heads: int = 0
    indexed: tuple[bool, ...] = ()
    ratios: tuple[int, ...] = ()  # tokens behind one entry of each layer's cache (DeepSeek V4)
    rotary: tuple[tuple[int, int], ...] = ()  # (positions, dimension) of each cos/sin cache
    vision: Vision | None = None
    audio: int = 0  # weights of the audio tower, whole on every rank
    text_alone: bool = False  # the vision tower is not loaded
    deaf: bool = False  # nor the audio tower
    side: Beside = Beside()
    double_wide: bool = False  # the MLP, in layers that read the cache of an earlier one (Gemma 4)
    shared_blocks: int = 0  # of attention and MLP, which "hybrid" layers call (Zamba2)
    adapter_rank: int = 0  # of what adapts a shared block to the layer
    state: State | None = None  # of layers that keep one; None as well when it is not known
    gated_attention: bool = False  # the query projection brings a gate of its own width

    @property
    def latent(self) -> bool:
        """Whether attention keeps one compressed vector a token (MLA)."""
        return self.kv_rank > 0

    @property
    def expert_layers(self) -> int:
        """Layers that hold experts."""
        return max(0, self.layers - self.dense_layers) if self.experts else 0


Feed = Literal["dense", "sparse", "both", "none"]


class Layer(NamedTuple):
    """What decides the weights and the buffers of one layer."""

    kind: str
    feed: Feed
    shares: bool  # it reads the cache of an earlier one
    indexed: bool  # it chooses the tokens of sparse attention

    @property
    def stateful(self) -> bool:
        """Whether it keeps a state, alone or beside attention."""
        return self.kind in STATEFUL


@lru_cache(maxsize=256)
def layers_of(shape: Shape) -> tuple[Layer, ...]:
    """All layers of a decoder, which planning asks for again and again."""
    mixers_alone = shape.text_type in TYPES["one_part"]
    made = []
    for index, kind in enumerate(shape.kinds or ("full_attention",) * shape.layers):
        feed: Feed = "dense"
        if kind == "moe" or (shape.experts and kind != "mlp" and index >= shape.dense_layers):
            feed = "both" if shape.text_type.startswith("gemma4") else "sparse"  # gemma4.py
        if mixers_alone and kind not in CACHELESS:
            feed = "none"
        indexed = bool(shape.index_dim) and (index >= len(shape.indexed) or shape.indexed[index])
        made.append(Layer(kind, feed, index >= shape.layers - shape.kv_shared, indexed))
    return tuple(made)


def shape_of(architecture: Architecture, *, text_alone: bool = False, deaf: bool = False) -> Shape:
    """Reads the numbers that planning needs; served without its vision, or its audio tower."""
    raw, kind = architecture.raw, architecture.model_type
    text_type = architecture.text_type or kind
    head = architecture.num_heads, architecture.head_dim
    experts = architecture.num_experts
    rope_dim = architecture.qk_rope_head_dim or 0
    latent = architecture.mla or bool(architecture.kv_lora_rank)
    return Shape(
        model_type=kind,
        text_type=text_type,
        name=architecture.name,
        layers=architecture.num_layers,
        hidden=architecture.hidden_size,
        intermediate=architecture.intermediate_size,
        heads=architecture.num_heads,
        kv_heads=architecture.num_kv_heads,
        head_dim=architecture.head_dim,
        vocab=architecture.vocab_size,
        tied=architecture.tied_embeddings,
        positions=architecture.max_position_embeddings,
        qkv_bias=_qkv_bias(raw, kind),
        out_bias=kind == "gpt_oss" or (kind != "qwen2" and raw.get("attention_bias") is True),
        qk_norm=kind in TYPES["qk_norm"] or raw.get("use_qk_norm") is True,
        norms=4 if kind in TYPES["four_norms"] else 2,
        gated=kind not in TYPES["plain_mlp"],
        experts=experts,
        topk=max(1, architecture.experts_per_token),
        expert_size=architecture.moe_intermediate_size or architecture.intermediate_size,
        shared_size=architecture.shared_expert_size,
        dense_layers=max(0, architecture.num_layers - architecture.moe_layers) if experts else 0,
        expert_bias=kind == "gpt_oss",
        expert_hidden=count(raw, "moe_latent_size", "routed_expert_hidden_size"),
        expert_bits=4 if raw.get("expert_dtype") == "fp4" else 0,
        kv_rank=architecture.kv_lora_rank or 0,
        q_rank=architecture.q_lora_rank or count(raw, "q_lora_rank"),
        rope_dim=rope_dim,
        nope_dim=(architecture.qk_nope_head_dim or 128) if latent else 0,
        v_dim=(architecture.v_head_dim or 128) if latent else 0,
        window=architecture.sliding_window or 0,
        kinds=architecture.layer_types,
        full_kv_heads=_full_kv_heads(architecture),
        full_head_dim=architecture.full_head_dim or 0,
        kv_shared=min(count(raw, "num_kv_shared_layers"), architecture.num_layers),
        index_dim=count(raw, "index_head_dim") if count(raw, "index_topk") else 0,
        index_heads=count(raw, "index_n_heads", default=64),
        indexed=_indexed(raw, architecture.num_layers),
        ratios=_ratios(raw, architecture.num_layers),
        rotary=_rotary(architecture),
        text_alone=text_alone,
        deaf=deaf,
        audio=audio_values(architecture.audio, architecture.hidden_size),
        vision=_vision(architecture),
        side=_side(raw, architecture.vocab_size),
        double_wide=raw.get("use_double_wide_mlp") is True,
        shared_blocks=_shared_blocks(raw, text_type),
        adapter_rank=count(raw, "adapter_rank", default=128),
        state=state_of(raw, text_type, architecture.hidden_size, head),
        gated_attention=_gated_attention(raw, text_type),
    )


def _vision(architecture: Architecture) -> Vision | None:
    tower = architecture.vision or architecture.raw.get("vision_config")
    return vision_of(tower, architecture.model_type, architecture.image_pixels)


def _full_kv_heads(architecture: Architecture) -> int:
    """Heads that full layers cache: theirs alone where keys serve as values (gemma4.py)."""
    alone = architecture.raw.get("attention_k_eq_v") is True
    return (architecture.full_kv_heads or 0) if alone else 0


def _gated_attention(raw: Mapping[str, Any], kind: str) -> bool:
    """Qwen3-Next and later gate attention unless they say otherwise (qwen3_next.py)."""
    said = raw.get("attn_output_gate")
    return said if isinstance(said, bool) else kind.startswith(("qwen3_next", "qwen3_5"))


def _shared_blocks(raw: Mapping[str, Any], kind: str) -> int:
    return min(64, count(raw, "num_mem_blocks", default=1)) if kind == "zamba2" else 0


def _indexed(raw: Mapping[str, Any], layers: int) -> tuple[bool, ...]:
    """Which layers choose their tokens themselves (vllm/models/deepseek_v32/attention.py).

    The others take the choice of the one before: by a pattern ("S" shares), or all but every n-th.
    """
    pattern = raw.get("index_topk_pattern")
    if isinstance(pattern, str | list):
        return tuple(i >= len(pattern) or pattern[i] != "S" for i in range(layers))
    every = max(1, count(raw, "index_topk_freq", default=1))
    offset = count(raw, "index_skip_topk_offset", default=2)
    return tuple(max(i - offset + 1, 0) % every == 0 for i in range(layers))


def _ratios(raw: Mapping[str, Any], layers: int) -> tuple[int, ...]:
    """How DeepSeek V4's layers compress; () where that is not said, or not as the engine has it."""
    said = raw.get("compress_ratios")
    if not isinstance(said, list) or len(said) < layers:
        return ()
    known = all(type(ratio) is int and ratio in (0, 1, 4, 128) for ratio in said[:layers])
    return tuple(said[:layers]) if known else ()


def _qkv_bias(raw: Mapping[str, Any], kind: str) -> bool:
    by_class = kind in TYPES["qkv_bias"]
    said = (raw.get(name) for name in ("qkv_bias", "attention_bias", "use_qkv_bias"))
    return by_class or next((value for value in said if isinstance(value, bool)), False)


def _rotary(architecture: Architecture) -> tuple[tuple[int, int], ...]:
    """The cos/sin caches (vllm/model_executor/layers/rotary_embedding): positions × dimension.

    They are buffers of the module, so vLLM's log counts them as weights. `linear` scaling
    multiplies the positions, YaRN takes original × factor, the others the model's own length.
    """
    raw, kind = architecture.raw, architecture.text_type or architecture.model_type
    if _without_positions(raw, kind):
        return ()
    positions = count(raw, "max_position_embeddings", default=architecture.max_position_embeddings)
    dimension = architecture.qk_rope_head_dim or architecture.head_dim
    scaling = raw.get("rope_scaling") or raw.get("rope_parameters")
    scaling = scaling if isinstance(scaling, Mapping) else {}
    partial = raw.get("partial_rotary_factor") or scaling.get("partial_rotary_factor")
    if isinstance(partial, float) and 0 < partial < 1:
        dimension = int(dimension * partial)
    if isinstance(scaling.get("full_attention"), Mapping):
        scaling = scaling["full_attention"]
    scaled = scaling.get("rope_type", scaling.get("type"))
    factor = scaling.get("factor")
    factor = float(factor) if isinstance(factor, int | float) and 1 <= factor <= 1024 else 1.0
    main = positions
    if scaled == "linear":
        main = int(positions * factor)
    elif scaled in ("yarn", "deepseek_yarn"):
        main = int(count(scaling, "original_max_position_embeddings", default=positions) * factor)
    if "mrope_section" in scaling:
        main *= 4  # rotary_embedding/mrope.py: positions of a video run ahead of its tokens
    caches = [(main, dimension)]
    if kind.startswith("gemma3"):
        caches.append((positions, dimension))
    if kind.startswith("gemma4") and architecture.full_head_dim:
        caches.append((positions, architecture.full_head_dim))
    if kind == "gpt_oss" or (count(raw, "index_topk") and count(raw, "index_head_dim")):
        caches *= 2  # in float32; the index of sparse attention has one of its own
    return tuple(caches)


def _without_positions(raw: Mapping[str, Any], kind: str) -> bool:
    """Hybrids whose attention needs no rotary positions, by class or by their own word."""
    if kind == "granitemoehybrid":
        return raw.get("position_embedding_type") != "rope"
    if kind == "zamba2":
        return raw.get("use_mem_rope") is not True
    return kind in TYPES["without_positions"] or raw.get("mla_use_nope") is True


def _side(raw: Mapping[str, Any], vocab: int) -> Beside:
    width = count(raw, "hidden_size_per_layer_input")
    return Beside(
        width=width,
        vocab=count(raw, "vocab_size_per_layer_input", default=vocab) if width else 0,
        streams=count(raw, "altup_num_inputs"),
        low_rank=count(raw, "laurel_rank"),
    )
