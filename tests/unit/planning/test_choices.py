"""What the plan chooses: split, replicas, flags, budgets, cost."""

import pytest


def test_the_smallest_split_that_fits_and_replicas_of_what_is_left(config, plan):
    found = plan(config("llama-8b"), gpu="l4", gpus=8, max_model_len=16384)
    assert (found.tensor_parallel_size, found.replicas) == (1, 8)
    wide = plan(config("llama-8b"), gpu="l4", gpus=8, max_model_len=131072)
    assert (wide.tensor_parallel_size, wide.replicas) == (2, 4)
    assert any("least that fits" in note for note in wide.notes)


def test_it_says_where_replicas_beat_the_split_that_is_asked_for(config, plan):
    def said(**more):
        notes = plan(config("llama-8b"), gpu="l4", max_model_len=8192, **more).notes
        return [note for note in notes if "--replicas 2 has more throughput" in note]

    assert said(tensor_parallel_size=2)
    assert not said(tensor_parallel_size=2, gpus=4)  # two of it, which are replicas
    assert not said(tensor_parallel_size=1)
    wide = plan(config("llama-8b"), gpu="l4", max_model_len=131072, tensor_parallel_size=2)
    assert not any("--replicas" in note for note in wide.notes)  # one does not hold that


def test_what_keys_allow_counts_in_each_replica(config, plan):
    found = plan(config("llama-8b"), gpu="l4", gpus=2, replicas=2, max_model_len=8192)
    assert any("a key has up to 2 times" in note for note in found.notes)


def test_users_can_ask_for_a_larger_split(config, plan):
    found = plan(config("llama-8b"), gpu="l4", gpus=4, max_model_len=8192, users=20)
    assert found.verdict == "fits"
    assert found.tensor_parallel_size > 1
    assert found.max_concurrency >= 20


def test_stages_where_heads_do_not_allow_more(config, plan):
    found = plan(
        config("qwen2.5-7b", num_attention_heads=7, num_key_value_heads=7, head_dim=128),
        gpu="l4",
        gpus=2,
        max_model_len=32768,
        users=2,
    )
    assert found.tensor_parallel_size == 1
    assert found.pipeline_parallel_size == 2


def test_arguments_are_stable_and_hold_nothing_of_the_target(config, plan):
    found = plan(
        config("llama-8b"),
        max_model_len=4096,
        max_num_seqs=64,
        gpu_memory_utilization=0.9,
        kv_cache_dtype="fp8",
        enforce_eager=True,
        served_model_name="llama",
        engine_args={"seed": 7, "enable_prefix_caching": False, "generation_config": "vllm"},
    )
    assert found.verdict == "fits"
    assert found.engine.args == (
        "--served-model-name",
        "llama",
        "--max-model-len",
        "4096",
        "--gpu-memory-utilization",
        "0.9",
        "--max-num-seqs",
        "64",
        "--kv-cache-dtype",
        "fp8",
        "--enforce-eager",
        "--disable-access-log-for-endpoints",
        "/health,/metrics",
        "--no-enable-prefix-caching",
        "--generation-config",
        "vllm",
        "--seed",
        "7",
    )


def test_the_cpu_gets_its_cache_from_the_environment(config, plan):
    found = plan(
        config("llama-8b"), gpu="cpu", gpu_memory_gib=64, max_model_len=4096, kv_cache_gib=2
    )
    assert found.engine.env == {"VLLM_CPU_KVCACHE_SPACE": "2"}
    assert "--gpu-memory-utilization" not in found.engine.args
    assert found.memory.kv_cache_tokens == 2 * 2**30 // 131072
    assert found.engine.image == "deployctl/vllm-cpu:0.32.0"


def test_all_that_run_on_a_host_share_its_memory(config, plan):
    """By hand, of 16 GiB: 2.0 of weights × 1.2, 4 of KV cache and 2 are 8.3 GiB, and 16.6 twice. Of
    a split each process has a half of the weights, and a KV cache of its own: 18.4 with 6 of it."""

    def on_cpu(**more):
        return plan(config("gemma3-1b"), gpu="cpu", gpu_memory_gib=16, max_model_len=4096, **more)

    assert on_cpu(target="process", kv_cache_gib=4).verdict == "fits"
    twice = on_cpu(target="process", kv_cache_gib=4, replicas=2)
    assert twice.verdict == "does_not_fit"
    assert "KV cache and 2 replicas need about 16.6 GiB" in twice.reasons[0].message
    assert twice.reasons[0].fix.endswith("or fewer --replicas")
    assert on_cpu(target="kubernetes", kv_cache_gib=4, replicas=2).verdict == "fits"
    split = on_cpu(kv_cache_gib=6, tensor_parallel_size=2)
    assert "the engine need about 18.4 GiB" in split.reasons[0].message


def test_a_fraction_of_a_gib_on_the_cpu_is_passed_in_bytes(config, plan):
    # VLLM_CPU_KVCACHE_SPACE takes whole numbers only.
    found = plan(
        config("llama-8b"), gpu="cpu", gpu_memory_gib=64, max_model_len=2048, kv_cache_gib=0.5
    )
    flag = found.engine.args.index("--kv-cache-memory-bytes")
    assert found.engine.args[flag + 1] == str(2**29)
    assert "VLLM_CPU_KVCACHE_SPACE" not in found.engine.env
    assert found.memory.kv_cache_tokens == 4096


@pytest.mark.parametrize(
    ("version", "gpu", "gib", "tokens", "sequences"),
    [
        ("0.8.5", "a100-80gb", None, 8192, 1024),
        ("0.19.0", "a100-80gb", None, 2048, 256),
        ("0.19.0", "h100", None, 8192, 1024),
        ("0.19.0", "h100", 179.0, 8192, 1024),
        ("0.32.0", "h100", 179.0, 16384, 1024),
        ("0.32.0", "l4", None, 2048, 256),
    ],
)
def test_defaults_by_version_and_card(config, plan, version, gpu, gib, tokens, sequences):
    found = plan(
        config("llama-8b"), gpu=gpu, gpu_memory_gib=gib, engine_version=version, max_model_len=4096
    )
    assert found.engine.defaults["max_num_batched_tokens"] == tokens
    assert found.engine.defaults["max_num_seqs"] == sequences


def test_the_default_utilization_rose_in_020(config, plan):
    old, new = (
        plan(config("llama-8b"), engine_version=v).engine.defaults["gpu_memory_utilization"]
        for v in ("0.19.1", "0.20.0")
    )
    assert (old, new) == (0.9, 0.92)


def test_a_longer_way_to_the_weights_gets_a_longer_start(config, facts):
    from deployctl.hardware import load_profile
    from deployctl.planning.make import make_plan
    from deployctl.spec import ServiceSpec

    def budget(local, gpu="h100", **settings):
        known = facts(config("qwen2-72b")).model_copy(update={"local": local})
        spec = ServiceSpec(model="q/q", gpu=gpu, gpus=4, **settings)
        return make_plan(spec, known, load_profile(gpu)).startup_budget_s

    assert budget(True) < budget(False)
    assert budget(True, enforce_eager=True) < budget(True)
    # 135 GiB at 60 MB/s take 40 minutes, and the margin doubles them.
    assert budget(False) > 2 * 40 * 60


def test_a_cost_is_an_estimate_and_says_so(config, plan):
    found = plan(config("llama-8b"), gpu="h100", max_model_len=8192)
    assert found.cost.estimate is True
    assert found.cost.usd_per_hour == pytest.approx(4.76)
    assert 0.05 < found.cost.usd_per_million_output_tokens < 5
    assert found.cost.usd_per_million_input_tokens < found.cost.usd_per_million_output_tokens


def test_compare_finds_the_cheapest_that_is_enough(config, facts):
    from deployctl.hardware import load_profile
    from deployctl.planning.comparison import compare
    from deployctl.spec import ServiceSpec

    spec = ServiceSpec(model="/models/m", max_model_len=8192, users=8)
    cards = [load_profile(name) for name in ("l4", "rtx4090", "a100-80gb", "h100")]
    found = compare(spec, facts(config("llama-8b")), cards)
    assert [c.gpu for c in found.candidates] == ["l4", "rtx4090", "a100-80gb", "h100"]
    assert all(c.plan.max_concurrency >= 8 for c in found.candidates)
    prices = {c.gpu: c.usd_per_hour for c in found.candidates}
    assert found.cheapest == min(prices, key=prices.get)


def test_vllms_own_variables_count(config, plan):
    def planned(version, **env):
        return plan(config("llama-8b"), engine_version=version, max_model_len=4096, env=env)

    first = planned("0.26.0", VLLM_USE_V2_MODEL_RUNNER="0")
    assert first.engine.defaults["model_runner"] == "v1"
    assert first.graphs_in_budget
    assert first.memory.activation_gib > planned("0.26.0").memory.activation_gib
    flash = planned("0.10.2", VLLM_USE_FLASHINFER_SAMPLER="1")
    assert flash.memory.activation_gib < planned("0.10.2").memory.activation_gib / 2.5
    assert planned("0.19.0", VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS="1").graphs_in_budget
    assert not planned("0.21.0", VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS="0").graphs_in_budget
