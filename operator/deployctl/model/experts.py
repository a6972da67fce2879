"""Mixture of experts: how many, how wide, and in which layers."""

from typing import NamedTuple

from deployctl.model import tables
from deployctl.model.fields import Fields

COUNT, PER_TOKEN = tables.names("experts"), tables.names("experts_per_token")
MAX_EXPERTS, MAX_WIDTH = 2**16, 2**24


class Experts(NamedTuple):
    """All zero for a dense model. Widths are intermediate sizes."""

    experts: int = 0
    per_token: int = 0
    inner: int = 0
    layers: int = 0
    shared: int = 0


def read_experts(text: Fields, text_type: str, layers: int, dense: int) -> Experts:
    """Reads them. `dense` is the width of the dense layers, and of the experts where no other.

    Raises:
        ModelError: a number is impossible.
    """
    part = text.under("ffn_config") or text  # DBRX keeps them there
    count = part.whole(*COUNT, default=0, least=0, most=MAX_EXPERTS, lists=True)
    if count == 0 or (count == 1 and not part.has("moe_intermediate_size")):
        return Experts()
    default = 4 if text_type == "dbrx" else 1 if text_type == "llama4_text" else 2
    per_token = part.whole(*PER_TOKEN, default=default, most=MAX_EXPERTS, lists=True)
    if per_token > count:
        raise part.wrong(PER_TOKEN[0], f"{per_token} of {count} experts a token")
    if text_type == "llama4_text":  # its intermediate_size is the experts'
        inner = text.whole("intermediate_size", default=dense, most=MAX_WIDTH)
    else:
        names = tables.names("expert_inner")
        inner = text.whole(*names, default=dense, most=MAX_WIDTH, lists=True)
    shared = _shared(text, text_type, inner)
    return Experts(count, per_token, inner, _layers(text, text_type, layers), shared)


def _shared(text: Fields, text_type: str, inner: int) -> int:
    if text_type == "llama4_text":
        return inner
    names = tables.names("shared_inner")
    if text.has(*names):
        return text.whole(*names, least=0, most=MAX_WIDTH)
    counts = tables.names("shared_experts")
    return inner * text.whole(*counts, default=0, least=0, most=MAX_EXPERTS, lists=True)


def _layers(text: Fields, text_type: str, layers: int) -> int:
    """Counts the layers with experts, by each family's rule."""
    listed = text.values.get("moe_layers")
    if isinstance(listed, list):
        return min(len(listed), layers)
    kinds = text.values.get("mlp_layer_types")
    if isinstance(kinds, list) and len(kinds) >= layers:
        return sum(kind == "sparse" for kind in kinds[:layers])
    flags = text.values.get("moe_layer_freq")
    if isinstance(flags, list):  # one switch a layer
        return sum(bool(flag) for flag in flags[:layers])
    if text.has("first_k_dense_replace"):  # DeepSeek, GLM, Kimi
        first = text.whole("first_k_dense_replace", least=0)
        every = text.whole("moe_layer_freq", default=1)
        return sum(i >= first and i % every == 0 for i in range(layers))
    if text.has("decoder_sparse_step") or text.has("mlp_only_layers"):  # Qwen
        step = text.whole("decoder_sparse_step", default=1)
        dense = text.values.get("mlp_only_layers")
        dense = dense if isinstance(dense, list) else []
        return sum((i + 1) % step == 0 and i not in dense for i in range(layers))
    if text_type == "llama4_text":
        step = text.whole("interleave_moe_layer_step", default=1)
        return sum((i + 1) % step == 0 for i in range(layers))
    if text.has("expert_layer_period"):  # Jamba
        period = text.whole("expert_layer_period")
        offset = text.whole("expert_layer_offset", default=1, least=0)
        return sum(i % period == offset for i in range(layers))
    if text.has("moe_layer_interval"):  # ERNIE
        every = text.whole("moe_layer_interval")
        start = text.whole("moe_layer_start_index", default=0, least=0, lists=True)
        last = text.values.get("moe_layer_end_index")
        end = last if type(last) is int and last >= 0 else layers - 1
        return sum((i + 1) % every == 0 and start <= i <= end for i in range(layers))
    kinds = text.values.get("layers_block_type")
    if isinstance(kinds, list) and "moe" in kinds:  # Nemotron 3
        return kinds[:layers].count("moe")
    pattern = text.values.get("hybrid_override_pattern")
    if isinstance(pattern, str):
        return pattern[:layers].count("E")
    return layers
