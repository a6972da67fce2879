"""The context where none is asked for: how long, with which split, with which KV cache."""

import pytest

from deployctl.hardware import load_profile
from deployctl.planning import attention
from deployctl.planning.context import rounded
from deployctl.planning.settings import Sharding, resolve
from deployctl.planning.shape import shape_of
from deployctl.spec import ServiceSpec

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
QWEN32 = {
    "num_hidden_layers": 64,
    "hidden_size": 5120,
    "intermediate_size": 27648,
    "num_attention_heads": 40,
    "num_key_value_heads": 8,
    "quantization_config": AWQ,
}


@pytest.fixture
def qwen32(config):
    """Qwen2.5-32B-Instruct-AWQ: on 24 GB there is little left beside its weights."""
    return config("qwen2.5-7b", **QWEN32)


@pytest.mark.parametrize("gpu", ["l4", "rtx4090", "a100-40gb"])
def test_it_is_the_longest_that_fits_and_a_little_room_is_left(config, plan, gpu):
    found = plan(config("llama-8b"), gpu=gpu)
    assert found.verdict == "fits"
    assert found.context_chosen
    assert found.max_model_len == min(rounded(found.max_model_len), 131072)
    if found.max_model_len < found.model_context:
        assert 0.9 < found.max_model_len / found.longest_context < 0.98
    flag = found.engine.args.index("--max-model-len")
    assert found.engine.args[flag + 1] == str(found.max_model_len)
    # It would start with less memory than the profile says, by what start-ups differ.
    given = plan(
        config("llama-8b"),
        gpu=gpu,
        max_model_len=found.max_model_len,
        gpu_memory_gib=found.memory.gpu_total_gib - 0.1,
    )
    assert given.verdict == "fits"


def test_a_model_that_fits_whole_gets_its_own_limit(config, plan):
    found = plan(config("qwen2.5-7b", quantization_config=AWQ), gpu="l4")
    assert (found.max_model_len, found.model_context) == (32768, 32768)
    assert "the model's own" in found.context_words
    assert found.requests_words.endswith(f"or {int(found.concurrency_2048)} of 2,048 tokens")


def test_what_is_asked_for_is_never_touched(config, plan):
    short = plan(config("llama-8b"), gpu="l4", max_model_len=300)
    assert (short.verdict, short.max_model_len, short.context_chosen) == ("fits", 300, False)
    assert short.concurrency_2048 == short.max_concurrency
    long = plan(config("llama-8b"), gpu="l4", max_model_len=131072)
    assert (long.verdict, long.max_model_len) == ("does_not_fit", 131072)
    assert long.engine.defaults["kv_cache_dtype"] == "auto"


def test_a_limit_below_the_least_is_not_refused(config, plan):
    small = config("llama-8b", max_position_embeddings=2048)
    assert plan(small, gpu="l4").max_model_len == 2048


@pytest.mark.parametrize(("length", "number"), [(131071, 130048), (16384, 16384), (5000, 4864)])
def test_numbers_read_well(length, number):
    assert rounded(length) == number


def test_room_for_users_of_full_length(config, plan):
    one, four = (plan(config("llama-8b"), gpu="l4", users=n) for n in (1, 4))
    assert four.verdict == "fits"
    assert four.max_concurrency >= 4
    assert one.max_model_len > 3.5 * four.max_model_len


def test_an_fp8_cache_where_the_models_own_holds_too_little(qwen32, plan, warned):
    found = plan(qwen32, gpu="rtx4090")
    assert found.verdict == "fits"
    assert found.engine.defaults["kv_cache_dtype"] == "fp8"
    assert found.engine.args[found.engine.args.index("--kv-cache-dtype") + 1] == "fp8"
    assert found.max_model_len >= 4096
    assert "fp8_kv_cache_chosen" in warned(found)
    assert "with an FP8 KV cache" in found.context_words
    assert [step.kv_cache_dtype for step in found.search] == ["auto", "fp8"]


def test_the_users_word_on_the_caches_dtype_holds(config, plan):
    wish = {"gpu": "l4", "users": 8}
    assert plan(config("llama-8b"), **wish).engine.defaults["kv_cache_dtype"] == "fp8"
    kept = plan(config("llama-8b"), kv_cache_dtype="auto", **wish)
    assert (kept.verdict, kept.engine.defaults["kv_cache_dtype"]) == ("does_not_fit", "auto")


def test_less_than_the_least_is_refused_and_the_least_is_a_setting(config, qwen32, plan, codes):
    wish = {"gpu": "rtx4090", "users": 3}
    refused = plan(qwen32, **wish)
    assert codes(refused) == ["kv_cache_too_small"]
    assert "less than 4096 is not chosen (--min-model-len)" in refused.reasons[0].message
    assert plan(qwen32, min_model_len=1024, **wish).verdict == "fits"
    assert plan(config("llama-8b"), gpu="l4", min_model_len=49152).verdict == "fits"  # in FP8


def test_the_least_split_that_holds_the_models_own_limit(config, plan):
    found = plan(config("llama-8b"), gpu="l4", gpus=4)
    assert (found.tensor_parallel_size, found.replicas, found.max_model_len) == (2, 2, 131072)
    assert any("--tensor-parallel-size 1 would hold" in note for note in found.notes)


def test_otherwise_the_split_that_holds_most(config, plan):
    found = plan(config("llama-8b", max_position_embeddings=1 << 20), gpu="l4", gpus=4)
    held = {step.tensor_parallel_size: step.max_model_len for step in found.search}
    assert found.tensor_parallel_size == max(held, key=held.get) == 4
    assert found.max_model_len == held[4] < 1 << 20
    assert any("holds the longest context" in note for note in found.notes)


def test_replicas_that_are_asked_for_leave_each_its_share(config, plan):
    found = plan(config("llama-8b"), gpu="l4", gpus=4, replicas=4)
    assert (found.verdict, found.tensor_parallel_size, found.replicas) == ("fits", 1, 4)


def test_a_cache_of_a_given_size_is_used_whole(config, plan):
    found = plan(config("llama-8b"), gpu="cpu", gpu_memory_gib=64, kv_cache_gib=4)
    assert found.max_model_len == rounded(found.longest_context) == 31744


@pytest.mark.parametrize(
    ("gpu", "version", "changes", "taken"),
    [
        ("rtx4090", "0.32.0", {}, True),
        ("rtx4090", "0.11.0", {}, False),  # FlashAttention 3 alone, which is Hopper's
        ("h100", "0.9.2", {}, True),
        ("a100-80gb", "0.32.0", {}, True),  # FlashInfer
        ("a100-80gb", "0.32.0", {"head_dim": 96}, False),  # which has no heads of 96
        ("a100-80gb", "0.32.0", {"head_dim": 512}, True),
        ("a100-80gb", "0.20.0", {"head_dim": 512}, False),
        ("a100-80gb", "0.32.0", {"model_type": "gpt_oss"}, False),  # nor sinks there
        ("cpu", "0.32.0", {}, False),
        ("rtx4090", "0.32.0", {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, True),
        ("rtx4090", "0.25.0", {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, False),
        ("a100-80gb", "0.32.0", {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, False),
        ("h100", "0.32.0", {"kv_lora_rank": 512, "qk_rope_head_dim": 64}, True),
        ("h100", "0.32.0", {"kv_lora_rank": 512, "model_type": "deepseek_v32"}, False),
    ],
)
def test_which_cards_and_versions_read_an_fp8_cache(config, facts, gpu, version, changes, taken):
    known, profile = facts(config("llama-8b", **changes)), load_profile(gpu)
    spec = ServiceSpec(model="m", gpu=gpu, engine_version=version)
    settings = resolve(spec, known, profile, Sharding())
    assert attention.takes_fp8_cache(shape_of(known.architecture), settings, profile) is taken


def test_an_fp8_cache_that_no_kernel_reads_is_not_taken_from_the_checkpoint(config, plan, codes):
    # nvidia/Gemma-4-31B-IT-NVFP4 on an A100: heads of 96 stand for its two widths.
    mine = {"quant_method": "modelopt", "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}
    odd = config("llama-8b", head_dim=96, quantization_config=mine)
    found = plan(odd, gpu="a100-80gb")
    assert found.verdict == "fits"
    assert found.engine.args[found.engine.args.index("--kv-cache-dtype") + 1] == "bfloat16"
    assert any("no kernel" in note for note in found.notes)
    for asked in ("auto", "fp8"):
        refused = plan(odd, gpu="a100-80gb", kv_cache_dtype=asked)
        assert codes(refused) == ["dtype_not_supported"]
        assert refused.reasons[0].fix == "use --kv-cache-dtype bfloat16"
    newer = plan(odd, gpu="l4")
    assert newer.engine.defaults["kv_cache_dtype"] == "fp8"
    assert "--kv-cache-dtype" not in newer.engine.args


def test_a_scheme_of_the_cache_that_a_checkpoint_has_is_heeded(config, plan):
    # RedHatAI's checkpoints with an FP8 KV cache, as llm-compressor writes them.
    scheme = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False}
    mine = {"quant_method": "compressed-tensors", "kv_cache_scheme": scheme, "config_groups": {}}
    usual, odd = (
        config("llama-8b", quantization_config=mine, **changes)
        for changes in ({}, {"head_dim": 96})
    )

    def stored(version, **wish):
        found = plan(usual, gpu="h100", engine_version=version, **wish)
        return found.engine.defaults["kv_cache_dtype"]

    assert stored("0.32.0") == "fp8"
    assert stored("0.14.1") == "auto"

    def kept(version):
        wish = {"gpu": "h100", "engine_version": version, "kv_cache_dtype": "bfloat16"}
        return plan(usual, **wish).memory.kv_bytes_per_token

    assert kept("0.32.0") == 2 * kept("0.21.0")  # which does not heed what is asked
    found = plan(odd, gpu="a100-80gb")
    assert found.engine.args[found.engine.args.index("--kv-cache-dtype") + 1] == "bfloat16"


def test_a_backend_that_the_user_chose_is_not_second_guessed(config, facts):
    known, profile = facts(config("llama-8b")), load_profile("h100")
    shape = shape_of(known.architecture)
    for wish in (
        {"env": {"VLLM_ATTENTION_BACKEND": "FLASHINFER"}},
        {"engine_args": {"attention-backend": "FLASHINFER"}},
    ):
        settings = resolve(ServiceSpec(model="m", **wish), known, profile, Sharding())
        assert not attention.takes_fp8_cache(shape, settings, profile)


def test_fixes_are_ranked_and_each_does_what_it_says(config, plan):
    found = plan(config("llama-8b"), gpu="l4", max_model_len=40960)
    assert [fix.change.split()[0] for fix in found.fixes][:2] == [
        "--kv-cache-dtype",
        "--max-model-len",
    ]
    assert found.fixes[-1].change.startswith("--gpus 2")
    for fix in found.fixes:
        words = fix.change.split()
        flags = dict(zip(words[::2], words[1::2], strict=True))
        wish = {name.strip("-").replace("-", "_"): value for name, value in flags.items()}
        again = plan(config("llama-8b"), **{"gpu": "l4", "max_model_len": 40960, **wish})
        assert again.verdict == "fits"
        assert again.max_model_len == fix.max_model_len
        assert again.max_concurrency == fix.max_concurrency
        assert again.memory.kv_cache_gib == fix.kv_cache_gib


def test_a_context_below_the_least_is_the_last_that_is_proposed(qwen32, plan):
    found = plan(qwen32, gpu="l4", gpu_memory_gib=23.2, kv_cache_dtype="auto")
    assert found.verdict == "does_not_fit"
    short = [way.max_model_len < 4096 for way in found.fixes]
    assert short == [False] * (len(short) - 1) + [True]
    assert found.fixes[-1].change.startswith("--max-model-len")


def test_several_of_another_card_where_neither_alone_does(config, plan):
    huge = config("qwen2-72b", num_hidden_layers=440)  # 720 GiB
    found = plan(huge, gpu="rtx4090")
    assert [way.change for way in found.fixes] == [
        "--gpu h200 --gpus 8 --tensor-parallel-size 8",
    ]
    assert (found.fixes[0].gpu, found.fixes[0].gpus) == ("h200", 8)
    assert plan(huge, gpu="h200", gpus=8, tensor_parallel_size=8).verdict == "fits"
    assert plan(huge, gpu="a100-80gb", gpus=8).verdict == "does_not_fit"


@pytest.mark.parametrize(("gib", "more"), [(17.36, ""), (17.14, " --kv-cache-dtype fp8")])
def test_several_changes_where_none_alone_does(config, plan, gib, more):
    found = plan(config("llama-8b"), gpu="l4", gpu_memory_gib=gib, max_model_len=4096)
    assert found.verdict == "does_not_fit"
    here = [fix.change for fix in found.fixes if "--gpu" not in fix.change]
    assert here == ["--max-num-seqs 8 --enforce-eager" + more]
