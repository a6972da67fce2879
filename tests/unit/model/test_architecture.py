"""The numbers of published architectures, under every name they go by."""

import pytest

from deployctl.errors import ModelError
from deployctl.model import TensorInfo

# (config, layers, hidden, inner, heads, kv, head_dim, vocabulary, tied, context)
PUBLISHED = {
    "llama-2-7b": (
        {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096,
         "intermediate_size": 11008, "num_attention_heads": 32, "vocab_size": 32000,
         "max_position_embeddings": 4096, "num_key_value_heads": None},
        (32, 4096, 11008, 32, 32, 128, 32000, False, 4096),
    ),
    "qwen3-0.6b": (
        {"model_type": "qwen3", "num_hidden_layers": 28, "hidden_size": 1024,
         "intermediate_size": 3072, "num_attention_heads": 16, "num_key_value_heads": 8,
         "head_dim": 128, "vocab_size": 151936, "max_position_embeddings": 40960,
         "tie_word_embeddings": True},
        (28, 1024, 3072, 16, 8, 128, 151936, True, 40960),
    ),
    "gpt2": (
        {"model_type": "gpt2", "n_layer": 12, "n_head": 12, "n_embd": 768, "n_ctx": 1024,
         "n_positions": 1024, "vocab_size": 50257},
        (12, 768, 3072, 12, 12, 64, 50257, True, 1024),
    ),
    "gpt-neo": (
        {"model_type": "gpt_neo", "num_layers": 24, "num_heads": 16, "hidden_size": 2048,
         "intermediate_size": None, "vocab_size": 50257, "max_position_embeddings": 2048},
        (24, 2048, 8192, 16, 16, 128, 50257, True, 2048),
    ),
    "falcon-7b": (
        {"model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544,
         "num_attention_heads": 71, "multi_query": True, "new_decoder_architecture": False,
         "vocab_size": 65024},
        (32, 4544, 18176, 71, 1, 64, 65024, True, 2048),
    ),
    "falcon-40b": (
        {"model_type": "falcon", "num_hidden_layers": 60, "hidden_size": 8192,
         "num_attention_heads": 128, "num_kv_heads": 8, "multi_query": True,
         "new_decoder_architecture": True, "vocab_size": 65024},
        (60, 8192, 32768, 128, 8, 64, 65024, True, 2048),
    ),
    "starcoder": (
        {"model_type": "gpt_bigcode", "n_layer": 40, "n_head": 48, "n_embd": 6144,
         "n_inner": 24576, "n_positions": 8192, "vocab_size": 49152, "multi_query": True},
        (40, 6144, 24576, 48, 1, 128, 49152, True, 8192),
    ),
    "mpt-7b": (
        {"model_type": "mpt", "n_layers": 32, "n_heads": 32, "d_model": 4096,
         "expansion_ratio": 4, "max_seq_len": 2048, "vocab_size": 50432,
         "attn_config": {"attn_type": "multihead_attention"}},
        (32, 4096, 16384, 32, 32, 128, 50432, True, 2048),
    ),
    "chatglm3-6b": (
        {"model_type": "chatglm", "num_layers": 28, "hidden_size": 4096,
         "ffn_hidden_size": 13696, "num_attention_heads": 32, "kv_channels": 128,
         "multi_query_attention": True, "multi_query_group_num": 2, "seq_length": 8192,
         "padded_vocab_size": 65024},
        (28, 4096, 13696, 32, 2, 128, 65024, False, 8192),
    ),
    "opt-6.7b": (
        {"model_type": "opt", "num_hidden_layers": 32, "hidden_size": 4096, "ffn_dim": 16384,
         "num_attention_heads": 32, "vocab_size": 50272, "max_position_embeddings": 2048},
        (32, 4096, 16384, 32, 32, 128, 50272, True, 2048),
    ),
    "gemma-2-9b": (
        {"model_type": "gemma2", "num_hidden_layers": 42, "hidden_size": 3584,
         "intermediate_size": 14336, "num_attention_heads": 16, "num_key_value_heads": 8,
         "head_dim": 256, "vocab_size": 256000, "max_position_embeddings": 8192,
         "sliding_window": 4096},
        (42, 3584, 14336, 16, 8, 256, 256000, True, 8192),
    ),
    "gemma-3-4b, as published: most of it is the class's default": (
        {"model_type": "gemma3", "vision_config": {"hidden_size": 1152},
         "text_config": {"model_type": "gemma3_text", "hidden_size": 2560,
                         "intermediate_size": 10240, "num_hidden_layers": 34,
                         "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                         "sliding_window": 1024}},
        (34, 2560, 10240, 8, 4, 256, 262208, True, 131072),
    ),
    "llava-1.5: the text part names its type alone": (
        {"model_type": "llava", "vision_config": {"hidden_size": 1024},
         "text_config": {"model_type": "llama", "vocab_size": 32064,
                         "max_position_embeddings": 4096}},
        (32, 4096, 11008, 32, 32, 128, 32064, False, 4096),
    ),
    "internvl": (
        {"model_type": "internvl_chat", "vision_config": {"hidden_size": 1024},
         "llm_config": {"model_type": "qwen2", "num_hidden_layers": 28, "hidden_size": 3584,
                        "intermediate_size": 18944, "num_attention_heads": 28,
                        "num_key_value_heads": 4, "vocab_size": 151674,
                        "max_position_embeddings": 32768}},
        (28, 3584, 18944, 28, 4, 128, 151674, False, 32768),
    ),
    "qwen2.5-omni: two levels down": (
        {"model_type": "qwen2_5_omni",
         "thinker_config": {"model_type": "qwen2_5_omni_thinker", "audio_config": {"d_model": 1},
                            "text_config": {"model_type": "qwen2_5_omni_text",
                                            "num_hidden_layers": 28, "hidden_size": 3584,
                                            "intermediate_size": 18944,
                                            "num_attention_heads": 28, "num_key_value_heads": 4,
                                            "vocab_size": 152064,
                                            "max_position_embeddings": 32768}}},
        (28, 3584, 18944, 28, 4, 128, 152064, False, 32768),
    ),
    "qwen2-vl, flat": (
        {"model_type": "qwen2_vl", "vision_config": {"depth": 32}, "num_hidden_layers": 28,
         "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
         "num_key_value_heads": 2, "vocab_size": 151936, "max_position_embeddings": 32768,
         "tie_word_embeddings": True, "sliding_window": 32768, "use_sliding_window": False,
         "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]}},
        (28, 1536, 8960, 12, 2, 128, 151936, True, 32768),
    ),
    "deepseek-v3": (
        {"model_type": "deepseek_v3", "num_hidden_layers": 61, "hidden_size": 7168,
         "intermediate_size": 18432, "num_attention_heads": 128, "num_key_value_heads": 128,
         "qk_nope_head_dim": 128, "qk_rope_head_dim": 64, "v_head_dim": 128, "q_lora_rank": 1536,
         "kv_lora_rank": 512, "vocab_size": 129280, "max_position_embeddings": 163840,
         "rope_scaling": {"type": "yarn", "factor": 40},
         "n_routed_experts": 256, "num_experts_per_tok": 8, "moe_intermediate_size": 2048,
         "n_shared_experts": 1, "first_k_dense_replace": 3, "moe_layer_freq": 1},
        (61, 7168, 18432, 128, 128, 192, 129280, False, 163840),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_architectures(arch, name):
    config, expected = PUBLISHED[name]
    a = arch(config)
    assert (
        a.num_layers,
        a.hidden_size,
        a.intermediate_size,
        a.num_heads,
        a.num_kv_heads,
        a.head_dim,
        a.vocab_size,
        a.tied_embeddings,
        a.max_position_embeddings,
    ) == expected
    assert a.model_type == config["model_type"]
    assert a.multimodal == ("vision_config" in config or "thinker_config" in config)


def test_raw_is_the_text_part(arch):
    config, _ = PUBLISHED["internvl"]
    a = arch(config)
    assert a.raw == config["llm_config"]
    assert a.text_type == "qwen2"
    assert a.vision == config["vision_config"]


def test_mla(arch):
    a = arch(PUBLISHED["deepseek-v3"][0])
    assert a.mla
    assert (a.kv_lora_rank, a.qk_rope_head_dim, a.qk_nope_head_dim) == (512, 64, 128)
    assert (a.v_head_dim, a.q_lora_rank) == (128, 1536)


def test_a_compressed_kv_that_the_engine_does_not_cache_as_such(arch):
    assert not arch({**PUBLISHED["deepseek-v3"][0], "model_type": "minicpm3"}).mla


EXPERTS = {
    # model: (fields, (experts, a token, width, layers with experts, shared width))
    "deepseek_v3": (PUBLISHED["deepseek-v3"][0], (256, 8, 2048, 58, 2048)),
    "mixtral": ({"num_local_experts": 8, "num_experts_per_tok": 2}, (8, 2, 14336, 32, 0)),
    "qwen3_moe": (
        {"num_experts": 128, "num_experts_per_tok": 8, "moe_intermediate_size": 768,
         "decoder_sparse_step": 1, "mlp_only_layers": []},
        (128, 8, 768, 32, 0),
    ),
    "qwen2_moe": (
        {"num_experts": 60, "num_experts_per_tok": 4, "moe_intermediate_size": 1408,
         "shared_expert_intermediate_size": 5632, "decoder_sparse_step": 2,
         "mlp_only_layers": [1]},
        (60, 4, 1408, 15, 5632),
    ),
    "gpt_oss": (
        {"num_local_experts": 32, "experts_per_token": 4, "num_experts_per_tok": 4,
         "intermediate_size": 2880},
        (32, 4, 2880, 32, 0),
    ),
    "dbrx": ({"ffn_config": {"moe_num_experts": 16, "moe_top_k": 4, "ffn_hidden_size": 10752}},
             (16, 4, 10752, 32, 0)),
    "jamba": ({"num_experts": 16, "num_experts_per_tok": 2, "expert_layer_period": 2,
               "expert_layer_offset": 1}, (16, 2, 14336, 16, 0)),
    "llama4_text": (
        {"num_local_experts": 16, "num_experts_per_tok": 1, "intermediate_size": 8192,
         "intermediate_size_mlp": 16384, "interleave_moe_layer_step": 2},
        (16, 1, 8192, 16, 8192),
    ),
    "ernie4_5_moe": (
        {"moe_num_experts": 64, "moe_k": 6, "moe_intermediate_size": 1536,
         "moe_num_shared_experts": 2, "moe_layer_start_index": 1, "moe_layer_interval": 1,
         "moe_layer_end_index": -1},
        (64, 6, 1536, 31, 3072),
    ),
    "llama": ({"num_experts": 0}, (0, 0, 0, 0, 0)),
}  # fmt: skip


@pytest.mark.parametrize("kind", EXPERTS)
def test_experts(arch, llama, kind):
    fields, expected = EXPERTS[kind]
    a = arch({**llama, "model_type": kind, **fields})
    found = (
        a.num_experts,
        a.experts_per_token,
        a.moe_intermediate_size,
        a.moe_layers,
        a.shared_expert_size,
    )
    assert found == expected


def test_the_dense_width_of_llama_4_is_not_its_experts(arch, llama):
    assert arch({**llama, "model_type": "llama4_text", **EXPERTS["llama4_text"][0]}
                ).intermediate_size == 16384  # fmt: skip


def test_a_width_for_each_layer_counts_as_the_widest(arch, llama):
    assert arch({**llama, "intermediate_size": [8192, 16384]}).intermediate_size == 16384


def test_no_attention_at_all(arch):
    a = arch({"model_type": "mamba", "num_hidden_layers": 24, "hidden_size": 768,
              "vocab_size": 50280})  # fmt: skip
    assert (a.num_heads, a.num_kv_heads, a.head_dim) == (0, 0, 0)


@pytest.mark.parametrize(
    ("said", "dtype"),
    [
        ({"torch_dtype": "float16"}, "float16"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "bfloat16"),
        ({"torch_dtype": "torch.float32"}, "float32"),
        ({"torch_dtype": "half"}, "float16"),
        ({}, "float32"),
    ],
)
def test_dtype(arch, llama, said, dtype):
    del llama["torch_dtype"]
    assert arch({**llama, **said}).dtype == dtype


@pytest.mark.parametrize(
    ("stored", "dtype"),
    [
        (["BF16"], "bfloat16"),
        (["F16", "I32"], "float16"),
        (["F16", "BF16"], "float32"),
        (["F32", "BF16"], "float32"),
        (["I32"], "float32"),
    ],
)
def test_dtype_from_the_headers(arch, llama, stored, dtype):
    del llama["torch_dtype"]
    tensors = tuple(TensorInfo(name=d, dtype=d, shape=(1,), nbytes=2) for d in stored)
    assert arch(llama, tensors=tensors).dtype == dtype


COUNTS = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size")
OPTIONAL = ("num_key_value_heads", "intermediate_size", "head_dim", "max_position_embeddings",
            "num_local_experts", "kv_lora_rank", "sliding_window")  # fmt: skip


@pytest.mark.parametrize("name", COUNTS)
def test_a_missing_number_is_named(arch, llama, name):
    del llama[name]
    with pytest.raises(ModelError, match="is missing") as caught:
        arch(llama)
    assert caught.value.where == f"config.json: {name}"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("name", COUNTS + OPTIONAL)
@pytest.mark.parametrize(
    "value", [-1, True, "32", 32.0, 2**70, 10**400, [], {}, "NaN", [[1]], "a\nb" * 100]
)
def test_a_wrong_number_is_named(arch, llama, name, value):
    with pytest.raises(ModelError) as caught:
        arch({**llama, name: value})
    assert caught.value.where == f"config.json: {name}"
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 160


@pytest.mark.parametrize("name", COUNTS)
def test_zero_is_wrong_too(arch, llama, name):
    with pytest.raises(ModelError, match="must be from 1"):
        arch({**llama, name: 0})


def test_a_number_in_a_nested_part_is_named_by_its_path(arch):
    config = {"model_type": "x", "text_config": {"model_type": "y", "num_hidden_layers": "2"}}
    with pytest.raises(ModelError) as caught:
        arch(config)
    assert caught.value.where == "config.json: text_config.num_hidden_layers"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"num_key_value_heads": 5}, "num_key_value_heads"),
        ({"num_key_value_heads": 64}, "num_key_value_heads"),
        ({"num_attention_heads": 8192, "num_key_value_heads": 1}, "num_attention_heads"),
        ({"num_local_experts": 8, "num_experts_per_tok": 9}, "num_experts_per_tok"),
        ({"layer_types": ["full_attention"]}, "layer_types"),
        ({"layer_types": [1] * 32}, "layer_types"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings"),
        ({"torch_dtype": "int3"}, "torch_dtype"),
        ({"torch_dtype": 16}, "torch_dtype"),
        ({"model_type": ["llama"]}, "model_type"),
        ({"architectures": "LlamaForCausalLM"}, "architectures"),
        ({"rope_scaling": {"type": "linear", "factor": -2}}, "rope_scaling.factor"),
        ({"rope_scaling": {"type": "linear", "factor": "2"}}, "rope_scaling.factor"),
    ],
)
def test_what_does_not_go_together(arch, llama, change, where):
    with pytest.raises(ModelError) as caught:
        arch({**llama, **change})
    assert caught.value.where == f"config.json: {where}"


def test_what_differs_in_full_layers_is_read_where_transformers_writes_it_now(arch):
    config = {
        "architectures": ["Gemma4ForCausalLM"],
        "model_type": "gemma4_text",
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 128,
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "sliding_window": 32,
        "per_layer_config": {"1": {"head_dim": 32, "num_key_value_heads": 1}},
    }
    found = arch(config)
    assert (found.full_head_dim, found.full_kv_heads) == (32, 1)
    older = {**config, "per_layer_config": None, "global_head_dim": 64}
    assert arch(older).full_head_dim == 64
