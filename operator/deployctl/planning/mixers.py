"""What mixes tokens in a layer, attention or a state: bytes of its weights on one rank.

The matrices are those of the layers that the model classes build (vllm/model_executor/layers/mamba
and vllm/model_executor/models/*.py of 0.32).
"""

from typing import NamedTuple

from deployctl.planning.linear import Storage
from deployctl.planning.shape import Shape
from deployctl.planning.states import State

FLOAT_BYTES = 4  # of what a layer keeps in float32, whatever the model's dtype


class StateWeights(NamedTuple):
    """Of a layer that keeps a state, on one rank."""

    matrices: tuple[tuple[float, float], ...]  # inputs × outputs, which a method may quantize
    values: float  # in the model's dtype: convolutions, biases, norms
    floats: float  # in float32


def attention_bytes(
    shape: Shape,
    stored: tuple[Storage, Storage],
    tensor: int,
    dtype_bytes: int,
    *,
    full: bool = True,
    shares: bool,
) -> float:
    """Attention on one rank; `full`: it keeps every token, `shares`: it reads another's cache.

    `stored` says how its inputs' matrices are, and its output's.
    """
    heads = shape.heads / tensor
    if shape.latent:
        return _latent(shape, stored, heads, dtype_bytes)
    kind, output = stored
    own, width = (shape.full_kv_heads, shape.full_head_dim) if full else (0, 0)
    width = width or shape.head_dim
    kv_heads = 0.0 if shares else max(1.0, (own or shape.kv_heads) / tensor)
    queries, keys = heads * width, kv_heads * width
    gates = queries if shape.gated_attention else 0.0
    # Zamba2 attends to a layer's input and the embedding side by side.
    read = shape.hidden * (2 if shape.text_type == "zamba2" else 1)
    total = kind.nbytes(read, queries + gates + 2 * keys)
    total += output.nbytes(queries, shape.hidden)
    if shape.qkv_bias:
        total += (queries + 2 * keys) * dtype_bytes
    if shape.out_bias:
        total += shape.hidden * dtype_bytes
    if shape.qk_norm:
        total += (1 if shares else 2) * width * dtype_bytes
    if shape.model_type == "gpt_oss":
        total += heads * dtype_bytes  # attention sinks
    return total


def _latent(shape: Shape, stored: tuple[Storage, Storage], heads: float, dtype_bytes: int) -> float:
    """Latent attention (deepseek_v2.py), with the absorbed copies of kv_b that MLA keeps."""
    kind, output = stored
    query = heads * (shape.nope_dim + shape.rope_dim)
    if shape.q_rank:
        total = kind.nbytes(shape.hidden, shape.q_rank) + kind.nbytes(shape.q_rank, query)
        total += shape.q_rank * dtype_bytes
    else:
        total = kind.nbytes(shape.hidden, query)
    expanded = heads * (shape.nope_dim + shape.v_dim)
    total += kind.nbytes(shape.hidden, shape.kv_rank + shape.rope_dim)
    total += kind.nbytes(shape.kv_rank, expanded) + shape.kv_rank * dtype_bytes
    total += output.nbytes(heads * shape.v_dim, shape.hidden)
    # W_UK and W_UV, made at load time in the model's dtype.
    return total + shape.kv_rank * expanded * dtype_bytes


def index_bytes(shape: Shape, kind: Storage, dtype_bytes: int) -> float:
    """The index of sparse attention, whole on every rank (DeepSeek V3.2)."""
    total = kind.nbytes(shape.q_rank or shape.hidden, shape.index_heads * shape.index_dim)
    small = shape.hidden * (shape.index_dim + shape.index_heads)
    return total + small * dtype_bytes + 2 * shape.index_dim * FLOAT_BYTES


def state_layer_bytes(
    state: State, hidden: int, kind: Storage, bare: Storage, tensor: int, dtype_bytes: int
) -> float:
    """A layer that keeps a state, on one rank; `bare` is how unquantized matrices are stored."""
    weights = state_weights(state, hidden, tensor)
    if state.kind == "mamba1":
        kind = bare  # its matrices take no quantization (mamba_mixer.py)
    total = sum(kind.nbytes(inputs, outputs) for inputs, outputs in weights.matrices)
    return total + weights.values * dtype_bytes + weights.floats * FLOAT_BYTES


def state_weights(state: State, hidden: int, tensor: int) -> StateWeights:
    """The weights of a layer that keeps `state`; heads and channels are split over ranks."""
    inner, heads = state.inner / tensor, state.heads / tensor
    kept = state.kernel * state.channels_of(tensor)
    if state.kind == "gated_delta_net":  # gdn/qwen_gdn_linear_attn.py
        matrices = ((hidden, state.channels / tensor + inner), (inner, hidden))
        return StateWeights(matrices, hidden * 2 * heads + kept + heads + state.rank, heads)
    if state.kind == "kimi_delta":  # gdn/kimi_gdn_linear_attn.py: its convolution is in float32
        widened = (state.rank, inner)
        whole = ((hidden, 3 * inner + state.rank + heads), (inner, hidden), (hidden, state.rank))
        return StateWeights((*whole, widened, widened), state.rank, kept + inner + heads)
    if state.kind == "mamba1":  # mamba_mixer.py
        size = state.recurrent / max(1, state.inner)
        narrow = ((inner, state.rank + 2 * size), (state.rank, inner))
        values = kept + 3 * inner
        return StateWeights(((hidden, 2 * inner), (inner, hidden), *narrow), values, inner * size)
    if state.kind == "mamba2":  # mamba_mixer2.py
        channels = state.channels_of(tensor)
        matrices = ((hidden, inner + channels + heads), (inner, hidden))
        return StateWeights(matrices, kept + channels + 2 * heads + inner, heads)
    if state.kind == "short_conv":  # short_conv.py
        return StateWeights(((hidden, 3 * inner), (inner, hidden)), kept, 0.0)
    # linear/minimax_linear_attn.py
    return StateWeights(((hidden, 4 * inner), (inner, hidden)), inner, 0.0)


def state_width(state: State, tensor: int) -> float:
    """Values a token that are alive at once in such a layer, in the run that vLLM measures.

    It projects, and leaves out the kernels (`attn_metadata is None`): the inputs of all parts, what
    the convolution reads where it is copied, and the outputs.
    """
    inner, channels = state.inner / tensor, state.channels_of(tensor)
    if state.kind == "gated_delta_net":
        return 2 * channels + 2 * inner
    if state.kind == "mamba2":
        return 2 * channels + 3 * inner
    return {"kimi_delta": 6, "mamba1": 4, "short_conv": 4}.get(state.kind, 5) * inner
