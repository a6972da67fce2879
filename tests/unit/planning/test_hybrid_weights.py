"""Weights of layers that differ within a model, counted from the architecture.

The matrices of each case are those that vLLM's classes build, written out by hand;
tests/e2e/test_cache_against_vllm.py asks the installed engine about whole models.
"""

import math

import pytest

from deployctl.model import Documents, TensorInfo, facts_from
from deployctl.planning.settings import Sharding
from deployctl.planning.shape import layers_of, shape_of
from deployctl.planning.transient import width
from deployctl.planning.weights import parts

BASE = {"vocab_size": 128, "hidden_size": 64, "torch_dtype": "bfloat16", "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96,
        "max_position_embeddings": 256, "tie_word_embeddings": True}  # fmt: skip
ATTENTION = [(64, 64 + 2 * 32), (64, 64)]
MLP = [(64, 2 * 96), (96, 64)]
NORM = [(64,)]
MAMBA2 = [(64, 64 + 96 + 4), (64, 64), (96, 4), (96,), (4,), (4,), (64,)]  # and A in float32
EXPERTS = [(3, 64, 32), (3, 32, 64), (64, 3)]  # and a router


def gdn(values):
    """A gated delta net: query and key of 2 × 8, values of `values` heads of 8."""
    wide = 32 + 8 * values
    return [(64, wide + 8 * values), (64, 2 * values), (wide, 4), (values,), (8,), (8 * values, 64)]


CASES = {
    "nemotron: a mixer or a feed-forward part": (
        {"model_type": "nemotron_h", "num_hidden_layers": None, "hybrid_override_pattern": "M-*E",
         "mamba_num_heads": 4, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 8,
         "conv_kernel": 4, "n_routed_experts": 3, "num_experts_per_tok": 1,
         "moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 48,
         "n_shared_experts": 1},
        [*MAMBA2, (64, 96), (96, 64), *ATTENTION, *EXPERTS, (64, 48), (48, 64), *NORM * 4],
        4,
    ),
    "qwen 3.5: gated attention and delta nets": (
        {"model_type": "qwen3_5_text", "num_hidden_layers": 2, "full_attention_interval": 2,
         "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
         "linear_value_head_dim": 8, "linear_conv_kernel_dim": 4},
        [*gdn(4), (64, 2 * 64 + 2 * 32), (64, 64), (2, 16), *MLP * 2, *NORM * 4],
        4,
    ),
    "kimi: float32 convolutions, low-rank gates": (
        {"model_type": "kimi_linear", "linear_attn_config": {
            "full_attn_layers": [9], "num_heads": 4, "head_dim": 16, "short_conv_kernel_size": 4}},
        [(64, 192 + 16 + 4), (64, 64), (64, 16), (16, 64), (16, 64), (16,), *MLP, *NORM * 2],
        192 * 4 + 64 + 4,
    ),
    "jamba: Mamba of the first kind, experts in every other layer": (
        {"model_type": "jamba", "num_hidden_layers": 2, "attn_layer_offset": 7, "mamba_d_state": 8,
         "mamba_expand": 2, "mamba_dt_rank": 4, "mamba_d_conv": 4, "num_experts": 3,
         "num_experts_per_tok": 1, "expert_layer_period": 2, "expert_layer_offset": 1},
        [*[(64, 256), (128, 64), (128, 4 + 16), (4, 128), (128, 4), (3, 128)] * 2, *MLP,
         (3, 64, 192), (3, 96, 64), (64, 3), *NORM * 4],
        2 * 128 * 8,
    ),
    "lfm2: two thirds of what it says": (
        {"model_type": "lfm2", "layer_types": ["conv"], "conv_L_cache": 3, "block_ff_dim": 300,
         "block_multiple_of": 64},
        [(64, 192), (64, 64), (64, 3), (64, 2 * 256), (256, 64), *NORM * 2],
        0,
    ),
    "granite without experts: the shared MLP alone": (
        {"model_type": "granitemoehybrid", "layer_types": ["mamba"], "mamba_n_heads": 4,
         "mamba_d_head": 16, "mamba_expand": 1, "mamba_n_groups": 2, "mamba_d_state": 8,
         "mamba_d_conv": 4, "num_local_experts": 0, "shared_intermediate_size": 80},
        [*MAMBA2, (64, 160), (80, 64), *NORM * 2],
        4,
    ),
    "falcon: both in one layer": (
        {"model_type": "falcon_h1", "mamba_n_heads": 4, "mamba_d_head": 16, "mamba_d_ssm": 64,
         "mamba_n_groups": 2, "mamba_d_state": 8, "mamba_d_conv": 4},
        [*MAMBA2, *ATTENTION, *MLP, *NORM * 2],
        4,
    ),
    "gemma 4: inputs of each layer, heads of their own, a shared cache": (
        {"model_type": "gemma4_text", "num_hidden_layers": 3, "head_dim": 16,
         "layer_types": ["sliding_attention", "full_attention", "full_attention"],
         "sliding_window": 32, "global_head_dim": 32, "num_kv_shared_layers": 1,
         "use_double_wide_mlp": True, "hidden_size_per_layer_input": 8,
         "vocab_size_per_layer_input": 64},
        [*ATTENTION, (2, 16), (64, 128 + 2 * 64), (128, 64), (2, 32), (64, 128), (128, 64), (32,),
         *MLP * 4, *NORM * 12, *[(2, 64, 8), (64,)] * 3, (64, 8 * 3)],
        0,
    ),
    "gemma 4 with experts: beside an MLP, not in its place": (
        {"model_type": "gemma4_text", "head_dim": 16, "num_experts": 3, "top_k_experts": 1,
         "moe_intermediate_size": 32, "enable_moe_block": True},
        [*ATTENTION, (2, 16), *MLP, (3, 64, 64), (3, 32, 64), (64, 3), *NORM * 4],
        0,
    ),
    "zamba 2: one block for all, adapted to each": (
        {"model_type": "zamba2", "num_hidden_layers": 3, "mamba_ngroups": 2, "mamba_d_state": 8,
         "layers_block_type": ["mamba", "hybrid", "hybrid"], "n_mamba_heads": 4, "mamba_d_conv": 4,
         "mamba_headdim": 16, "mamba_expand": 1, "adapter_rank": 4, "attention_head_dim": 16,
         "num_key_value_heads": 4},
        [*MAMBA2 * 3, (128, 192), (64, 64), *MLP, *NORM * 3, *NORM * 3,
         *[(64, 64), (64, 4), (4, 192)] * 2],
        12,
    ),
}  # fmt: skip


def read(config, tensors=None):
    return facts_from(
        Documents(
            source="/m", local=True, config=config, files={"model.safetensors": 1}, tensors=tensors
        )
    )


def weighed(config, tensor=1):
    config = {name: value for name, value in {**BASE, **config}.items() if value is not None}
    shape = shape_of(read(config).architecture)
    sharding = Sharding(tensor)
    return parts(shape, None, sharding, stage=0, dtype_bytes=2, rounded=False)


@pytest.mark.parametrize("name", CASES)
def test_layers_are_what_vllm_builds(name):
    config, matrices, floats = CASES[name]
    expected = 2 * sum(math.prod(size) for size in [*matrices, *NORM]) + 4 * floats
    assert weighed(config).layers == expected


def test_the_inputs_of_each_layer_are_a_table_beside_the_embedding():
    config, _, _ = CASES["gemma 4: inputs of each layer, heads of their own, a shared cache"]
    assert weighed(config).embedding == 2 * (128 * 64 + 64 * 8 * 3)


def test_groups_that_do_not_divide_are_on_every_rank():
    one = {**CASES["falcon: both in one layer"][0], "mamba_n_groups": 1}
    repeated = weighed(one, tensor=2).layers - weighed(one).layers / 2
    # What is whole on both ranks: three norms of the hidden size, half of which was expected; and
    # half of the one group, by the inputs and by the convolution.
    assert repeated == 2 * (3 * 64 / 2 + 16 / 2 * (64 + 4 + 1))


def tensor(name, *size):
    return TensorInfo(name=name, dtype="BF16", shape=size, nbytes=2 * math.prod(size))


def test_headers_leave_out_other_names_of_the_embedding_and_what_is_not_loaded():
    config = {**BASE, "model_type": "mamba2", "num_heads": 4, "head_dim": 16, "state_size": 8}
    own = tensor("backbone.layers.0.norm.weight", 64)
    beside = [
        tensor("backbone.embeddings.weight", 128, 64),
        tensor("mtp.layers.0.mlp.up_proj.weight", 96, 64),
    ]
    assert read(config, (own, *beside)).layer_bytes == own.nbytes


def test_the_widest_layer_decides_the_peak_of_a_pass():
    # Of Nemotron the mixer or the MLP, never both: 2 × 96 channels and 3 × 64 before, 2 × 96 here.
    config, _, _ = CASES["nemotron: a mixer or a feed-forward part"]
    named = {**BASE, **config, "hybrid_override_pattern": "M-"}
    named = {name: value for name, value in named.items() if value is not None}
    shape = shape_of(read(named).architecture)
    assert widest(shape) == 2 * 96 + 3 * 64
    attending = shape_of(read({**named, "hybrid_override_pattern": "*-"}).architecture)
    assert widest(attending) == 2 * 96
    assert widest(attending, tensor=2) < widest(attending)


def widest(shape, tensor=1):
    return max(width(shape, layer, tensor) for layer in layers_of(shape))


@pytest.mark.parametrize(
    ("ignored", "quantized"),
    [
        ([], True),
        (["linear_attn"], False),
        (["model.layers.0.linear_attn.in_proj_qkv"], False),  # of the only layer that has one
        (["re:.*in_proj_a.*", "re:.*linear_attn[.]in_proj_b.*"], True),  # the small ones alone
        (["re:.*in_proj_a.*", "re:.*linear_attn.*"], False),
    ],
)
def test_states_are_quantized_unless_the_checkpoint_leaves_their_large_matrices(ignored, quantized):
    config, _, _ = CASES["qwen 3.5: gated attention and delta nets"]
    method = {"quant_method": "awq", "bits": 4, "group_size": 8, "zero_point": True,
              "version": "gemm", "modules_to_not_convert": ["self_attn", "mlp.gate_proj",
                                                            "mlp.down_proj", *ignored]}  # fmt: skip
    facts = read({**BASE, **config, "quantization_config": method})
    sharding = Sharding(1)
    shape = shape_of(facts.architecture)
    found = parts(shape, facts.quantization, sharding, stage=0, dtype_bytes=2, rounded=False)
    packed = 64 * (64 + 32) + 32 * 64  # in and out of the delta net: two bytes a weight, or half
    saved = 2 * packed - packed / 2 - packed / 8 * 2.5  # scales and zero points of groups of 8
    assert weighed(config).layers - found.layers == (saved if quantized else 0)
