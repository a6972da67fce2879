"""Codes in words: held to layouts worked out by hand, and to their inverses."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployctl.demo.quantize import Quantized, pack_awq, pack_gptq
from quantized import unpack


def quantized(inputs, outputs, group_size, *, seed=0, lowest_zero=0):
    random = np.random.default_rng(seed)
    groups = inputs // group_size
    return Quantized(
        codes=random.integers(0, 16, (inputs, outputs)).astype(np.uint8),
        zeros=random.integers(lowest_zero, 16, (groups, outputs)).astype(np.uint8),
        scales=random.random((groups, outputs)).astype(np.float16),
    )


def as_hex(words):
    return [f"{word:08x}" for word in words.view(np.uint32).ravel()]


def counting():
    """Code n at output n (AWQ) or, transposed, at input n (GPTQ)."""
    return np.arange(8, dtype=np.uint8)[None]


def test_awq_packs_eight_outputs_in_its_own_order():
    # Lowest four bits first: outputs 0 2 4 6 1 3 5 7.
    one = Quantized(counting(), counting() + np.uint8(8), np.ones((1, 8), np.float16))
    tensors = pack_awq(one)
    assert as_hex(tensors["qweight"]) == ["75316420"]
    assert as_hex(tensors["qzeros"]) == ["fdb9eca8"]


def test_gptq_packs_eight_inputs_in_order_and_zero_points_less_one():
    one = Quantized(
        codes=np.ascontiguousarray(counting().T.repeat(8, axis=1)),
        zeros=counting() + np.uint8(8),
        scales=np.ones((1, 8), np.float16),
    )
    tensors = pack_gptq(one)
    assert as_hex(tensors["qweight"]) == ["76543210"] * 8
    assert as_hex(tensors["qzeros"]) == ["edcba987"]


def test_symmetric_gptq_stores_sevens():
    even = quantized(64, 8, 32)._replace(zeros=np.full((2, 8), 8, np.uint8))
    assert as_hex(pack_gptq(even)["qzeros"]) == ["77777777"] * 2


def test_shapes_and_types_are_the_ones_engines_read():
    some = quantized(64, 16, 32, lowest_zero=1)
    awq, gptq = pack_awq(some), pack_gptq(some)
    assert {k: (v.shape, v.dtype.name) for k, v in awq.items()} == {
        "qweight": ((64, 2), "int32"),
        "qzeros": ((2, 2), "int32"),
        "scales": ((2, 16), "float16"),
    }
    assert {k: (v.shape, v.dtype.name) for k, v in gptq.items()} == {
        "qweight": ((8, 16), "int32"),
        "qzeros": ((2, 2), "int32"),
        "scales": ((2, 16), "float16"),
        "g_idx": ((64,), "int32"),
    }
    assert gptq["g_idx"].tolist() == [0] * 32 + [1] * 32


@given(st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_unpacking_gives_back_what_was_packed(groups, words, seed):
    some = quantized(groups * 8, words * 8, 8, seed=seed, lowest_zero=1)
    for pack, fmt in ((pack_awq, "awq"), (pack_gptq, "gptq")):
        back = unpack(pack(some), fmt)
        assert all(np.array_equal(a, b) for a, b in zip(some, back, strict=True))


def test_gptq_refuses_a_zero_point_that_has_no_code():
    some = quantized(32, 8, 32)._replace(zeros=np.zeros((1, 8), np.uint8))
    with pytest.raises(ValueError, match="cannot be 0"):
        pack_gptq(some)


def test_outputs_that_do_not_fill_a_word_are_refused():
    with pytest.raises(ValueError, match="do not fill"):
        pack_awq(quantized(32, 12, 32))
