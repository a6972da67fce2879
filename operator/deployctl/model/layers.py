"""Which layers keep every token, which a window of them, and which none.

The rules are those of the configuration classes of transformers 5.19, as vLLM 0.32 reads them:
`layer_types` where given; otherwise, by type; otherwise a `sliding_window` holds for every layer.
"""

from deployctl.model import tables
from deployctl.model.fields import Fields

FULL, SLIDING = "full_attention", "sliding_attention"
CHUNKED, LINEAR = "chunked_attention", "linear_attention"
BOTH = "hybrid"  # attention and a state in one layer, by the name that Zamba2 has for it
MAX_LAYERS = 10_000
# These have a window only where use_sliding_window says so.
_SWITCHED = ("qwen2", "qwen3", "qwen2_moe", "qwen3_moe", "qwen2_vl", "qwen2_5_vl", "smollm3")
_LETTERS = {"M": LINEAR, "*": FULL, "-": "mlp", "E": "moe", "L": SLIDING, "G": FULL}


def window_and_layers(
    text: Fields, model_type: str, count: int
) -> tuple[int | None, tuple[str, ...]]:
    """Returns the window in tokens, and each layer's kind; no kinds when all are full.

    Raises:
        ModelError: a field says something impossible.
    """
    base = model_type.removesuffix("_text")
    window = text.optional("sliding_window", least=0)
    if window is None and "sliding_window" not in text.values:
        window = tables.defaults(model_type).get("sliding_window")
    switch = text.values.get("use_sliding_window")
    if switch is False or (base in _SWITCHED and switch is not True):
        window = None
    kinds = _explicit(text, count) or _by_type(text, model_type, count, window or None)
    if base == "llama4":
        window = text.whole("attention_chunk_size", default=8192)
    if not window:  # zero means none
        window = None
        kinds = tuple(FULL if kind == SLIDING else kind for kind in kinds)
    if all(kind == FULL for kind in kinds):
        return None, ()
    return window, kinds


def listed(text: Fields) -> int | None:
    """How many layers a list of their kinds names, for configs that give no number."""
    for name in ("layer_types", "layers_block_type", "hybrid_override_pattern"):
        kinds = text.values.get(name)
        if isinstance(kinds, list | str) and 0 < len(kinds) <= MAX_LAYERS:
            return len(kinds)
    return None


def _explicit(text: Fields, count: int) -> tuple[str, ...]:
    entry = text.first(("layer_types", "layers_block_type"))
    if entry is not None:
        name, _ = entry
        words = text.texts(name)
        if len(words) < count:
            raise text.wrong(name, f"names {len(words)} of {count} layers")
        return tuple(tables.KINDS.get(word, word) for word in words[:count])
    pattern = text.values.get("hybrid_override_pattern")
    if isinstance(pattern, str) and len(pattern) >= count:
        return tuple(_LETTERS.get(letter, "other") for letter in pattern[:count])
    flags = text.values.get("attn_type_list")  # MiniMax: 1 is full, 0 linear
    if isinstance(flags, list) and len(flags) >= count:
        return tuple(FULL if flag == 1 else LINEAR for flag in flags[:count])
    full = text.values.get("full_attn_idxs")  # LFM2
    if isinstance(full, list):
        return tuple(FULL if i in full else "conv" for i in range(count))
    ones = text.values.get("attn_layer_indices")  # Bamba
    if isinstance(ones, list):
        return tuple(FULL if i in ones else LINEAR for i in range(count))
    linear = text.under("linear_attn_config")  # Kimi: layers counted from 1
    if linear is not None and isinstance(linear.values.get("full_attn_layers"), list):
        ones = linear.values["full_attn_layers"]
        return tuple(FULL if i + 1 in ones else LINEAR for i in range(count))
    return ()


def _by_type(text: Fields, model_type: str, count: int, window: int | None) -> tuple[str, ...]:
    base = model_type.removesuffix("_text")
    if base == "jamba":
        period = text.whole("attn_layer_period", default=8)
        offset = text.whole("attn_layer_offset", default=4, least=0)
        return tuple(FULL if i % period == offset else LINEAR for i in range(count))
    if text.has("full_attention_interval") or base in ("qwen3_next", "qwen3_5", "qwen3_5_moe"):
        return _every(text.whole("full_attention_interval", default=4), count, LINEAR)
    if base in ("mamba", "mamba2", "falcon_mamba"):
        return (LINEAR,) * count
    if base == "falcon_h1":
        return (BOTH,) * count
    if base == "llama4":
        return tuple(CHUNKED if kept else FULL for kept in _rotary(text, count))
    if base == "afmoe":
        return _every(text.whole("global_attn_every_n_layers", default=4), count, SLIDING)
    every = tables.defaults(model_type).get("sliding_window_pattern")
    if every is not None:
        return _periodic(text, model_type, count, every)
    if window is None:
        return ()
    if base in ("qwen2", "qwen3"):
        first = text.whole("max_window_layers", default=28, least=0)
        return tuple(SLIDING if i >= first else FULL for i in range(count))
    if base == "qwen2_moe":
        last = text.whole("max_window_layers", default=28, least=0)
        return tuple(SLIDING if (i + 1) % 2 and i < last else FULL for i in range(count))
    if base == "smollm3":
        return tuple(FULL if kept else SLIDING for kept in _rotary(text, count))
    return (SLIDING,) * count


def _periodic(text: Fields, model_type: str, count: int, default: int) -> tuple[str, ...]:
    pattern = text.values.get("sliding_window_pattern")
    if isinstance(pattern, str) and pattern and set(pattern) <= {"L", "G"}:  # EXAONE: "LLLG"
        kinds = tuple(_LETTERS[pattern[i % len(pattern)]] for i in range(count))
        return (*kinds[:-1], FULL)
    period = text.whole("sliding_window_pattern", "_sliding_window_pattern", default=default)
    kinds = _every(period, count, SLIDING)
    return (*kinds[:-1], FULL) if model_type.startswith(("gemma4", "exaone")) else kinds


def _rotary(text: Fields, count: int) -> tuple[bool, ...]:
    """Which layers have rotary positions, from a list of switches or from every n-th being off."""
    listed = text.values.get("no_rope_layers")
    if isinstance(listed, list) and len(listed) >= count:
        return tuple(bool(item) for item in listed[:count])
    period = text.whole("no_rope_layer_interval", default=4)
    return tuple(bool((i + 1) % period) for i in range(count))


def _every(period: int, count: int, other: str) -> tuple[str, ...]:
    return tuple(other if (i + 1) % period else FULL for i in range(count))
