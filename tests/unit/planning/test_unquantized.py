"""Which pieces stay unquantized, by the lists that published checkpoints have."""

from dataclasses import replace

import pytest

from deployctl.model import Quantization
from deployctl.planning import unquantized
from deployctl.planning.linear import Storage
from deployctl.units import MIB

LAYERS = 48
EVERY = range(LAYERS)


def left(piece, *ignored, dynamic=(), layers=LAYERS, method="modelopt_fp4"):
    settings = {key: {} for key in dynamic}
    made = Quantization(method=method, ignored=ignored, dynamic=settings)
    return unquantized.leaves_out(made, piece, layers)


@pytest.mark.parametrize(
    ("pattern", "pieces"),
    [
        # nvidia/Gemma-4-31B-IT-NVFP4, MiniMax-M2.5-NVFP4, Qwen3-30B-A3B-NVFP4, Kimi-K2.5
        ("model.language_model.layers.{}.self_attn*", {"ATTENTION", "OUTPUT"}),
        ("model.layers.{}.block_sparse_moe.gate", set()),
        ("model.layers.{}.mlp.gate", set()),
        ("re:.*self_attn.*", {"ATTENTION", "OUTPUT"}),
        (r"re:.*mlp\.(gate|up|gate_up|down)_proj.*", {"DENSE"}),
        ("re:.*shared_experts.*", {"SHARED"}),
        # nvidia/DeepSeek-V3.1-NVFP4, whose output projection is quantized; GLM-5-FP8's norms
        ("model.layers.{}.self_attn.q_b_proj", {"ATTENTION"}),
        ("model.layers.{}.self_attn.indexer.k_norm", set()),
        # nvidia/Qwen3.5-122B-A10B-NVFP4, gpt-oss, Nemotron 3, RedHatAI, GPTQModel, AutoAWQ
        ("model.language_model.layers.{}.linear_attn*", {"STATES"}),
        ("model.layers.*.self_attn", {"ATTENTION", "OUTPUT"}),
        ("backbone.layers.{}.mixer.in_proj", {"STATES"}),
        (r"re:.*\.self_attn\.o_proj$", {"OUTPUT"}),
        ("gate", set()),
        ("lm_head", set()),
        ("visual", set()),
        ("mtp*", set()),
    ],
)
def test_a_pattern_speaks_for_the_pieces_that_it_names(pattern, pieces):
    ignored = [pattern.format(n) for n in EVERY] if "{}" in pattern else [pattern]
    names = ("ATTENTION", "OUTPUT", "STATES", "DENSE", "SHARED")
    assert {n for n in names if left(getattr(unquantized, n), *ignored)} == pieces


def test_a_few_layers_do_not_speak_for_all():
    first = [f"model.layers.{n}.self_attn.q_proj" for n in range(5)]
    assert not left(unquantized.ATTENTION, *first)
    assert left(unquantized.ATTENTION, *first, layers=6)
    assert not left(unquantized.ATTENTION, "model.layers.0.", "model.layers.61*")


def test_whole_layers_are_told_from_their_parts():
    # QuantTrio/Qwen3.6-27B-AWQ leaves its first layer as it was; others their last.
    named = ("model.layers.0", "model.layers.61*", "layers.7.", "mtp.layers.1*", "layers.x")
    deeper = ("model.language_model.layers.2", "visual.layers.4", "model.layers.3.mlp")
    made = Quantization(method="awq", ignored=named + deeper)
    assert unquantized.whole_layers(made) == {0, 61, 7, 2}
    assert unquantized.whole_layers(None) == frozenset()


def test_names_of_compressed_tensors_are_of_one_module():
    # Qwen3.6 27B as AWQ by llm-compressor: the net's two small matrices stay, the others do not.
    names = ("linear_attn", "linear_attn.norm", "linear_attn.in_proj_a")
    ignored = [f"model.language_model.layers.{n}.{name}" for n in EVERY for name in names]
    assert not left(unquantized.STATES, *ignored, method="compressed-tensors")
    assert left(unquantized.STATES, "re:.*linear_attn.*", method="compressed-tensors")
    assert left(unquantized.STATES, *ignored)


def test_gptqmodel_leaves_out_what_its_dynamic_settings_name():
    assert left(unquantized.ATTENTION, dynamic=["-:.*attn.*"])
    assert left(unquantized.STATES, dynamic=["-:.*attn.*"])
    assert not left(unquantized.ATTENTION, dynamic=["+:.*attn.*", "-:.*mtp.*"])


@pytest.mark.parametrize("pattern", ["(a|b)" * 500, "*" * 5000, "(" * 5000, "re:(a+)+$", "", "-:"])
def test_a_strange_pattern_names_nothing_and_costs_nothing(pattern):
    assert not left(unquantized.DENSE, pattern) or set(pattern) == {"*"}


def test_mixed_precision_is_read_for_each_piece():
    named = {f"model.layers.{n}.mlp.gate_proj": {"quant_algo": "W4A16_NVFP4"} for n in EVERY}
    named |= {f"model.layers.{n}.self_attn.q_proj": {"quant_algo": "FP8"} for n in (3, 7)}
    mixes = Quantization(method="modelopt_mixed", raw={"quantized_layers": named})
    assert unquantized.algorithm(mixes, unquantized.DENSE) == "W4A16_NVFP4"
    assert unquantized.algorithm(mixes, unquantized.ATTENTION) == "FP8"
    assert unquantized.algorithm(mixes, unquantized.OUTPUT) is None
    inside = Quantization(
        method="modelopt_mixed", raw={"quantization": {"quantized_layers": {"lm_head": None}}}
    )
    assert unquantized.algorithm(inside, unquantized.HEAD) is None


def test_scales_take_whole_pieces_of_memory_as_weights_do():
    # Gemma 4 26B in groups of 32: a layer's scales are of 30.25 and 15.125 MiB, for which torch's
    # allocator gives 32 and 16. An L4 had 15.55 GiB of weights in 0.28, where 15.44 were planned.
    kind = Storage("compressed-tensors", 4, 32)
    exact = 2816 * 1408 * 128 * (1 / 2 + 2 / 32)
    assert replace(kind, rounded=False).nbytes(2816, 1408 * 128) == exact
    assert kind.nbytes(2816, 1408 * 128) == exact  # 1.75 MiB are left to others
    assert replace(kind, coarse=True).nbytes(2816, 1408 * 128) == exact + 1.75 * MIB
    down = 704 * 2816 * 128 * (1 / 2 + 2 / 32)
    assert kind.nbytes(704, 2816 * 128) == down + (1 + 0.875) * MIB
