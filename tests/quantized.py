"""The inverse of what the demo writes: codes out of words, and the weights an engine computes."""

import numpy as np

from deployctl.demo.quantize import AWQ_ORDER, BITS, MAX_CODE, PER_WORD, Quantized


def unpack(tensors, fmt):
    """The quantized weight in the tensors of one linear layer of an AWQ or GPTQ checkpoint."""
    weight, zeros = tensors["qweight"], tensors["qzeros"]
    if fmt == "awq":
        codes, zeros = _in_order(_codes(weight)), _in_order(_codes(zeros))
    else:
        codes, zeros = np.ascontiguousarray(_codes(weight.T).T), _codes(zeros) + np.uint8(1)
    return Quantized(codes, zeros, tensors["scales"].astype(np.float16))


def dequantize(quantized):
    """The weight `[inputs, outputs]` that an engine computes with."""
    inputs, outputs = quantized.codes.shape
    groups = len(quantized.scales)
    codes = quantized.codes.reshape(groups, inputs // groups, outputs).astype(np.float32)
    zeros = quantized.zeros[:, None].astype(np.float32)
    values = (codes - zeros) * quantized.scales[:, None].astype(np.float32)
    return values.reshape(inputs, outputs)


def _in_order(codes):
    rows, columns = codes.shape
    return codes.reshape(rows, -1, PER_WORD)[:, :, np.argsort(AWQ_ORDER)].reshape(rows, columns)


def _codes(words):
    rows, columns = words.shape
    shifts = np.arange(PER_WORD, dtype=np.uint32) * np.uint32(BITS)
    wide = np.ascontiguousarray(words).view(np.uint32)[:, :, None] >> shifts
    return (wide & np.uint32(MAX_CODE)).astype(np.uint8).reshape(rows, columns * PER_WORD)
