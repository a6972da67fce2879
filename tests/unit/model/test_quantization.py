"""Quantization settings as the quantizers write them."""

import pytest

from deployctl.errors import ModelError

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm",
       "modules_to_not_convert": None}  # fmt: skip
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True,
        "checkpoint_format": "gptq", "damp_percent": 0.01}  # fmt: skip


@pytest.fixture
def quant(facts, llama):
    """`quant(settings)`: read from config.json's quantization_config."""
    return lambda settings, **documents: (
        facts({**llama, "quantization_config": settings}, **documents).quantization
    )


def test_awq(quant):
    q = quant({**AWQ, "modules_to_not_convert": ["visual"]})
    assert (q.method, q.bits, q.group_size, q.zero_point) == ("awq", 4, 128, True)
    assert q.symmetric is None
    assert not q.act_order
    assert q.ignored == ("visual",)
    assert q.packing == "gemm"
    assert q.file == "config.json"
    assert q.raw["bits"] == 4


def test_gptq(quant):
    q = quant(GPTQ)
    assert (q.method, q.bits, q.group_size, q.act_order, q.symmetric) == (
        "gptq",
        4,
        128,
        True,
        True,
    )
    assert q.zero_point is None


def test_gptqmodel(quant):
    dynamic = {"-:.*gate.*": {}, "+:.*down_proj.*": {"bits": 8}}
    changed = {"group_size": -1, "lm_head": True, "dynamic": dynamic}
    q = quant({**GPTQ, **changed, "checkpoint_format": "gptq_v2"})
    assert (q.group_size, q.lm_head, q.packing) == (-1, True, "gptq_v2")
    assert q.dynamic == dynamic


GROUPS = {"quant_method": "compressed-tensors"}
MXFP4 = {"quant_method": "mxfp4", "modules_to_not_convert": ["lm_head"]}
NVFP4 = {
    "producer": {"name": "modelopt"},
    "quantization": {"quant_algo": "NVFP4", "group_size": 16, "exclude_modules": ["lm_head"]},
}


@pytest.mark.parametrize(
    ("settings", "method", "bits", "group"),
    [
        ({"quant_method": "GPTQ", "bits": 8, "group_size": 32}, "gptq", 8, 32),
        ({"quant_method": "gptq_marlin", "bits": 4, "group_size": 64}, "gptq", 4, 64),
        ({"quant_method": "auto-round", "bits": 2, "group_size": 32, "sym": True}, "inc", 2, 32),
        ({"quant_method": "intel/auto-round", "bits": 4, "group_size": [128, 128]}, "inc", 4, None),
        ({"quant_method": "fp8", "weight_block_size": [128, 128]}, "fp8", 8, None),
        ({"quant_method": "fbgemm_fp8"}, "fbgemm_fp8", 8, None),
        (MXFP4, "mxfp4", 4, 32),
        (NVFP4, "modelopt_fp4", 4, 16),
        ({"quant_method": "modelopt", "quant_algo": "FP8"}, "modelopt", 8, None),
        ({"quant_method": "modelopt", "quant_algo": "MXFP8"}, "modelopt_mxfp8", 8, 32),
        (
            {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"},
            "modelopt_mixed",
            None,
            None,
        ),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True}, "bitsandbytes", 4, None),
        ({"load_in_8bit": True, "load_in_4bit": False}, "bitsandbytes", 8, None),
        (
            {"quant_method": "quark", "global_quant_config": {"weight": {"dtype": "fp8_e4m3"}}},
            "quark",
            8,
            None,
        ),
        ({"quant_method": "torchao", "quant_type": {"default": 1}}, "torchao", None, None),
        ({"quant_method": "somethingnew"}, "somethingnew", None, None),
    ],
)
def test_methods(quant, settings, method, bits, group):
    q = quant(settings)
    assert (q.method, q.bits, q.group_size) == (method, bits, group)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (
            {"num_bits": 4, "type": "int", "group_size": 128, "symmetric": True, "actorder": None},
            (4, 128, True, False),
        ),
        ({"num_bits": 4, "group_size": 128, "symmetric": False, "actorder": "group"},
         (4, 128, False, True)),
        ({"num_bits": 4, "group_size": 128, "actorder": "weight"}, (4, 128, True, False)),
        ({"num_bits": 8, "strategy": "channel", "type": "float"}, (8, -1, True, False)),
        (None, (None, None, None, False)),
    ],
)  # fmt: skip
def test_compressed_tensors(quant, weights, expected):
    q = quant(
        {
            "quant_method": "compressed-tensors",
            "format": "pack-quantized",
            "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        }
    )
    assert q.method == "compressed-tensors"
    assert (q.bits, q.group_size, q.symmetric, q.act_order) == expected
    assert (q.packing, q.ignored) == ("pack-quantized", ("lm_head",))


def test_compression_config_is_the_older_name(facts, llama):
    config = {**llama, "compression_config": {"quant_method": "compressed_tensors"}}
    assert facts(config).quantization.method == "compressed-tensors"


def test_settings_in_the_text_part(facts, llama):
    config = {"model_type": "x", "text_config": {**llama, "quantization_config": AWQ}}
    assert facts(config).quantization.method == "awq"


@pytest.mark.parametrize(
    ("file", "settings", "method"),
    [
        ("quantize_config.json", {"bits": 4, "group_size": 128, "desc_act": False, "sym": True},
         "gptq"),
        ("quant_config.json", {"w_bit": 4, "q_group_size": 64, "zero_point": True}, "awq"),
        ("quantize_config.json", {"quant_method": "awq", "bits": 4}, "awq"),
        ("hf_quant_config.json", NVFP4, "modelopt_fp4"),
    ],
)  # fmt: skip
def test_the_quantizers_own_file(facts, llama, file, settings, method):
    q = facts(llama, quantize_config=settings, quantize_config_file=file).quantization
    assert (q.method, q.file) == (method, file)
    assert q.bits == 4


def test_config_json_wins_over_the_quantizers_file(facts, llama):
    config = {**llama, "quantization_config": AWQ}
    q = facts(config, quantize_config={"bits": 8, "sym": True}, quantize_config_file="q.json")
    assert (q.quantization.method, q.quantization.bits) == ("awq", 4)


@pytest.mark.parametrize("settings", [None, {}])
def test_unquantized(quant, settings):
    assert quant(settings) is None


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ([1], "quantization_config"),
        ("awq", "quantization_config"),
        ({**AWQ, "bits": "4"}, "quantization_config.bits"),
        ({**AWQ, "bits": 0}, "quantization_config.bits"),
        ({**AWQ, "bits": True}, "quantization_config.bits"),
        ({**AWQ, "group_size": -2}, "quantization_config.group_size"),
        ({**AWQ, "group_size": "128"}, "quantization_config.group_size"),
        ({**AWQ, "group_size": False}, "quantization_config.group_size"),
        ({**AWQ, "zero_point": 1}, "quantization_config.zero_point"),
        ({**GPTQ, "desc_act": "no"}, "quantization_config.desc_act"),
        ({**GPTQ, "sym": "yes"}, "quantization_config.sym"),
        ({"quant_method": 4}, "quantization_config.quant_method"),
        ({"x": 4}, "quantization_config.quant_method"),
        ({"quant_method": "fp8", "ignored_layers": "x"}, "quantization_config.ignored_layers"),
        ({**GROUPS, "config_groups": [1]}, "quantization_config.config_groups"),
        (
            {**GROUPS, "config_groups": {"g": {"weights": {"num_bits": -4}}}},
            "quantization_config.config_groups.g.num_bits",
        ),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(quant, settings, where):
    with pytest.raises(ModelError) as caught:
        quant(settings)
    assert caught.value.where == f"config.json: {where}"
