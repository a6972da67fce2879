"""What a card of an older generation takes: dtypes, methods, caches; a T4 above all."""

import pytest

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "fmt": "e4m3"}
MODELOPT = {"quant_method": "modelopt", "quant_algo": "FP8"}
FP4 = {"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "group_size": 16}
BNB = {"quant_method": "bitsandbytes", "load_in_4bit": True}


@pytest.mark.parametrize("version", ["0.8.5", "0.12.0", "0.22.0", "0.33.0"])
def test_an_old_card_runs_awq_in_float16_and_says_so_to_the_engine(config, plan, codes, version):
    small = config("qwen2.5-7b", quantization_config=AWQ)
    wish = {"gpu": "t4", "max_model_len": 2048, "engine_version": version}
    found = plan(small, **wish)
    assert (found.verdict, found.engine.defaults["dtype"]) == ("fits", "float16")
    # Releases before 0.9.1 would take the checkpoint's bfloat16, and stop.
    args = found.engine.args
    assert args[args.index("--dtype") + 1] == "float16"
    refused = plan(small, dtype="bfloat16", **wish)
    assert "dtype_not_supported" in codes(refused)
    assert refused.reasons[0].fix == "use --dtype float16"
    assert "--dtype" not in plan(small, gpu="l4").engine.args


def test_a_model_that_forbids_float16_runs_in_float32_there(config, plan, codes):
    wish = {"gpu": "t4", "max_model_len": 2048}
    whole = plan(config("gemma3-1b"), **wish)
    assert (whole.verdict, whole.engine.defaults["dtype"]) == ("fits", "float32")
    newer = plan(config("gemma3-1b"), **{**wish, "gpu": "l4"})
    assert whole.memory.weights_gib == pytest.approx(2 * newer.memory.weights_gib, rel=0.05)
    assert whole.memory.kv_bytes_per_token == 2 * newer.memory.kv_bytes_per_token
    for version in ("0.12.0", "0.33.0"):
        awq = config("gemma3-1b", quantization_config={**AWQ, "group_size": 32})
        found = plan(awq, engine_version=version, **wish)
        assert codes(found) == ["architecture_conflict"]
        assert "has no bfloat16, so it runs in float32" in found.reasons[0].message
        assert "compute capability 8.0 or newer" in found.reasons[0].fix
    four = config("gemma3-1b", quantization_config=BNB)
    assert plan(four, **wish).verdict == "fits"
    bare = plan(config("gemma3-1b"), dtype="bfloat16", **wish)
    assert (codes(bare), bare.reasons[0].fix) == (["dtype_not_supported"], "leave --dtype unset")


def test_few_methods_have_a_kernel_for_float32(config, plan, codes):
    wish = {"dtype": "float32", "gpu": "l4", "max_model_len": 2048}
    found = plan(config("llama-8b", quantization_config=AWQ), **wish)
    assert (codes(found), found.reasons[0].fix) == (["dtype_not_supported"], "leave --dtype unset")
    assert codes(plan(config("llama-8b", quantization_config=BNB), **wish)) == []


# get_min_capability of vllm/model_executor/layers/quantization in each release.
METHODS = [
    (FP8, "t4", "0.13.0", False),
    (FP8, "t4", "0.14.0", True),
    (FP8, "a10", "0.13.0", True),
    (MODELOPT, "a10", "0.26.0", False),
    (MODELOPT, "a10", "0.27.0", True),
    (MODELOPT, "l4", "0.26.0", True),
    (FP4, "a10", "0.8.5", False),
    (FP4, "a10", "0.9.1", True),
    (FP4, "t4", "0.14.0", True),
    ({"quant_method": "mxfp4"}, "t4", "0.33.0", False),
]


@pytest.mark.parametrize(("method", "gpu", "version", "taken"), METHODS)
def test_methods_by_card_and_release(config, plan, codes, method, gpu, version, taken):
    known = config("llama-8b", quantization_config=method)
    found = plan(known, gpu=gpu, engine_version=version, max_model_len=2048)
    assert ("quantization_not_supported_on_gpu" not in codes(found)) is taken


# v1/attention/backends/triton_attn.py and flashinfer.py, from 0.24 on.
CACHES = [
    ("t4", {}, "0.33.0", False),
    ("t4", {}, "0.22.0", True),  # not known to stop there
    ("a10", {}, "0.33.0", True),  # FlashInfer, heads of 128
    ("a10", {"head_dim": 96}, "0.33.0", False),
    ("l4", {"head_dim": 96}, "0.33.0", True),
]


@pytest.mark.parametrize(("gpu", "more", "version", "taken"), CACHES)
def test_an_fp8_cache_that_no_kernel_reads_is_refused(
    config, plan, codes, gpu, more, version, taken
):
    known = config("llama-8b", quantization_config=AWQ, **more)
    wish = {"gpu": gpu, "max_model_len": 2048, "engine_version": version}
    found = plan(known, kv_cache_dtype="fp8", **wish)
    assert codes(found) == ([] if taken else ["dtype_not_supported"])
    if not taken:
        dtype = found.reasons[0].fix.removeprefix("use --kv-cache-dtype ")
        assert codes(plan(known, kv_cache_dtype=dtype, **wish)) == []
        # A backend of the user's own choice is not looked into.
        own = {"attention_backend": "FLEX_ATTENTION"}
        assert codes(plan(known, kv_cache_dtype="fp8", engine_args=own, **wish)) == []


# docker/Dockerfile's torch_cuda_arch_list and reports: nvidia.yaml, capabilities.
IMAGES = [
    ("b200", "0.8.5", "use --engine-version 0.9.0 or newer"),
    ("rtx5090", "0.9.2", None),
    ("rtx5090", "0.10.0", "use --engine-version 0.10.1 or newer"),
    ("rtx5090", "0.10.1.1", None),
    ("v100", "0.19.1", None),
    ("v100", "0.32.0", "use an --engine-version before 0.20"),
    ("p100", "0.32.0", "name an image built for it with --image"),
    ("t4", "0.32.0", None),
]


@pytest.mark.parametrize(("gpu", "version", "fix"), IMAGES)
def test_an_image_without_code_for_the_card(config, plan, codes, tmp_path, gpu, version, fix):
    old = {"v100": "7.0", "p100": "6.0"}.get(gpu)
    if old:
        (tmp_path / "old.yaml").write_text(
            f"name: {gpu}\ntitle: Tesla\nmemory_gib: 15.7\nmemory_bandwidth_gb_s: 900\n"
            f'compute_capability: "{old}"\n'
        )
        gpu = str(tmp_path / "old.yaml")
    wish = {"gpu": gpu, "engine_version": version, "max_model_len": 2048}
    found = plan(config("gemma3-1b"), **wish)
    told = [r.fix for r in found.reasons if r.code == "engine_not_built_for_gpu"]
    assert told == ([fix] if fix else [])
    assert "engine_not_built_for_gpu" not in codes(plan(config("gemma3-1b"), image="own:1", **wish))


def test_a_bfloat16_cache_on_an_old_card(config, plan, codes):
    known = config("llama-8b", quantization_config=AWQ)
    wish = {"gpu": "t4", "max_model_len": 2048, "kv_cache_dtype": "bfloat16"}
    for version in ("0.32.0", "0.33.0"):
        found = plan(known, engine_version=version, **wish)
        assert codes(found) == ["dtype_not_supported"]


def test_v0_serves_old_cards_longer(config, plan):
    def tokens(gpu, version):
        known = config("qwen2.5-7b", quantization_config=AWQ)
        found = plan(known, gpu=gpu, engine_version=version, max_model_len=4096)
        return found.engine.defaults["max_num_batched_tokens"]

    assert (tokens("t4", "0.10.1"), tokens("t4", "0.10.2")) == (4096, 2048)
    assert tokens("l4", "0.10.1") == 2048


NOTES = [
    (
        "t4",
        AWQ,
        "0.33.0",
        "runs in float16, its attention by Triton, its four-bit layers by Marlin.",
    ),
    ("t4", AWQ, "0.22.0", "its attention by FlashInfer, its four-bit layers by Marlin."),
    ("t4", AWQ, "0.13.0", "its four-bit layers by plain kernels, slow for many users."),
    ("t4", FP8, "0.33.0", "does not calculate in FP8: Marlin unpacks the weights"),
    ("a10", FP8, "0.33.0", "does not calculate in FP8: Marlin unpacks the weights"),
]


@pytest.mark.parametrize(("gpu", "method", "version", "said"), NOTES)
def test_what_an_older_card_does_without_is_said(config, plan, gpu, method, version, said):
    known = config("qwen2.5-7b", quantization_config=method)
    found = plan(known, gpu=gpu, engine_version=version, max_model_len=2048)
    assert any(said in note for note in found.notes), found.notes
    newer = plan(known, gpu="l4", engine_version=version, max_model_len=2048)
    assert not any("FlashAttention" in note or "FP8" in note for note in newer.notes)


GONE = [
    ("BambaForCausalLM", "0.24.0", "0.23.0"),
    ("BambaForCausalLM", None, "0.23.0"),
    ("MPTForCausalLM", "0.29.0", "0.28.0"),
    # Transformers' own class does it.
    ("Dots1ForCausalLM", "0.24.0", None),
    ("BambaForCausalLM", "0.23.0", None),
    ("LlamaForCausalLM", None, None),
]


@pytest.mark.parametrize(("name", "version", "last"), GONE)
def test_an_architecture_that_went_is_refused_with_the_last_release_that_had_it(
    config, plan, name, version, last
):
    known = config("llama-8b", architectures=[name])
    found = plan(known, gpu="h100", engine_version=version, max_model_len=4096)
    fixes = [reason.fix for reason in found.reasons if reason.code == "architecture_dropped"]
    assert fixes == ([f"use --engine-version {last}"] if last else [])


def test_experts_in_four_bits_on_a_cpu_are_said_to_need_amx(config, plan):
    mixed = {
        "architectures": ["MixtralForCausalLM"],
        "model_type": "mixtral",
        "num_local_experts": 8,
        "num_experts_per_tok": 2,
    }

    def said(**changes):
        found = plan(config("llama-8b", **changes), gpu="cpu", max_model_len=4096)
        return any("AMX" in note for note in found.notes)

    assert said(**mixed, quantization_config=AWQ)
    assert not said(**mixed)
    assert not said(quantization_config=AWQ)
