"""How AWQ and GPTQ checkpoints store 4-bit codes in 32-bit words. Pure: numpy in, numpy out.

Eight codes share a word, the first in the lowest bits.

- AWQ ("gemm") packs along the outputs, and of every eight outputs takes them in the order
  0 2 4 6 1 3 5 7: `qweight` is `[inputs, outputs/8]`, `qzeros` `[groups, outputs/8]`.
- GPTQ packs the weight along the inputs, in order, and the zero points along the outputs, each
  less one: `qweight` is `[inputs/8, outputs]`, `qzeros` `[groups, outputs/8]`. `g_idx` names
  each input's group.

Both keep `scales` as `[groups, outputs]` in half precision. These are the layouts that the
AutoAWQ and AutoGPTQ writers made common and that vLLM's loaders read.
"""

import numpy as np
import numpy.typing as npt

from deployctl.demo.quantize import BITS, MAX_CODE, Quantized

PER_WORD = 32 // BITS
AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)

Codes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.int32]
Tensors = dict[str, npt.NDArray[np.generic]]


def pack_awq(quantized: Quantized) -> Tensors:
    """The tensors of one linear layer, by suffix, as an AWQ checkpoint names them."""
    return {
        "qweight": _pack(_interleave(quantized.codes)),
        "qzeros": _pack(_interleave(quantized.zeros)),
        "scales": quantized.scales,
    }


def unpack_awq(tensors: Tensors) -> Quantized:
    """The inverse of `pack_awq`."""
    back = np.argsort(AWQ_ORDER)
    return Quantized(
        codes=_interleave(_unpack(tensors["qweight"]), back),
        zeros=_interleave(_unpack(tensors["qzeros"]), back),
        scales=tensors["scales"].astype(np.float16),
    )


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


def unpack_gptq(tensors: Tensors) -> Quantized:
    """The inverse of `pack_gptq`."""
    return Quantized(
        codes=np.ascontiguousarray(_unpack(tensors["qweight"].T).T),
        zeros=_unpack(tensors["qzeros"]) + np.uint8(1),
        scales=tensors["scales"].astype(np.float16),
    )


def _interleave(codes: Codes, order: npt.ArrayLike = AWQ_ORDER) -> Codes:
    rows, columns = codes.shape
    _check_whole_words(columns)
    return codes.reshape(rows, -1, PER_WORD)[:, :, np.asarray(order)].reshape(rows, columns)


def _pack(codes: Codes) -> Words:
    """Packs along the last axis, the first code in the lowest bits."""
    rows, columns = codes.shape
    _check_whole_words(columns)
    wide = codes.reshape(rows, columns // PER_WORD, PER_WORD).astype(np.uint32)
    shifts = np.arange(PER_WORD, dtype=np.uint32) * np.uint32(BITS)
    words: Words = np.bitwise_or.reduce(wide << shifts, axis=2).view(np.int32)
    return words


def _unpack(words: npt.NDArray[np.generic]) -> Codes:
    rows, columns = words.shape
    shifts = np.arange(PER_WORD, dtype=np.uint32) * np.uint32(BITS)
    wide = np.ascontiguousarray(words).view(np.uint32)[:, :, None] >> shifts
    return (wide & np.uint32(MAX_CODE)).astype(np.uint8).reshape(rows, columns * PER_WORD)


def _check_whole_words(values: int) -> None:
    if values % PER_WORD:
        raise ValueError(f"{values} values do not fill words of {PER_WORD}")
