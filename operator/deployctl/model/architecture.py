"""The numbers of a decoder out of config.json, by every name in use."""

from collections.abc import Iterator
from typing import Any, NamedTuple

from deployctl.model import experts, layers, tables
from deployctl.model.facts import Architecture, TensorInfo
from deployctl.model.fields import FILE, LARGEST, Fields, multimodal, text_part

LAYERS, HIDDEN = tables.names("layers"), tables.names("hidden")
HEADS, KV_HEADS = tables.names("heads"), tables.names("key_value_heads")
INNER, VOCAB = tables.names("inner"), tables.names("vocabulary")
CONTEXT, _SCALED = tables.names("context"), tables.names("scaled")
UNKNOWN = 2048  # tokens that the engine assumes where nothing says how many a model takes
# Of latent attention, besides the rank of the compressed KV.
LATENT = ("qk_rope_head_dim", "qk_nope_head_dim", "v_head_dim", "q_lora_rank")
MAX_HEADS, MAX_WIDTH, MAX_VOCAB = 2**16, 2**24, 2**31
_DTYPES = {"bfloat16", "float16", "float32", "float64"}
_SHORT = {"bf16": "bfloat16", "half": "float16", "fp16": "float16", "float": "float32"}
_SHORT |= {"fp32": "float32"}


def describes_a_language_model(config: dict[str, Any]) -> bool:
    """Whether the config has any of the numbers at all, as opposed to some of them wrong."""
    text = text_part(config)
    kind = text.values.get("model_type")
    by_class = text.values is not config and isinstance(kind, str) and kind in tables.NESTED
    return by_class or text.has(*LAYERS) or text.has(*HEADS)


def read_architecture(
    config: dict[str, Any], tensors: tuple[TensorInfo, ...] | None = None
) -> Architecture:
    """Reads the numbers. `tensors` tell the dtype where the config does not.

    Raises:
        ModelError: a number is missing, or impossible; `where` is its path.
    """
    top, text = Fields(config, FILE), text_part(config)
    nested = text.values is not config
    model_type = top.text("model_type") or ""
    text_type = text.text("model_type") or model_type
    base = tables.defaults(text_type, nested=nested)
    count = text.whole(
        *LAYERS,
        default=base.get("num_hidden_layers") or layers.listed(text),
        most=layers.MAX_LAYERS,
    )
    hidden = text.whole(*HIDDEN, default=base.get("hidden_size"), most=MAX_WIDTH)
    heads = _heads(text, text_type, base, hidden)
    window, kinds = layers.window_and_layers(text, text_type, count)
    longest, usual = _lengths(text, text_type, base.get("max_position_embeddings"))
    vocabulary = top.optional(*VOCAB, most=MAX_VOCAB) or base.get("vocab_size")
    rank = text.optional("kv_lora_rank", most=MAX_WIDTH)
    inner = _inner(text, text_type, hidden, base)
    moe = experts.read_experts(text, text_type, count, inner)
    return Architecture(
        name=_name(top),
        model_type=model_type,
        text_type=text_type,
        num_layers=count,
        hidden_size=hidden,
        intermediate_size=inner,
        num_heads=heads.query,
        num_kv_heads=heads.key_value,
        head_dim=heads.width,
        vocab_size=text.whole(*VOCAB, default=vocabulary, most=MAX_VOCAB),
        tied_embeddings=_tied(top, text, text_type),
        max_position_embeddings=longest,
        default_model_len=usual,
        dtype=_dtype(top, text, tensors),
        num_experts=moe.experts,
        experts_per_token=moe.per_token,
        moe_intermediate_size=moe.inner,
        moe_layers=moe.layers,
        shared_expert_size=moe.shared,
        sliding_window=window,
        layer_types=kinds,
        kv_lora_rank=rank,
        **{name: text.optional(name, least=0, most=MAX_WIDTH) for name in LATENT},
        mla=text_type in tables.TYPES["mla"] and rank is not None,
        full_head_dim=_of_full(text, kinds, "global_head_dim", "head_dim", MAX_WIDTH),
        full_kv_heads=_of_full(
            text, kinds, "num_global_key_value_heads", "num_key_value_heads", MAX_HEADS
        ),
        multimodal=multimodal(config),
        vision=_tower(config, "vision_config"),
        audio=_tower(config, "audio_config"),
        raw=dict(text.values),
    )


def _tower(config: dict[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}


def _of_full(text: Fields, kinds: tuple[str, ...], name: str, each: str, most: int) -> int | None:
    """What differs in layers that keep every token: by its name, or said of each layer."""
    said = text.under("per_layer_config")  # as transformers writes it from 5.19 on
    if said is not None and not text.has(name):
        for index, kind in enumerate(kinds):
            own = said.under(str(index)) if kind == layers.FULL else None
            if own is not None:
                return own.optional(each, most=most)
    return text.optional(name, most=most) if kinds else None


class _Heads(NamedTuple):
    query: int
    key_value: int
    width: int


def _heads(text: Fields, text_type: str, base: dict[str, int], hidden: int) -> _Heads:
    if text_type in tables.TYPES["attention_free"] and not text.has(*HEADS):
        return _Heads(0, 0, 0)
    query = text.whole(*HEADS, default=base.get("num_attention_heads"), most=MAX_HEADS, lists=True)
    default = base.get("num_key_value_heads") or query
    key_value = text.whole(*KV_HEADS, default=default, most=MAX_HEADS, lists=True)
    attention = text.under("attn_config")  # DBRX and MPT
    if attention is not None:
        key_value = attention.whole("kv_n_heads", default=key_value, most=MAX_HEADS)
    if _multi_query(text, text_type):
        key_value = 1
    if query % key_value and not any(isinstance(text.values.get(n), list) for n in HEADS):
        raise text.wrong(
            "num_key_value_heads", f"{key_value} does not divide the {query} attention heads"
        )
    return _Heads(query, key_value, _head_dim(text, base, query, hidden))


def _head_dim(text: Fields, base: dict[str, int], query: int, hidden: int) -> int:
    if text.has("qk_nope_head_dim") and text.has("qk_rope_head_dim"):
        nope = text.whole("qk_nope_head_dim", least=0, most=MAX_WIDTH)
        return nope + text.whole("qk_rope_head_dim", least=0, most=MAX_WIDTH)
    # Some classes write 0 for "not set"; the engine takes it so too.
    if text.values.get("head_dim") != 0 and text.has("head_dim"):
        return text.whole("head_dim", most=MAX_WIDTH, lists=True)
    named = text.optional("hidden_size_per_head", "attention_head_dim", "kv_channels", "d_kv")
    derived = named or base.get("head_dim") or hidden // query
    if derived < 1 or derived > MAX_WIDTH:
        raise text.wrong("num_attention_heads", f"{query} heads for a hidden size of {hidden}")
    return derived


def _multi_query(text: Fields, text_type: str) -> bool:
    """One key and value head for all, in the two families that say so by a switch."""
    if text_type in ("falcon", "RefinedWeb", "RefinedWebModel"):
        # The class of Falcon has multi_query on, and the newer architecture ignores it.
        newer = text.flag("new_decoder_architecture", False)
        return not newer and text.flag("multi_query", text_type == "falcon")
    return text_type == "gpt_bigcode" and text.flag("multi_query", True)


def _inner(text: Fields, text_type: str, hidden: int, base: dict[str, int]) -> int:
    """Width of the dense feed-forward part; four times the hidden size where nothing says."""
    forward = text.under("ffn_config")  # DBRX
    if forward is not None and forward.has("ffn_hidden_size"):
        return forward.whole("ffn_hidden_size", most=MAX_WIDTH)
    if text_type == "llama4_text" and text.has("intermediate_size_mlp"):
        return text.whole("intermediate_size_mlp", most=MAX_WIDTH)
    if text_type == "lfm2":
        return _adjusted(text)
    if text_type == "granitemoehybrid" and not text.values.get("num_local_experts"):
        # Without experts the shared MLP is all there is (granitemoehybrid.py).
        return text.whole("shared_intermediate_size", *INNER, default=4 * hidden, most=MAX_WIDTH)
    if not text.has(*INNER) and text.has("expansion_ratio"):  # MPT
        return int(hidden * (text.number("expansion_ratio") or 4))
    default = base.get("intermediate_size") or 4 * hidden
    return text.whole(*INNER, default=default, most=MAX_WIDTH, lists=True)


def _adjusted(text: Fields) -> int:
    """LFM2 counts two thirds of what it says, in whole multiples (lfm2.py of vLLM)."""
    said = text.whole("block_ff_dim", "intermediate_size", default=12288, most=MAX_WIDTH)
    if not text.flag("block_auto_adjust_ff_dim", True):
        return said
    inner = int(int(2 * said / 3) * (text.number("block_ffn_dim_multiplier") or 1))
    step = text.whole("block_multiple_of", default=256, most=MAX_WIDTH)
    return min(MAX_WIDTH, max(1, -(-inner // step)) * step)


def _lengths(text: Fields, model_type: str, default: int | None) -> tuple[int, int]:
    """Returns the most tokens the engine accepts, and those it takes when nobody says.

    As vLLM 0.32 derives them: vllm/transformers_utils/model_arch_config_convertor.py
    (derive_max_model_len_and_key) and vllm/config/model.py (_get_and_verify_max_len).

    `default` is the configuration class's own, where config.json has no key at all.

    Raises:
        ModelError: a length or a scaling factor is impossible.
    """
    said = [text.whole(key) for key in CONTEXT if text.has(key)]
    longest = min(said) if said else default or UNKNOWN
    if text.has("model_max_length"):
        longest = text.whole("model_max_length")
    kinds = list(_rope(text))
    if "gemma3" not in model_type:
        factor = 1.0
        for rope in kinds:
            if _rope_kind(rope) not in _SCALED:
                factor = rope.number("factor") or factor
        longest = int(longest * factor)
    if longest > LARGEST:
        raise text.wrong("max_position_embeddings", "the context length is not plausible")
    usual = longest
    if any(_rope_kind(rope) in ("su", "longrope") for rope in kinds):
        # Short prompts suffer beyond the original length, so the engine stays there by default.
        usual = text.whole("original_max_position_embeddings", default=longest)
    return longest, min(usual, longest)


def _rope(text: Fields) -> Iterator[Fields]:
    """Rotary settings: one mapping, or one for each kind of layer."""
    name = "rope_scaling" if text.values.get("rope_scaling") else "rope_parameters"
    rope = text.under(name)
    if rope is None:
        return
    nested = [key for key, value in rope.values.items() if isinstance(value, dict)]
    if nested and all(key.endswith("_attention") for key in nested):
        for key in nested:
            inner = rope.under(key)
            if inner is not None:
                yield inner
    else:
        yield rope


def _rope_kind(rope: Fields) -> Any:
    return rope.values.get("rope_type") or rope.values.get("type") or "default"


def _tied(top: Fields, text: Fields, text_type: str) -> bool:
    """The part's own word, then the whole config's, then the class's default."""
    by_class = text_type in tables.TYPES["tied"]
    return text.flag("tie_word_embeddings", top.flag("tie_word_embeddings", by_class))


def _name(top: Fields) -> str:
    names = top.texts("architectures")
    return names[0] if names and names[0].isprintable() and len(names[0]) <= 200 else ""


def _dtype(top: Fields, text: Fields, tensors: tuple[TensorInfo, ...] | None) -> str:
    """The dtype the engine starts from: config, its parts, the headers, then float32."""
    for part in (top, text, top.under("vision_config"), top.under("encoder_config")):
        said = part.text("dtype", "torch_dtype") if part is not None else None
        if said is not None:
            plain = said.removeprefix("torch.").lower()
            plain = _SHORT.get(plain, plain)
            if plain not in _DTYPES and not plain.startswith("float8"):
                raise top.wrong("torch_dtype", f"{said!a} is not a weight dtype")
            return plain
    stored = {t.dtype for t in tensors or ()}
    if "F32" in stored or {"F16", "BF16"} <= stored:
        return "float32"
    return "bfloat16" if "BF16" in stored else "float16" if "F16" in stored else "float32"
