"""Round-to-nearest 4-bit quantization in groups, as arrays. Pure: numpy in, numpy out.

A weight is given as `[inputs, outputs]` (a linear layer's own weight transposed). Every
`group_size` inputs of one output share a scale and a zero point:

    weight ≈ scale × (code − zero),  0 ≤ code ≤ 15

AWQ checkpoints keep a zero point per group; symmetric GPTQ ones fix it at 8. Neither AWQ's
activation-aware scaling nor GPTQ's error feedback is done here: a group's range is shrunk to
where its squared error is smallest, which a model this small needs and which takes seconds.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BITS = 4
MAX_CODE = 2**BITS - 1
MIDDLE = 2 ** (BITS - 1)  # the zero point of symmetric quantization

# How far a group's range is shrunk in search of the smallest squared error. Below 0.6 the
# error of clipped outliers always wins on weights that look anything like a bell curve.
_SHRINK = tuple(1.0 - step * 0.05 for step in range(9))

Floats = npt.NDArray[np.float32]


class Quantized(NamedTuple):
    """A quantized weight. Shapes: `[inputs, outputs]` and twice `[groups, outputs]`."""

    codes: npt.NDArray[np.uint8]
    zeros: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]


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


def dequantize(quantized: Quantized) -> Floats:
    """The weight `[inputs, outputs]` that an engine computes with."""
    inputs, outputs = quantized.codes.shape
    groups = len(quantized.scales)
    codes = quantized.codes.reshape(groups, inputs // groups, outputs).astype(np.float32)
    zeros = quantized.zeros[:, None].astype(np.float32)
    values: Floats = (codes - zeros) * quantized.scales[:, None].astype(np.float32)
    return values.reshape(inputs, outputs)


def _grid(
    low: Floats, high: Floats, *, symmetric: bool
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.uint8]]:
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


def _codes(
    groups: Floats, scale: npt.NDArray[np.float16], zero: npt.NDArray[np.uint8]
) -> npt.NDArray[np.float32]:
    steps = groups / scale[:, None].astype(np.float32)
    np.rint(steps, out=steps)
    steps += zero[:, None]
    codes: Floats = steps.clip(0, MAX_CODE)
    return codes


def _squared_error(
    groups: Floats, scale: npt.NDArray[np.float16], zero: npt.NDArray[np.uint8]
) -> Floats:
    error = _codes(groups, scale, zero)
    error -= zero[:, None]
    error *= scale[:, None].astype(np.float32)
    error -= groups
    result: Floats = np.einsum("gio,gio->go", error, error)
    return result
