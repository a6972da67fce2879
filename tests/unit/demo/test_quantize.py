"""Rounding to 4 bits: how far off it may be, and what it must get exactly right."""

import numpy as np
import pytest

from deployctl.demo.quantize import quantize
from quantized import dequantize

GROUP = 32


def weight(*, seed=0, inputs=128, outputs=24):
    return np.random.default_rng(seed).normal(0, 0.1, (inputs, outputs)).astype(np.float32)


def error(original, symmetric):
    back = dequantize(quantize(original, group_size=GROUP, symmetric=symmetric))
    return float(np.linalg.norm(back - original) / np.linalg.norm(original))


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_bell_curve_loses_about_a_tenth(symmetric):
    # 4 bits on 32 normal values: a step of about σ/4, so an error of about step/√12 = 0.08 σ.
    assert 0.05 < error(weight(), symmetric) < 0.11


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_on_a_grid_come_back_exactly(symmetric):
    codes = np.random.default_rng(1).integers(0, 16, (64, 8)).astype(np.float32)
    codes[::GROUP], codes[1::GROUP] = 0, 15  # each group spans the whole grid
    on_grid = (codes - 8) * np.float32(0.25)
    back = dequantize(quantize(on_grid, group_size=GROUP, symmetric=symmetric))
    assert np.array_equal(back, on_grid)


def test_a_zero_point_pays_off_on_values_of_one_sign():
    positive = np.abs(weight())
    assert error(positive, symmetric=False) < error(positive, symmetric=True) / 1.5


def test_shrinking_the_range_pays_off_on_an_outlier():
    spiked = weight()
    spiked[::GROUP] = 0.6
    full_range = (spiked.max() - spiked.min()) / 15 / np.sqrt(12) / np.linalg.norm(spiked)
    assert error(spiked, symmetric=False) < full_range * np.sqrt(spiked.size)


def test_symmetric_zero_points_are_all_eight():
    assert (quantize(weight(), group_size=GROUP, symmetric=True).zeros == 8).all()


@pytest.mark.parametrize("symmetric", [True, False])
def test_zeros_stay_zeros(symmetric):
    nothing = np.zeros((GROUP, 8), np.float32)
    quantized = quantize(nothing, group_size=GROUP, symmetric=symmetric)
    assert np.isfinite(quantized.scales).all()
    assert not dequantize(quantized).any()


def test_groups_do_not_touch_each_other():
    small, large = weight(inputs=GROUP), weight(inputs=GROUP, seed=1) * 1000
    together = quantize(np.vstack([small, large]), group_size=GROUP, symmetric=False)
    alone = quantize(small, group_size=GROUP, symmetric=False)
    assert np.array_equal(together.codes[:GROUP], alone.codes)
    assert np.array_equal(together.scales[:1], alone.scales)


def test_inputs_that_are_no_multiple_of_the_group_are_refused():
    with pytest.raises(ValueError, match="do not divide into groups"):
        quantize(weight(inputs=48), group_size=GROUP, symmetric=False)
