"""What holds for every legal model, card and wish; and for configs that mean harm."""

import contextlib
import json
import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployctl.errors import ModelError
from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec

FEW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True
)
QUANTIZATIONS = (
    None,
    {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
    {"quant_method": "gptq", "bits": 4, "group_size": 64, "desc_act": True, "sym": False},
    {"quant_method": "gptq", "bits": 8, "group_size": -1, "desc_act": False, "sym": True},
    {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128]},
    {"quant_method": "bitsandbytes", "load_in_4bit": True},
    {"quant_method": "mxfp4"},
)
VERSIONS = ("0.8.5", "0.10.2", "0.16.0", "0.19.0", "0.23.0", "0.26.0", "0.29.0", "0.32.0")


@st.composite
def configs(draw):
    """A decoder that could exist."""
    kv_heads = draw(st.sampled_from([1, 2, 4, 8, 16]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 4, 7]))
    head_dim = draw(st.sampled_from([64, 128, 256]))
    config = {
        "architectures": [draw(st.sampled_from(["LlamaForCausalLM", "Qwen3ForCausalLM"]))],
        "model_type": draw(st.sampled_from(["llama", "qwen2", "qwen3", "gemma3_text", "mixtral"])),
        "num_hidden_layers": draw(st.integers(1, 96)),
        "hidden_size": heads * head_dim,
        "intermediate_size": draw(st.integers(1, 300)) * 64,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": head_dim,
        "vocab_size": draw(st.integers(100, 300_000)),
        "tie_word_embeddings": draw(st.booleans()),
        "max_position_embeddings": draw(st.sampled_from([512, 4096, 32768, 131072, 1048576])),
        "torch_dtype": draw(st.sampled_from(["bfloat16", "float16", "float32"])),
    }
    if draw(st.booleans()):
        config["sliding_window"] = draw(st.sampled_from([128, 1024, 4096]))
    if config["model_type"] == "mixtral":
        config |= {"num_local_experts": 8, "num_experts_per_tok": 2}
    quantization = draw(st.sampled_from(QUANTIZATIONS))
    if quantization:
        config["quantization_config"] = quantization
    return config


def planned(config, gib=24.0, gpu="l4", **wish):
    facts = facts_from(Documents(source="/models/m", local=True, config=config))
    profile = load_profile(gpu).model_copy(update={"memory_gib": gib})
    return make_plan(ServiceSpec(model="/models/m", gpu=gpu, **wish), facts, profile)


@FEW
@given(
    configs(),
    st.floats(4, 200),
    st.floats(1.01, 4),
    st.sampled_from(VERSIONS),
    st.integers(256, 8192),
)
def test_more_memory_never_turns_fits_into_does_not_fit(config, gib, more, version, length):
    # The engine's own defaults jump at 70 and 160 GiB, so the batch is held.
    wish = {"max_num_seqs": 128, "max_num_batched_tokens": 2048, "engine_version": version}
    length = min(length, config["max_position_embeddings"])
    small = planned(config, gib, max_model_len=length, **wish)
    large = planned(config, gib * more, max_model_len=length, **wish)
    if small.verdict == "fits":
        assert large.verdict == "fits"
    assert large.memory.kv_cache_gib >= small.memory.kv_cache_gib - 1e-3
    assert large.longest_context >= small.longest_context


@FEW
@given(configs(), st.integers(16, 4096), st.integers(2, 60), st.sampled_from(VERSIONS))
def test_more_context_never_gives_more_concurrency(config, length, times, version):
    wish = {"max_num_seqs": 128, "max_num_batched_tokens": 2048, "engine_version": version}
    short = planned(config, 40.0, max_model_len=length, **wish)
    long = planned(config, 40.0, max_model_len=length * times, **wish)
    assert long.max_concurrency <= short.max_concurrency
    if long.verdict == "fits":
        assert short.verdict == "fits"


@FEW
@given(
    configs(),
    st.floats(8, 200),
    st.sampled_from(VERSIONS),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([1, 2, 3]),
)
def test_the_sum_of_the_budget_is_the_budget_and_all_is_finite(config, gib, version, tp, pp):
    plan = planned(
        config,
        gib,
        gpu="h100",
        gpus=tp * pp,
        tensor_parallel_size=tp,
        pipeline_parallel_size=pp,
        engine_version=version,
    )
    memory = plan.memory
    parts = memory.weights_gib + memory.non_torch_gib + memory.activation_gib
    parts += memory.kv_cache_gib + (memory.cudagraph_gib if plan.graphs_in_budget else 0)
    assert math.isclose(parts, memory.budget_gib, abs_tol=2e-3)
    assert memory.kv_cache_tokens >= 0
    assert plan.startup_budget_s >= 300
    json.dumps(plan.model_dump(mode="json"), allow_nan=False)


@FEW
@given(configs(), st.floats(8, 200), st.sampled_from(VERSIONS))
def test_the_longest_context_is_the_longest(config, gib, version):
    wish = {"max_num_seqs": 64, "max_num_batched_tokens": 2048, "engine_version": version}
    plan = planned(config, gib, **wish)
    codes = {reason.code for reason in plan.reasons} - {"kv_cache_too_small"}
    if plan.longest_context and not codes:
        assert planned(config, gib, max_model_len=plan.longest_context, **wish).verdict == "fits"
        if plan.longest_context < config["max_position_embeddings"]:
            more = planned(config, gib, max_model_len=plan.longest_context + 16, **wish)
            assert more.verdict == "does_not_fit"


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
_NAMES = """
num_hidden_layers hidden_size intermediate_size num_attention_heads num_key_value_heads head_dim
vocab_size max_position_embeddings torch_dtype rope_scaling sliding_window layer_types
quantization_config num_experts num_local_experts moe_intermediate_size kv_lora_rank
qk_rope_head_dim vision_config text_config architectures model_type partial_rotary_factor
first_k_dense_replace mlp_only_layers decoder_sparse_step
"""
FIELDS = _NAMES.split()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(configs(), st.dictionaries(st.sampled_from(FIELDS), JUNK, min_size=1, max_size=4))
def test_a_hostile_config_gives_an_error_or_a_finite_plan(config, junk):
    try:
        plan = planned({**config, **junk}, gpus=2)
    except ModelError:
        return
    json.dumps(plan.model_dump(mode="json"), allow_nan=False)


@FEW
@given(configs(), st.integers(0, 25), st.booleans())
def test_a_field_that_is_missing_or_negative_is_no_traceback(config, position, drop):
    name = sorted(config)[position % len(config)]
    broken = {k: v for k, v in config.items() if k != name}
    if not drop and isinstance(config[name], int):
        broken[name] = -config[name]
    with contextlib.suppress(ModelError):  # anything else is a traceback
        planned(broken)
