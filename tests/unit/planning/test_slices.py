"""MIG slices: planned as GPUs of their own that reach no other."""

import pytest

from deployctl.hardware import load_profile

SLICE = "a100-80gb:2g.20gb"


def argument(plan, name):
    args = plan.engine.args
    return args[args.index(name) + 1] if name in args else None


def test_a_slice_is_planned_with_its_own_memory(plan, config):
    found = plan(config("llama-8b"), gpu=SLICE, max_model_len=4096)
    assert found.verdict == "fits"
    assert found.gpu == SLICE
    assert found.memory.gpu_total_gib == load_profile(SLICE).memory_gib
    whole = plan(config("llama-8b"), gpu="a100-80gb", max_model_len=4096)
    assert found.cost.usd_per_hour == round(whole.cost.usd_per_hour / 4, 2)


def test_the_batch_of_a_slice_is_said_because_the_engine_may_see_the_whole_card(plan, config):
    found = plan(config("llama-8b"), gpu="h100:2g.20gb", max_model_len=4096)
    assert argument(found, "--max-num-seqs") == "256"
    assert argument(found, "--max-num-batched-tokens") == "2048"
    given = plan(config("llama-8b"), gpu="h100:2g.20gb", max_model_len=4096, max_num_seqs=64)
    assert argument(given, "--max-num-seqs") == "64"
    large = plan(config("llama-8b"), gpu="h100:7g.80gb", max_model_len=4096)
    assert argument(large, "--max-num-batched-tokens") == "8192"
    whole = plan(config("llama-8b"), gpu="h100", max_model_len=4096)
    assert argument(whole, "--max-num-seqs") is None


def test_several_slices_are_replicas_and_never_a_split(plan, config):
    found = plan(config("llama-8b"), gpu=SLICE, gpus=3, max_model_len=4096)
    assert (found.replicas, found.world_size) == (3, 1)
    large = plan(config("qwen2-72b"), gpu=SLICE, gpus=7, max_model_len=4096)
    assert large.verdict == "does_not_fit"
    assert {step.tensor_parallel_size * step.pipeline_parallel_size for step in large.search} == {1}


@pytest.mark.parametrize("split", [{"tensor_parallel_size": 2}, {"pipeline_parallel_size": 2}])
def test_a_split_over_slices_is_refused(plan, config, split):
    found = plan(config("llama-8b"), gpu=SLICE, gpus=2, max_model_len=4096, **split)
    assert found.verdict == "cannot_run"
    [reason] = [r for r in found.reasons if r.code == "gpu_count"]
    assert "MIG slices do not reach each other" in reason.message


def test_a_model_too_large_for_a_slice_is_offered_a_larger_one(plan, config):
    found = plan(config("llama-8b"), gpu="a100-80gb:1g.10gb", max_model_len=4096)
    assert found.verdict == "does_not_fit"
    offered = [fix.gpu for fix in found.fixes]
    assert "a100-80gb:2g.20gb" in offered
    assert not any(fix.gpus > 1 for fix in found.fixes if ":" in fix.gpu)
