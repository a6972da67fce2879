"""Weights of one GPU: every matrix of the decoder, sharded as vLLM shards it.

Vocabulary matrices are padded to a multiple of 64 and split over the tensor-parallel ranks;
query, output and MLP matrices are split; key and value heads are split as far as there are
heads and repeated from there on; norms and routers are whole on every rank. A pipeline stage
holds its own layers, the first the embedding, the last the head (vllm/distributed/utils.py,
get_pp_indices: what does not divide goes to the stages before the last).
"""

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from deployctl.model import Quantization
from deployctl.model.tables import TYPES
from deployctl.planning import unquantized
from deployctl.planning.linear import (
    Storage,
    allocated,
    as_laid_out,
    mixed,
    mxfp4_padding,
    plain,
    storage,
)
from deployctl.planning.mixers import attention_bytes, index_bytes, state_layer_bytes
from deployctl.planning.settings import Sharding
from deployctl.planning.shape import Layer, Shape, layers_of
from deployctl.planning.states import CACHELESS, STATEFUL

VOCAB_PADDING = 64  # vllm/model_executor/layers/vocab_parallel_embedding.py


@dataclass(frozen=True)
class Parts:
    """Bytes on one rank."""

    embedding: float
    head: float
    layers: float
    rotary: float
    towers: float  # for what is seen and heard

    @property
    def total(self) -> float:
        """All of it."""
        return self.embedding + self.head + self.layers + self.rotary + self.towers


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
    capability: float = 9.0,
    coarse: bool = False,
    rounded: bool = True,
) -> Parts:
    """Returns the bytes that pipeline stage `stage` keeps on each of its GPUs.

    `capability` is the card's: kernels lay weights out as they want them. `coarse` and `rounded`
    say how torch's allocator counts the layers (linear.allocated).
    """
    tensor = sharding.tensor
    sizes = sharding.stage_layers(shape.layers)
    first, last = stage == 0, stage == len(sizes) - 1
    rows = padded_vocab(shape.vocab, tensor)
    table = allocated(rows * shape.hidden * dtype_bytes, coarse=coarse)
    head = table if last and not (shape.tied and first) else 0.0
    stored = _head(quantization, dtype_bytes)
    if head and stored is not None:
        head = replace(stored, coarse=coarse).nbytes(shape.hidden, rows)
    start = sum(sizes[:stage])
    kind = as_laid_out(storage(quantization, dtype_bytes), capability)
    kind = replace(kind, coarse=coarse, rounded=rounded)
    hopper = 9.0 <= capability < 10.0
    pieces = _pieces(quantization, shape, kind, dtype_bytes)
    layers = _beside_layers(shape, pieces, tensor, dtype_bytes) if first else 0.0
    for layer, times in _tally(shape, start, start + sizes[stage]):
        layers += times * _layer_bytes(shape, layer, pieces, tensor, dtype_bytes, hopper)
    bare = _Pieces(*(7 * (pieces.bare,)))
    for index in unquantized.whole_layers(quantization) & {*range(start, start + sizes[stage])}:
        layer = layers_of(shape)[index]
        for how, sign in ((bare, 1), (pieces, -1)):
            layers += sign * _layer_bytes(shape, layer, how, tensor, dtype_bytes, hopper)
    if last:
        layers += shape.hidden * dtype_bytes
    rotary = sum(p * d for p, d in shape.rotary) * dtype_bytes
    return Parts(
        embedding=table + _inputs_table(shape, tensor, dtype_bytes, coarse) if first else 0.0,
        head=head,
        layers=layers,
        rotary=rotary,
        towers=_towers(shape, tensor, dtype_bytes) if first else 0.0,
    )


@lru_cache(maxsize=256)
def _tally(shape: Shape, start: int, stop: int) -> tuple[tuple[Layer, int], ...]:
    """Layers `start` to `stop`: those that are alike once, and how many there are."""
    return tuple(Counter(layers_of(shape)[start:stop]).items())


def _head(quantization: Quantization | None, dtype_bytes: int) -> Storage | None:
    """How the output layer is stored; None: in the model's dtype."""
    if quantization is None:
        return None
    if quantization.method == "modelopt_mixed":
        how = unquantized.algorithm(quantization, unquantized.HEAD)
        return None if how is None else mixed(how, dtype_bytes)
    return storage(quantization, dtype_bytes) if quantization.lm_head else None


def _layer_bytes(
    shape: Shape, layer: Layer, pieces: "_Pieces", tensor: int, dtype_bytes: int, hopper: bool
) -> float:
    norms = 1 if shape.text_type in TYPES["one_part"] else shape.norms
    total = float(norms * shape.hidden * dtype_bytes)
    stateful = layer.kind in STATEFUL and shape.state is not None
    if stateful and shape.state is not None:
        total += state_layer_bytes(
            shape.state, shape.hidden, pieces.states, pieces.bare, tensor, dtype_bytes
        )
    if shape.shared_blocks and layer.kind == "hybrid":
        total += shape.hidden**2 * dtype_bytes  # its attention is counted with the shared blocks
    elif layer.kind not in CACHELESS and (layer.kind == "hybrid" or not stateful):
        local = layer.kind in ("sliding_attention", "chunked_attention")
        total += attention_bytes(
            shape,
            (pieces.attention, pieces.output),
            tensor,
            dtype_bytes,
            full=not local,
            shares=layer.shares and not shape.all_project,
        )
    if layer.indexed:
        total += index_bytes(shape, pieces.attention, dtype_bytes)
    if layer.feed in ("dense", "both"):
        wide = 2 if layer.shares and shape.double_wide else 1
        total += _mlp(shape, pieces.dense, wide * shape.intermediate, tensor)
    if layer.feed in ("sparse", "both"):
        total += _experts(shape, pieces, tensor, dtype_bytes, hopper)
    side = shape.side
    matrices = 2 * shape.hidden * (side.width + side.low_rank)
    extra = shape.hidden * ((side.width > 0) + (side.low_rank > 0) + 2 * side.streams)
    return total + (matrices + extra) * dtype_bytes


def _beside_layers(shape: Shape, pieces: "_Pieces", tensor: int, dtype_bytes: int) -> float:
    """What stands once beside the layers: shared blocks, projections of inputs and streams."""
    side = shape.side
    total = shape.hidden * side.width * shape.layers / tensor * dtype_bytes
    total += 2 * max(0, side.streams - 1) * shape.hidden**2 * dtype_bytes
    if shape.shared_blocks:  # zamba2.py: attention and MLP, adapted to each layer that calls them
        attention = pieces.attention, pieces.output
        block = attention_bytes(shape, attention, tensor, dtype_bytes, shares=False)
        block += _mlp(shape, pieces.dense, shape.intermediate, tensor)
        adapted = shape.adapter_rank * (shape.hidden + 2 * shape.intermediate / tensor)
        total += shape.shared_blocks * (block + 3 * shape.hidden * dtype_bytes)
        total += shape.kinds.count("hybrid") * adapted * dtype_bytes
    return total


def _inputs_table(shape: Shape, tensor: int, dtype_bytes: int, coarse: bool) -> float:
    """The embedding of every token for each layer (gemma3n.py, gemma4.py)."""
    side = shape.side
    rows = padded_vocab(side.vocab, tensor)
    return allocated(rows * side.width * shape.layers * dtype_bytes, coarse=coarse)


@dataclass(frozen=True)
class _Pieces:
    """How each piece of a layer is stored: checkpoints may leave some of them unquantized."""

    attention: Storage
    output: Storage  # of attention
    states: Storage
    dense: Storage
    shared: Storage
    experts: Storage
    bare: Storage  # unquantized


class _Count(NamedTuple):
    """How many layers have each piece."""

    attention: int
    states: int
    dense: int
    experts: int


@lru_cache(maxsize=16)
def _with_each(shape: Shape) -> _Count:
    every = layers_of(shape)
    states = sum(layer.kind in STATEFUL for layer in every) if shape.state else 0
    alone = states - sum(layer.kind == "hybrid" for layer in every) if shape.state else 0
    return _Count(
        attention=sum(layer.kind not in CACHELESS for layer in every) - alone,
        states=states,
        dense=sum(layer.feed in ("dense", "both") for layer in every),
        experts=sum(layer.feed in ("sparse", "both") for layer in every),
    )


def _pieces(
    quantization: Quantization | None, shape: Shape, kind: Storage, dtype_bytes: int
) -> _Pieces:
    """MXFP4 checkpoints quantize their experts alone; others say what they leave out."""
    bare = replace(plain(dtype_bytes), coarse=kind.coarse, rounded=kind.rounded)
    mixes = quantization is not None and quantization.method == "modelopt_mixed"
    count = _with_each(shape)

    def of(piece: unquantized.Piece, layers: int) -> Storage:
        if mixes and quantization is not None:
            how = mixed(unquantized.algorithm(quantization, piece), dtype_bytes)
            return replace(how, coarse=kind.coarse, rounded=kind.rounded)
        alone = kind.method == "mxfp4" or unquantized.leaves_out(quantization, piece, layers)
        return bare if alone else kind

    experts = of(unquantized.EXPERTS, count.experts) if mixes else kind
    if shape.expert_bits == 4 and quantization is not None:
        experts = replace(kind, method="fp4", bits=4, group=32, scale_bytes=1, block=0)
    return _Pieces(
        attention=of(unquantized.ATTENTION, count.attention),
        output=of(unquantized.OUTPUT, count.attention),
        states=of(unquantized.STATES, count.states),
        dense=of(unquantized.DENSE, count.dense),
        shared=of(unquantized.SHARED, count.experts),
        experts=experts,
        bare=bare,
    )


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
    up = 2 if shape.gated else 1
    if kind.method == "mxfp4":
        inner, hidden, rows, columns = mxfp4_padding(inner, hidden, hopper_mxfp4)
        each = kind.nbytes(rows, 2 * inner) + kind.nbytes(columns, hidden)
    else:
        # All experts of a layer are one tensor.
        hidden = shape.expert_hidden or hidden
        each = (
            kind.nbytes(hidden, up * inner * shape.experts)
            + kind.nbytes(inner, hidden * shape.experts)
        ) / shape.experts
    if shape.expert_bias:
        each += (2 * inner + hidden) * dtype_bytes
    total = shape.experts * each
    total += shape.hidden * shape.experts * dtype_bytes  # the router, whole on every rank
    if shape.expert_hidden:  # projections into the experts' own width and back (nemotron_h.py)
        total += 2 * shape.hidden * shape.expert_hidden * dtype_bytes
    if shape.expert_bias:
        total += shape.experts * dtype_bytes
    if shape.shared_size:
        total += _mlp(shape, pieces.shared, shape.shared_size, tensor)
    return total


def _towers(shape: Shape, tensor: int, dtype_bytes: int) -> float:
    """The vision tower and the audio tower, which transformers' code runs whole on every rank."""
    heard = 0.0 if shape.deaf else float(shape.audio * dtype_bytes)
    return heard + _vision(shape, tensor, dtype_bytes)


def _vision(shape: Shape, tensor: int, dtype_bytes: int) -> float:
    """A plain vision transformer and its projector, split like the decoder."""
    tower = shape.vision
    if tower is None or shape.text_alone:
        return 0.0
    inner = (3 if tower.gated else 2) * tower.hidden * tower.intermediate
    block = 4 * tower.hidden**2 + inner
    joined = tower.hidden * tower.merged
    projector = joined * shape.hidden + (joined**2 if tower.merged > 1 else 0)
    projector *= 1 + tower.deep
    positions = tower.placed * tower.hidden  # whole on every rank
    return ((tower.layers * block + projector) / tensor + positions) * dtype_bytes
