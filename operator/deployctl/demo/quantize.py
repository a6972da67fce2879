"""Round-to-nearest 4-bit quantization in groups, and how checkpoints store it. Pure numpy.

A weight is given as `[inputs, outputs]` (a linear layer's own weight transposed). Every
`group_size` inputs of one output share a scale and a zero point:

    weight ≈ scale × (code − zero),  0 ≤ code ≤ 15

AWQ checkpoints keep a zero point per group; symmetric GPTQ ones fix it at 8. Neither AWQ's
activation-aware scaling nor GPTQ's error feedback is done here: a group's range is shrunk to
where its squared error is smallest, which a model this small needs and which takes seconds.

Eight codes share a 32-bit word, the first in the lowest bits.

- AWQ ("gemm") packs along the outputs, and of every eight outputs takes them in the order
  0 2 4 6 1 3 5 7: `qweight` is `[inputs, outputs/8]`, `qzeros` `[groups, outputs/8]`.
- GPTQ packs the weight along the inputs, in order, and the zero points along the outputs, each
  less one: `qweight` is `[inputs/8, outputs]`, `qzeros` `[groups, outputs/8]`. `g_idx` names
  each input's group.

Both keep `scales` as `[groups, outputs]` in half precision. These are the layouts that the
AutoAWQ and AutoGPTQ writers made common and that vLLM's loaders read.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BITS = 4
MAX_CODE = 2**BITS - 1
MIDDLE = 2 ** (BITS - 1)  # the zero point of symmetric quantization
PER_WORD = 32 // BITS
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

# How far a group's range is shrunk in search of the smallest squared error. Below 0.6 the
# error of clipped outliers always wins on weights that look anything like a bell curve.
_SHRINK = tuple(1.0 - step * 0.05 for step in range(9))

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Scales = npt.NDArray[np.float16]
Words = npt.NDArray[np.int32]
Tensors = dict[str, npt.NDArray[np.generic]]


class Quantized(NamedTuple):
    """A quantized weight. Shapes: `[inputs, outputs]` and twice `[groups, outputs]`."""

    codes: Codes
    zeros: Codes
    scales: Scales


def quantize(weight: Floats, *, group_size: int, symmetric: bool) -> Quantized:
    """Quantizes a weight `[inputs, outputs]`.

    Raises:
        ValueError: the inputs are no multiple of `group_size`.
    """
    inputs, outputs = weight.shape
    if inputs % group_size:
        raise ValueError(f"{inputs} inputs do not divide into groups of {group_size}")
    groups = weight.astype(np.float32).reshape(-1, group_size, outputs)
    low = np.minimum(groups.min(axis=1), 0)
    high = np.maximum(groups.max(axis=1), 0)

    best_error = np.full(low.shape, np.inf, np.float32)
    best_scale = np.empty(low.shape, np.float16)
    best_zero = np.empty(low.shape, np.uint8)
    for shrink in _SHRINK:
        scale, zero = _grid(low * shrink, high * shrink, symmetric=symmetric)
        error = _squared_error(groups, scale, zero)
        better = error < best_error
        best_error[better] = error[better]
        best_scale[better] = scale[better]
        best_zero[better] = zero[better]

    codes = _codes(groups, best_scale, best_zero).astype(np.uint8)
    return Quantized(codes.reshape(inputs, outputs), best_zero, best_scale)


def _grid(low: Floats, high: Floats, *, symmetric: bool) -> tuple[Scales, Codes]:
    """The scale and zero point whose codes span `low … high`."""
    if symmetric:
        span = np.maximum(high / (MAX_CODE - MIDDLE), -low / MIDDLE)
        zero = np.full(low.shape, MIDDLE, np.uint8)
    else:
        span = (high - low) / MAX_CODE
        zero = np.zeros(low.shape, np.uint8)
    # The stored scale is half precision: everything after it must use the rounded value. A
    # group of zeros has no span, and any scale but zero will do.
    scale = np.maximum(span, np.finfo(np.float16).tiny).astype(np.float16)
    if not symmetric:
        zero = np.clip(np.rint(-low / scale.astype(np.float32)), 0, MAX_CODE).astype(np.uint8)
    return scale, zero


def _codes(groups: Floats, scale: Scales, zero: Codes) -> Floats:
    steps = groups / scale[:, None].astype(np.float32)
    np.rint(steps, out=steps)
    steps += zero[:, None]
    codes: Floats = steps.clip(0, MAX_CODE)
    return codes


def _squared_error(groups: Floats, scale: Scales, zero: Codes) -> Floats:
    error = _codes(groups, scale, zero)
    error -= zero[:, None]
    error *= scale[:, None].astype(np.float32)
    error -= groups
    result: Floats = np.einsum("gio,gio->go", error, error)
    return result


def pack_awq(quantized: Quantized) -> Tensors:
    """The tensors of one linear layer, by suffix, as an AWQ checkpoint names them."""
    return {
        "qweight": _pack(_interleave(quantized.codes)),
        "qzeros": _pack(_interleave(quantized.zeros)),
        "scales": quantized.scales,
    }


def pack_gptq(quantized: Quantized) -> Tensors:
    """The tensors of one linear layer, by suffix, as a GPTQ checkpoint names them.

    Raises:
        ValueError: a zero point is 0; stored less one, it has no code.
    """
    if not quantized.zeros.all():
        raise ValueError("GPTQ stores the zero point less one, so it cannot be 0")
    inputs, groups = len(quantized.codes), len(quantized.scales)
    return {
        "qweight": np.ascontiguousarray(_pack(quantized.codes.T).T),
        "qzeros": _pack(quantized.zeros - np.uint8(1)),
        "scales": quantized.scales,
        "g_idx": (np.arange(inputs) // (inputs // groups)).astype(np.int32),
    }


def _interleave(codes: Codes) -> Codes:
    rows, columns = codes.shape
    _check_whole_words(columns)
    return codes.reshape(rows, -1, PER_WORD)[:, :, AWQ_ORDER].reshape(rows, columns)


def _pack(codes: Codes) -> Words:
    """Packs along the last axis, the first code in the lowest bits."""
    rows, columns = codes.shape
    _check_whole_words(columns)
    wide = codes.reshape(rows, columns // PER_WORD, PER_WORD).astype(np.uint32)
    shifts = np.arange(PER_WORD, dtype=np.uint32) * np.uint32(BITS)
    words: Words = np.bitwise_or.reduce(wide << shifts, axis=2).view(np.int32)
    return words


def _check_whole_words(values: int) -> None:
    if values % PER_WORD:
        raise ValueError(f"{values} values do not fill words of {PER_WORD}")
