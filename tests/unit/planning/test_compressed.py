"""DeepSeek V4's compressed cache: the engine's pages, groups and blocks, and what a log says."""

import pytest

from deployctl.planning import kvcache
from deployctl.planning.pages import Page
from deployctl.planning.shape import shape_of

# deepseek-ai/DeepSeek-V4-Flash: 21 layers that compress 4 tokens to one entry, 20 that do 128.
FLASH = {
    "architectures": ["DeepseekV4ForCausalLM"],
    "model_type": "deepseek_v4",
    "hidden_size": 4096,
    "head_dim": 512,
    "num_attention_heads": 64,
    "num_key_value_heads": 1,
    "num_hidden_layers": 43,
    "q_lora_rank": 1024,
    "qk_rope_head_dim": 64,
    "index_head_dim": 128,
    "index_n_heads": 64,
    "index_topk": 512,
    "moe_intermediate_size": 2048,
    "n_routed_experts": 256,
    "n_shared_experts": 1,
    "num_experts_per_tok": 6,
    "expert_dtype": "fp4",
    "sliding_window": 128,
    "vocab_size": 129280,
    "tie_word_embeddings": False,
    "max_position_embeddings": 1048576,
    "torch_dtype": "bfloat16",
    "compress_ratios": [0, 0, *[4, 128] * 20, 4, 0],
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}


@pytest.fixture
def shape(facts):
    return shape_of(facts(FLASH).architecture)


def test_layers_are_grouped_as_the_engine_groups_them(shape):
    """Worked out by hand from vllm/v1/core/kv_cache_utils.py, _get_packed_kv_cache_groups (0.32).

    43 windows, 21 states and 20 of the other ratio leave least empty in groups of 22.
    """
    entry, state, index, rare = 37440, 32832, 8640, 1728  # bytes of pages, multiples of 576
    tables, block = kvcache.packed(kvcache.compressed_pages(shape, (0, 43)))
    assert set(tables) == {
        Page("window", 64, 22 * entry, span=128),
        Page("window", 64, 21 * entry, span=128),
        Page("full", 256, 21 * (entry + index) + 20 * rare),
        Page("window", 4, 21 * (state + index), span=8),
        Page("window", 8, 20 * state, span=128),
    }
    assert block == 1_002_240


def test_a_request_takes_as_many_blocks_as_a_log_says(shape):
    # vllm#44376: 6.66 GiB for 30,000 tokens and 5.44 for 13,528, with 16,384 tokens in a step;
    # 0.22 has larger blocks, and as many.
    tables, _ = kvcache.packed(kvcache.compressed_pages(shape, (0, 43)))
    long, short = (sum(page.needed(n, 16384) for page in tables) for n in (30_000, 13_528))
    assert (long, short) == (6800, 5554)
    assert long / short == pytest.approx(6.66 / 5.44, rel=0.002)


def test_it_is_planned_with_the_cache_that_the_engine_has(plan, warned):
    found = plan(FLASH, gpu="h200", gpus=4, tensor_parallel_size=4)
    assert found.verdict == "fits"
    assert found.max_model_len == 1048576
    assert found.memory.kv_bytes_per_token == pytest.approx(1_002_240 / 256, abs=1)
    assert not found.fp8_chosen
    assert "hybrid_estimate" not in warned(found)


def test_what_was_not_read_is_said(plan, warned):
    wish = {"gpu": "h200", "gpus": 4, "tensor_parallel_size": 4}
    assert "hybrid_estimate" in warned(plan(FLASH, engine_version="0.24.0", **wish))
    without = {key: value for key, value in FLASH.items() if key != "compress_ratios"}
    found = plan(without, **wish)
    warning = next(w for w in found.warnings if w.code == "hybrid_estimate")
    assert "compress_ratios" in warning.message


def test_its_cache_is_in_fp8_alone(plan, codes):
    wish = {"gpu": "h200", "gpus": 4, "tensor_parallel_size": 4}
    assert codes(plan(FLASH, kv_cache_dtype="bfloat16", **wish)) == ["dtype_not_supported"]
    assert codes(plan(FLASH, kv_cache_dtype="fp8", **wish)) == []
