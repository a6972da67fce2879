"""What an engine needs beyond its budget once the KV cache is there, and the fix, followed."""

import re


def test_a_cache_that_leaves_no_room_for_weights_is_refused_with_one_that_does(config, plan, codes):
    wish = {"gpu": "l4", "max_model_len": 8192, "max_num_seqs": 8}
    found = plan(config("llama-8b"), engine_args={"kv_cache_memory_bytes": 9 << 30}, **wish)
    assert codes(found) == ["utilization_too_high"]
    most = int(re.search(r"kv_cache_memory_bytes=(\d+)", found.reasons[0].fix).group(1))
    assert 1 << 30 < most < 9 << 30
    again = plan(config("llama-8b"), engine_args={"kv_cache_memory_bytes": most}, **wish)
    assert again.verdict == "fits"
    more = plan(config("llama-8b"), engine_args={"kv_cache_memory_bytes": most + 10**7}, **wish)
    assert codes(more) == ["utilization_too_high"]


def test_a_sampler_that_was_not_profiled_needs_its_room(config, plan, codes):
    wish = {"gpu": "rtx4090", "max_model_len": 4096, "max_num_seqs": 1024}
    found = plan(config("llama-8b"), engine_version="0.8.0", **wish)
    assert codes(found) == ["utilization_too_high"]
    fix = found.reasons[0].fix
    fewer = int(re.search(r"--max-num-seqs (\d+)", fix).group(1))
    lower = float(re.search(r"--gpu-memory-utilization ([\d.]+)", fix).group(1))
    changes = ({"max_num_seqs": fewer}, {"gpu_memory_utilization": lower})
    for change in changes:
        again = plan(config("llama-8b"), engine_version="0.8.0", **{**wish, **change})
        assert again.verdict == "fits", change
    # Where profiling samples too, the same room comes out of the KV cache.
    later = plan(config("llama-8b"), engine_version="0.8.5", **wish)
    assert codes(later) in ([], ["kv_cache_too_small"])


def test_the_experts_buffers_stay_beside_the_sampler(config, plan):
    model = config("experts")
    before = plan(model, engine_version="0.13.0", max_model_len=8192, max_num_seqs=1024).memory
    after = plan(model, engine_version="0.14.0", max_model_len=8192, max_num_seqs=1024).memory
    assert before is not None
    assert after is not None
    # 8192 tokens × 8 experts × (2048 + 2048) values of two bytes.
    assert 0.45 < after.activation_gib - before.activation_gib < 0.55


def test_so_do_those_of_four_bits_since_they_draw_from_the_workspace(config, plan):
    def peak(version, method):
        bits = {"quant_method": method, "bits": 4, "group_size": 128}
        model = config("experts", quantization_config=bits)
        wish = {"max_model_len": 8192, "max_num_seqs": 1024, "enforce_eager": True}
        wish["env"] = {"VLLM_USE_V2_MODEL_RUNNER": "0"}
        return plan(model, engine_version=version, **wish).memory.activation_gib

    # 8192 tokens × 8 experts × (2048 + 2048) values of two bytes.
    assert 0.45 < peak("0.22.0", "awq") - peak("0.21.0", "awq") < 0.55
    assert 0.45 < peak("0.21.0", "gptq") - peak("0.20.2", "gptq") < 0.55
