"""The budget against figures that vLLM logged; each is from a public log, by hand."""

import pytest

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}


@pytest.mark.parametrize(
    ("name", "changes", "version", "gib"),
    [
        ("llama-8b", {}, "0.19.0", 14.99),
        ("qwen2.5-7b", {}, "0.19.0", 14.25),
        ("gemma3-1b", {}, "0.13.0", 1.9148),
        ("llama-8b", {"quantization_config": AWQ}, "0.8.5", 5.3748),
        ("llama-8b", {"quantization_config": GPTQ}, "0.8.5", 5.3494),
        ("qwen2.5-7b", {"quantization_config": AWQ}, "0.26.0", 5.29),
    ],
)
def test_weights_are_those_logged(config, plan, name, changes, version, gib):
    found = plan(config(name, **changes), engine_version=version, max_model_len=4096)
    assert found.memory.weights_gib == pytest.approx(gib, rel=0.004)


def test_cache_of_llama_on_an_h100_in_019(config, plan):
    found = plan(
        config("llama-8b"),
        engine_version="0.19.0",
        max_model_len=8192,
        gpu_memory_utilization=0.95,
        gpu_memory_gib=79.19,
    )
    assert found.memory.kv_cache_gib == pytest.approx(58.11, abs=0.03)
    assert found.memory.kv_cache_tokens == pytest.approx(476016, rel=0.001)
    assert found.memory.kv_bytes_per_token == 131072
    assert found.max_concurrency == pytest.approx(58.11, abs=0.05)


def test_an_fp8_cache_holds_twice_the_tokens(config, plan):
    one = plan(config("llama-8b"), max_model_len=8192)
    two = plan(config("llama-8b"), max_model_len=8192, kv_cache_dtype="fp8")
    assert two.memory.kv_cache_tokens == pytest.approx(2 * one.memory.kv_cache_tokens, rel=1e-4)


def test_parts_add_up_to_the_budget(config, plan):
    for version in ("0.8.5", "0.19.0", "0.21.0", "0.26.0", "0.32.0"):
        found = plan(config("llama-8b"), engine_version=version, max_model_len=4096)
        memory = found.memory
        parts = memory.weights_gib + memory.non_torch_gib + memory.activation_gib
        parts += memory.kv_cache_gib
        parts += memory.cudagraph_gib if found.graphs_in_budget else 0
        assert parts == pytest.approx(memory.budget_gib, abs=0.001), version


def test_the_activation_peak_fell_with_the_sampler_of_017(config, plan):
    # Qwen3-14B on an H100: 5.64 GiB in 0.16, 2.23 in 0.17; the vocabulary decides, not the model.
    old = plan(config("qwen2.5-7b"), engine_version="0.16.0", max_model_len=8192)
    new = plan(config("qwen2.5-7b"), engine_version="0.17.0", max_model_len=8192)
    assert old.memory.activation_gib == pytest.approx(5.63, abs=0.05)
    assert new.memory.activation_gib == pytest.approx(2.21, abs=0.03)


def test_what_033_profiles_and_what_it_no_longer_counts(config, plan):
    def needs(version, gpu="h100", **more):
        found = plan(config("llama-8b"), gpu=gpu, engine_version=version, **more)
        return (found.memory.activation_gib - found.memory.compile_gib) * 1024**3

    # Few tokens, many sequences: the sampler is the peak, 12 bytes a logit larger than in 0.32,
    # and cuBLAS's 32 MiB lie before the snapshot.
    many = {"max_num_batched_tokens": 1024, "max_num_seqs": 1024, "max_model_len": 1024}
    more = needs("0.33.0", **many) - needs("0.32.0", **many)
    forward = 1024 * 4096 * 2  # hidden states that stay while the sampler runs
    sampler = 1024 * 128256 * 14 + forward + 13 * 1024**2
    assert needs("0.33.0", **many) == pytest.approx(sampler, rel=0.001)
    assert more > 1024**3
    # Few sequences: the forward pass is the peak, and cuBLAS is all that differs.
    few = {"max_num_batched_tokens": 8192, "max_num_seqs": 8, "max_model_len": 1024}
    less = needs("0.32.0", **few) - needs("0.33.0", **few)
    assert less == pytest.approx(32 * 1024**2, rel=0.01)


def test_a_float_cache_is_the_models_own_from_033(config, plan, codes):
    asked = {"kv_cache_dtype": "float16", "max_model_len": 4096}
    assert codes(plan(config("llama-8b"), engine_version="0.32.0", **asked)) == []
    found = plan(config("llama-8b"), engine_version="0.33.0", **asked)
    assert codes(found) == ["dtype_not_supported"]
    asked["kv_cache_dtype"] = "bfloat16"
    assert codes(plan(config("llama-8b"), engine_version="0.33.0", **asked)) == []


def test_tensor_parallelism_splits_layers_and_repeats_scarce_heads(config, plan):
    one = plan(config("qwen2.5-7b"), max_model_len=4096, enforce_eager=True)
    two = plan(
        config("qwen2.5-7b"), gpus=4, tensor_parallel_size=4, max_model_len=4096, enforce_eager=True
    )
    assert two.memory.weights_gib == pytest.approx(one.memory.weights_gib / 4, rel=0.02)
    assert two.memory.kv_bytes_per_token * 4 == one.memory.kv_bytes_per_token
    scarce = config("qwen2.5-7b", num_key_value_heads=2)
    whole = plan(scarce, max_model_len=4096)
    split = plan(scarce, gpus=4, tensor_parallel_size=4, max_model_len=4096)
    # Two heads on four cards: each card keeps one whole head.
    assert split.memory.kv_bytes_per_token * 2 == whole.memory.kv_bytes_per_token


def test_pipeline_stages_are_not_even(config, plan):
    # Logged for Llama-3.1-8B: 7.51 GiB in two stages, 4.26 in four.
    for stages, gib in ((2, 7.51), (4, 4.26)):
        found = plan(
            config("llama-8b"),
            gpus=stages,
            pipeline_parallel_size=stages,
            tensor_parallel_size=1,
            engine_version="0.19.0",
            max_model_len=8192,
        )
        assert found.memory.weights_gib == pytest.approx(gib, abs=0.01)


def test_window_and_full_layers_share_one_pool(config, plan):
    # Logged by 0.13: 25.39 GiB and 950,864 tokens, seven groups of four layers, two padded.
    found = plan(
        config("gemma3-1b"),
        gpu="rtx4090",
        gpu_memory_gib=31.36,
        gpu_memory_utilization=0.95,
        max_model_len=2048,
        max_num_batched_tokens=8192,
        engine_version="0.13.0",
    )
    assert found.memory.kv_cache_gib == pytest.approx(25.39, rel=0.003)
    assert found.memory.kv_cache_tokens == pytest.approx(950864, rel=0.003)


def test_latent_attention_keeps_576_values_a_token(plan):
    config = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "num_hidden_layers": 27,
        "hidden_size": 2048,
        "intermediate_size": 10944,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "vocab_size": 102400,
        "tie_word_embeddings": False,
        "max_position_embeddings": 163840,
        "torch_dtype": "bfloat16",
        "kv_lora_rank": 512,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "moe_intermediate_size": 1408,
        "n_routed_experts": 64,
        "n_shared_experts": 2,
        "num_experts_per_tok": 6,
        "first_k_dense_replace": 1,
    }
    found = plan(config, gpu="a100-80gb", max_model_len=8192)
    assert found.memory.kv_bytes_per_token == 27 * 576 * 2
    # DeepSeek-V2-Lite: 15.7 billion parameters.
    assert found.memory.weights_gib == pytest.approx(15.7e9 * 2 / 2**30, rel=0.03)


def test_headers_decide_the_weights_when_they_were_read(config, facts):
    from deployctl.hardware import load_profile
    from deployctl.planning.make import make_plan
    from deployctl.spec import ServiceSpec

    known = facts(config("llama-8b"))
    exact = known.model_copy(update={"layer_bytes": round(13.5 * 2**30), "headers_read": True})
    spec = ServiceSpec(model="/models/m", gpu="h100", max_model_len=4096)
    told = make_plan(spec, exact, load_profile("h100")).memory.weights_gib
    vocabulary = 2 * 128256 * 4096 * 2 / 2**30
    rotary = 131072 * 128 * 2 / 2**30
    assert told == pytest.approx(13.5 + vocabulary + rotary, abs=0.01)


def test_an_online_quantization_must_hold_the_whole_model_first(config, plan, codes):
    found = plan(config("qwen2-72b"), gpu_memory_gib=139.72, engine_args={"quantization": "fp8"})
    assert codes(found) == ["weights_too_large"]


def test_what_a_checkpoint_leaves_unquantized_keeps_its_size(config, plan):
    whole = plan(config("qwen2.5-7b", quantization_config=AWQ), max_model_len=4096)
    left = {**AWQ, "modules_to_not_convert": ["self_attn"]}
    some = plan(config("qwen2.5-7b", quantization_config=left), max_model_len=4096)
    attention = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512)  # parameters
    packed = 0.5 + 2.5 / 128  # bytes a parameter: four bits, a scale and a zero a group
    more = attention * (2 - packed) / 2**30
    assert some.memory.weights_gib - whole.memory.weights_gib == pytest.approx(more, rel=0.05)
    # One layer's exception does not speak for the others; and no pattern is ever run.
    for pattern in ("model.layers.0.self_attn", "(a+)+$" * 40):
        odd = {**AWQ, "modules_to_not_convert": [pattern]}
        told = plan(config("qwen2.5-7b", quantization_config=odd), max_model_len=4096)
        assert told.memory.weights_gib == whole.memory.weights_gib


def test_offloaded_weights_make_room_for_the_cache(config, plan):
    plain = plan(config("qwen2.5-7b"), max_model_len=4096)
    moved = plan(config("qwen2.5-7b"), max_model_len=4096, engine_args={"cpu_offload_gb": 4})
    assert moved.memory.kv_cache_gib == pytest.approx(plain.memory.kv_cache_gib + 4, abs=0.01)


def test_linear_attention_grows_the_block_until_a_state_fits(plan):
    # Qwen3-Next: vLLM sets the attention block to 544 tokens and makes four groups of twelve.
    found = plan(
        {
            "architectures": ["Qwen3NextForCausalLM"],
            "model_type": "qwen3_next",
            "num_hidden_layers": 48,
            "hidden_size": 2048,
            "intermediate_size": 5120,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 256,
            "vocab_size": 151936,
            "tie_word_embeddings": False,
            "max_position_embeddings": 262144,
            "torch_dtype": "bfloat16",
            "num_experts": 512,
            "num_experts_per_tok": 10,
            "moe_intermediate_size": 512,
            "shared_expert_intermediate_size": 512,
            "full_attention_interval": 4,
            "linear_conv_kernel_dim": 4,
            "linear_key_head_dim": 128,
            "linear_num_key_heads": 16,
            "linear_num_value_heads": 32,
            "linear_value_head_dim": 128,
        },
        gpu="h100",
        gpu_memory_gib=180,
        max_model_len=32768,
        engine_version="0.19.0",
    )
    assert found.memory.weights_gib == pytest.approx(79.67e9 * 2 / 2**30, rel=0.002)
    assert found.memory.kv_cache_tokens % 544 == 0


def test_a_layer_that_is_left_out_as_a_whole_is_counted_as_it_was(config, plan):
    def weights(*left_out):
        form = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True}
        quantized = {**form, "modules_to_not_convert": [*left_out]}
        found = plan(config("qwen2.5-7b", quantization_config=quantized), max_model_len=4096)
        return found.memory.weights_gib

    one = weights("model.layers.0") - weights()
    every = plan(config("qwen2.5-7b"), max_model_len=4096).memory.weights_gib - weights()
    assert one == pytest.approx(every / 28, rel=0.02)
    assert weights("model.layers.99") == weights()


def test_eight_h100_share_memory_of_nvlink_sharp_where_nccl_is_counted(config, plan):
    outside = [
        plan(config("llama-8b"), gpu="h100", gpus=cards, tensor_parallel_size=cards,
             max_model_len=4096, engine_version=release).memory.non_torch_gib
        for cards, release in ((4, "0.10.0"), (8, "0.10.0"), (8, "0.11.0"))
    ]  # fmt: skip
    assert outside[1] - outside[0] == pytest.approx(1.87)
    assert outside[2] < outside[0]
