"""Weights of one GPU: every matrix of the decoder, sharded as vLLM shards it.

Vocabulary matrices are padded to a multiple of 64 and split over the tensor-parallel ranks;
query, output and MLP matrices are split; key and value heads are split as far as there are
heads and repeated from there on; norms and routers are whole on every rank. A pipeline stage
holds its own layers, the first the embedding, the last the head (vllm/distributed/utils.py,
get_pp_indices: what does not divide goes to the stages before the last).
"""

from dataclasses import dataclass, replace

from deployctl.model import Quantization
from deployctl.planning.linear import Storage, allocated, leaves_out, plain, storage
from deployctl.planning.settings import Sharding
from deployctl.planning.shape import Shape

VOCAB_PADDING = 64  # vllm/model_executor/layers/vocab_parallel_embedding.py


@dataclass(frozen=True)
class Parts:
    """Bytes on one rank."""

    embedding: float
    head: float
    layers: float
    rotary: float
    vision: float

    @property
    def total(self) -> float:
        """All of it."""
        return self.embedding + self.head + self.layers + self.rotary + self.vision


def padded_vocab(vocab: int, tensor: int) -> int:
    """Rows of the vocabulary matrix on one rank."""
    padded = -(-vocab // VOCAB_PADDING) * VOCAB_PADDING
    return -(-padded // tensor)


def parts(
    shape: Shape,
    quantization: Quantization | None,
    sharding: Sharding,
    *,
    stage: int,
    dtype_bytes: int,
    hopper_mxfp4: bool = True,
    coarse: bool = False,
    rounded: bool = True,
) -> Parts:
    """Returns the bytes that pipeline stage `stage` keeps on each of its GPUs.

    `coarse` and `rounded` say how torch's allocator counts the layers (linear.allocated).
    """
    tensor = sharding.tensor
    sizes = sharding.stage_layers(shape.layers)
    first, last = stage == 0, stage == len(sizes) - 1
    rows = padded_vocab(shape.vocab, tensor)
    table = allocated(rows * shape.hidden * dtype_bytes, coarse=coarse)
    head = table if last and not (shape.tied and first) else 0.0
    if head and quantization is not None and quantization.lm_head:
        head = replace(storage(quantization, dtype_bytes), coarse=coarse).nbytes(shape.hidden, rows)
    start = sum(sizes[:stage])
    kind = replace(storage(quantization, dtype_bytes), coarse=coarse, rounded=rounded)
    layers = 0.0
    dense = min(max(shape.dense_layers - start, 0), sizes[stage]) if shape.experts else sizes[stage]
    sparse = sizes[stage] - dense
    pieces = _pieces(quantization, kind, dtype_bytes)
    attention = attention_bytes(shape, pieces.attention, tensor, dtype_bytes)
    norms = shape.norms * shape.hidden * dtype_bytes
    linear = sum(k == "linear_attention" for k in shape.kinds[start : start + sizes[stage]])
    if shape.linear is not None and linear:
        layers += linear * linear_bytes(shape, kind, tensor, dtype_bytes)
        layers += (sizes[stage] - linear) * attention + sizes[stage] * norms
    else:
        layers += sizes[stage] * (attention + norms)
    layers += dense * _mlp(shape, pieces.dense, shape.intermediate, tensor)
    if sparse:
        layers += sparse * _experts(shape, pieces, tensor, dtype_bytes, hopper_mxfp4)
    if last:
        layers += shape.hidden * dtype_bytes
    rotary = sum(p * d for p, d in shape.rotary) * dtype_bytes
    return Parts(
        embedding=table if first else 0.0,
        head=head,
        layers=layers,
        rotary=rotary,
        vision=_vision(shape, tensor, dtype_bytes) if first else 0.0,
    )


@dataclass(frozen=True)
class _Pieces:
    """How each piece of a layer is stored: checkpoints may leave some of them unquantized."""

    attention: Storage
    dense: Storage
    shared: Storage
    experts: Storage


def _pieces(quantization: Quantization | None, kind: Storage, dtype_bytes: int) -> _Pieces:
    """MXFP4 checkpoints quantize their experts alone; others say what they leave out."""
    bare = replace(plain(dtype_bytes), coarse=kind.coarse, rounded=kind.rounded)
    alone = kind.method == "mxfp4"

    def of(*names: str) -> Storage:
        return bare if alone or any(leaves_out(quantization, n) for n in names) else kind

    return _Pieces(
        attention=of("self_attn", "attention.", "q_proj"),
        dense=of("mlp.gate_proj", "mlp.(gate", "mlp.down_proj"),
        shared=of("shared_expert"),
        experts=kind,
    )


def attention_bytes(shape: Shape, kind: Storage, tensor: int, dtype_bytes: int) -> float:
    """One layer's attention on one rank."""
    heads = shape.heads / tensor
    if shape.latent:
        return _latent(shape, kind, heads, dtype_bytes)
    kv_heads = max(1.0, shape.kv_heads / tensor)
    queries, keys = heads * shape.head_dim, kv_heads * shape.head_dim
    gates = queries if shape.gated_attention else 0.0
    total = kind.nbytes(shape.hidden, queries + gates + 2 * keys)
    total += kind.nbytes(queries, shape.hidden)
    if shape.qkv_bias:
        total += (queries + 2 * keys) * dtype_bytes
    if shape.out_bias:
        total += shape.hidden * dtype_bytes
    if shape.qk_norm:
        total += 2 * shape.head_dim * dtype_bytes
    if shape.model_type == "gpt_oss":
        total += heads * dtype_bytes  # attention sinks
    return total


def linear_bytes(shape: Shape, kind: Storage, tensor: int, dtype_bytes: int) -> float:
    """One gated delta net (qwen3_next.py): projections in and out, convolution, gates."""
    net = shape.linear
    assert net is not None
    keys, values = net.keys / tensor, net.values / tensor
    total = kind.nbytes(shape.hidden, 2 * keys + 2 * values) + kind.nbytes(values, shape.hidden)
    small = shape.hidden * 2 * net.value_heads / tensor + (2 * keys + values) * net.kernel
    return total + (small + 2 * net.value_heads / tensor) * dtype_bytes


def _latent(shape: Shape, kind: Storage, heads: float, dtype_bytes: int) -> float:
    """Latent attention (deepseek_v2.py), with the absorbed copies of kv_b that MLA keeps."""
    query = heads * (shape.nope_dim + shape.rope_dim)
    if shape.q_rank:
        total = kind.nbytes(shape.hidden, shape.q_rank) + kind.nbytes(shape.q_rank, query)
        total += shape.q_rank * dtype_bytes
    else:
        total = kind.nbytes(shape.hidden, query)
    expanded = heads * (shape.nope_dim + shape.v_dim)
    total += kind.nbytes(shape.hidden, shape.kv_rank + shape.rope_dim)
    total += kind.nbytes(shape.kv_rank, expanded) + shape.kv_rank * dtype_bytes
    total += kind.nbytes(heads * shape.v_dim, shape.hidden)
    # W_UK and W_UV, made at load time in the model's dtype.
    return total + shape.kv_rank * expanded * dtype_bytes


def _mlp(shape: Shape, kind: Storage, size: int, tensor: int) -> float:
    inner = size / tensor
    up = 2 if shape.gated else 1
    return kind.nbytes(shape.hidden, up * inner) + kind.nbytes(inner, shape.hidden)


def _experts(
    shape: Shape, pieces: _Pieces, tensor: int, dtype_bytes: int, hopper_mxfp4: bool
) -> float:
    kind = pieces.experts
    inner = shape.expert_size / tensor
    hidden: float = shape.hidden
    if kind.method == "mxfp4":
        inner, hidden, rows, columns = _mxfp4_padding(inner, hidden, hopper_mxfp4)
        each = kind.nbytes(rows, 2 * inner) + kind.nbytes(columns, hidden)
    else:
        # All experts of a layer are one tensor.
        each = (
            kind.nbytes(hidden, 2 * inner * shape.experts)
            + kind.nbytes(inner, hidden * shape.experts)
        ) / shape.experts
    if shape.expert_bias:
        each += (2 * inner + hidden) * dtype_bytes
    total = shape.experts * each
    total += shape.hidden * shape.experts * dtype_bytes  # the router, whole on every rank
    if shape.expert_bias:
        total += shape.experts * dtype_bytes
    if shape.shared_size:
        total += _mlp(shape, pieces.shared, shape.shared_size, tensor)
    return total


def _mxfp4_padding(inner: float, hidden: float, hopper: bool) -> tuple[float, float, float, float]:
    """Padding of MXFP4 experts (quantization/mxfp4.py and triton_kernels' layouts).

    Returns the two outputs and the two inputs as stored. Triton's layout for Hopper pads the
    input side to a multiple of 512 and leaves the outputs; elsewhere Marlin pads the
    intermediate size to 128 and the hidden size to 256. That is the 6 to 8% that gpt-oss takes
    above its tensors.
    """

    def up(value: float, step: int) -> float:
        return float(-(-int(-(-value // 1)) // step) * step)

    if hopper:
        inner = up(inner, 64)
        return inner, hidden, up(hidden, 512), up(inner, 512 if inner > 1024 else 256)
    inner, hidden = up(inner, 128), up(hidden, 256)
    return inner, hidden, hidden, inner


def _vision(shape: Shape, tensor: int, dtype_bytes: int) -> float:
    """A plain vision transformer and its projector, split like the decoder."""
    tower = shape.vision
    if tower is None:
        return 0.0
    inner = (3 if tower.gated else 2) * tower.hidden * tower.intermediate
    block = 4 * tower.hidden**2 + inner
    joined = tower.hidden * tower.merged
    projector = joined * shape.hidden + (joined**2 if tower.merged > 1 else 0)
    return (tower.layers * block + projector) * dtype_bytes / tensor
