"""What a first start needs besides: it compiles, and times kernels with a copy of the embedding."""

import pytest

from deployctl.planning.settings import UNTIMED

# Qwen2.5-14B: what 0.26 logged on one RTX 4090 (wattbench) is 1.49 GiB of peak activation.
WIDE = {"num_hidden_layers": 48, "hidden_size": 5120, "intermediate_size": 13824}
WIDE |= {"num_attention_heads": 40, "num_key_value_heads": 8}
V1 = {"gpu": "rtx4090", "engine_version": "0.26.0", "max_model_len": 4096}
V1 |= {"env": {"VLLM_USE_V2_MODEL_RUNNER": "0", "VLLM_USE_FLASHINFER_SAMPLER": "0"}}


@pytest.mark.parametrize(("more", "first", "again"), [({}, 1.04, 0.61), (WIDE, 1.49, None)])
def test_the_peak_is_what_was_logged_of_a_first_start_and_of_a_later_one(
    config, plan, more, first, again
):
    memory = plan(config("qwen2.5-7b", **more), **V1).memory
    assert memory.activation_gib == pytest.approx(first, abs=0.015)
    if again:
        assert memory.activation_gib - memory.compile_gib == pytest.approx(again, abs=0.015)


@pytest.mark.parametrize(
    "wish",
    [
        {"enforce_eager": True},
        {"engine_version": "0.11.0"},
        {"engine_args": {"compilation_config": UNTIMED}},
    ],
)
def test_nothing_is_timed_where_nothing_is_compiled_or_told_not_to(config, plan, wish):
    assert plan(config("qwen2.5-7b"), **V1).memory.compile_gib > 0.4
    assert plan(config("qwen2.5-7b"), **{**V1, **wish}).memory.compile_gib == 0


def test_a_split_embedding_is_copied_in_part(config, plan):
    whole, half = (
        plan(config("qwen2.5-7b"), "l4", gpus=n, tensor_parallel_size=n, max_num_seqs=8)
        for n in (1, 2)
    )
    # 152064 × 3584 values of two bytes, less what the forward pass of half a layer spares.
    assert 0.37 < whole.memory.compile_gib - half.memory.compile_gib < 0.52


def test_a_card_that_others_use_is_smaller(config, plan, codes):
    wish = {**V1, "gpu_memory_utilization": 0.95}
    assert plan(config("qwen2.5-7b"), **wish).verdict == "fits"
    found = plan(config("qwen2.5-7b"), **wish, gpu_memory_held_gib=1.04)
    assert codes(found) == ["utilization_too_high"]
    assert "1.04 GiB that others hold" in found.reasons[0].message
    again = plan(
        config("qwen2.5-7b"),
        **{**wish, "gpu_memory_utilization": found.safe_utilization},
        gpu_memory_held_gib=1.04,
    )
    assert again.verdict == "fits"


def test_a_start_at_the_edge_says_so_and_how_to_leave_it(config, plan, warned):
    model, wish = config("llama-8b"), {"gpu": "rtx4090", "max_model_len": 8192}
    most = plan(model, **wish).longest_context
    roomy = plan(model, **{**wish, "max_model_len": most - 1024})
    assert "at_the_edge" not in warned(roomy)
    for length in (most, most + 128):
        found = plan(model, **{**wish, "max_model_len": length})
        assert abs(found.margin_gib) < 0.04
        assert (found.verdict == "fits") == (found.margin_gib >= 0)
        edge = next(w for w in found.warnings if w.code == "at_the_edge")
        left = plan(model, **{**wish, "max_model_len": int(edge.fix.split()[-1])})
        assert left.verdict == "fits"
        assert "at_the_edge" not in warned(left)


def test_advice_is_left_out_where_nobody_reads_it(config, plan, facts):
    from deployctl.hardware import load_profile
    from deployctl.planning.make import make_plan
    from deployctl.spec import ServiceSpec

    spec = ServiceSpec(model="/m", gpu="l4", max_model_len=131072)
    known, card = facts(config("llama-8b")), load_profile("l4")
    told, bare = (make_plan(spec, known, card, advise=advise) for advise in (True, False))
    assert told.fixes
    assert bare.fixes == ()
    assert [r.message for r in told.reasons] == [r.message for r in bare.reasons]


def test_each_split_is_measured_once_at_each_context(config, facts, monkeypatch):
    from deployctl.hardware import load_profile
    from deployctl.planning import sharding
    from deployctl.planning.context import choose
    from deployctl.planning.shape import shape_of
    from deployctl.spec import ServiceSpec

    seen = []
    real = sharding.Planner.measure

    def measure(self, split):
        seen.append((split, self.spec.max_model_len, self.spec.kv_cache_dtype))
        return real(self, split)

    monkeypatch.setattr(sharding.Planner, "measure", measure)
    known = facts(config("llama-8b"))
    spec = ServiceSpec(model="/m", gpu="l4", gpus=2, users=8)
    planner = sharding.Planner(spec, known, load_profile("l4"), shape_of(known.architecture))
    choose(planner)
    assert len(seen) == len(set(seen))
