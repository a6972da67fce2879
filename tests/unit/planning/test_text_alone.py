"""Models that see, served for text alone: as the user says, and as a refused plan offers it."""

import pytest

TOWER = {"depth": 27, "hidden_size": 1152, "intermediate_size": 4304, "spatial_merge_size": 2}
SWITCH = "--engine-arg language-model-only"
LIMITS = {"image": 0, "video": 0}


@pytest.fixture
def seeing(config):
    return config("qwen2.5-7b", vision_config=TOWER)


@pytest.mark.parametrize(
    "asked",
    [
        {"language_model_only": True},
        {"limit_mm_per_prompt": LIMITS},
        {"limit_mm_per_prompt": '{"image": 0, "video": 0, "audio": 0}'},
        {"limit_mm_per_prompt": {"image": {"count": 0}, "video": {"count": 0, "width": 512}}},
    ],
    ids=["switch", "limits", "limits as text", "limits with sizes"],
)
def test_served_for_text_alone_a_model_has_no_vision_tower(config, seeing, plan, warned, asked):
    seen = plan(seeing, max_model_len=4096)
    text = plan(seeing, max_model_len=4096, engine_args=asked)
    without = plan(config("qwen2.5-7b"), max_model_len=4096)
    assert text.memory == without.memory
    assert seen.memory.weights_gib > text.memory.weights_gib + 0.5
    assert "multimodal_estimate" in warned(seen)
    assert "multimodal_estimate" not in warned(text)


def test_limits_of_no_images_leave_the_tower_where_it_is_in_older_releases(seeing, plan):
    wish = {"max_model_len": 4096, "engine_args": {"limit_mm_per_prompt": LIMITS}}
    old, new = (plan(seeing, engine_version=v, **wish) for v in ("0.14.0", "0.15.0"))
    assert old.memory.weights_gib > new.memory.weights_gib + 0.5


# GiB of an L4, what is offered first, and what it costs.
OFFERED = [
    (18.3, SWITCH, "no images or videos"),
    (17.4, f"{SWITCH} --engine-arg compilation_config=", "no images or videos; speed, perhaps"),
    (16.7, f"--max-num-seqs 8 --enforce-eager {SWITCH}", "throughput and speed; no images"),
]


@pytest.mark.parametrize(("gib", "change", "cost"), OFFERED)
def test_text_alone_is_offered_where_the_vision_tower_is_too_much(seeing, plan, gib, change, cost):
    found = plan(seeing, gpu="l4", gpu_memory_gib=gib)
    assert found.verdict == "does_not_fit"
    assert found.fixes[0].change.startswith(change)
    assert found.fixes[0].cost.startswith(cost)
    assert change in found.reasons[0].fix
    assert all(SWITCH not in fix.change or "--gpu" not in fix.change for fix in found.fixes)


def test_what_is_offered_gives_what_it_says(seeing, plan):
    offered = plan(seeing, gpu="l4", gpu_memory_gib=18.3).fixes[0]
    wish = {"engine_args": {"language_model_only": True}}
    done = plan(seeing, gpu="l4", gpu_memory_gib=18.3, **wish)
    assert done.verdict == "fits"
    assert (done.max_model_len, done.memory.kv_cache_gib) == (
        offered.max_model_len,
        offered.kv_cache_gib,
    )
    assert "--language-model-only" in done.engine.args


def test_it_is_offered_as_the_release_has_it(seeing, plan, warned):
    limits = plan(seeing, gpu="l4", gpu_memory_gib=18.3, engine_version="0.16.0")
    assert limits.fixes[0].change == (
        """--engine-arg limit-mm-per-prompt='{"image":0,"video":0}'"""
    )
    older = plan(seeing, gpu="l4", gpu_memory_gib=18.3, engine_version="0.14.0")
    assert not [fix for fix in older.fixes if "--engine-arg" in fix.change]
    warning = next(w for w in older.warnings if w.code == "multimodal_estimate")
    assert "0.15.0 or newer" in warning.fix


def test_a_plan_that_fits_says_what_text_alone_would_give(config, seeing, plan):
    found = plan(seeing, gpu="l4")
    fix = next(w.fix for w in found.warnings if w.code == "multimodal_estimate")
    text = plan(seeing, gpu="l4", engine_args={"language_model_only": True})
    more = text.memory.kv_cache_gib - found.memory.kv_cache_gib
    assert f"with {SWITCH} to do without them: {more:.1f} GiB more of KV cache" in fix
    assert more > 1


def test_text_alone_is_offered_to_no_model_without_a_tower(config, plan):
    found = plan(config("qwen2.5-7b"), gpu="l4", gpu_memory_gib=16.8)
    assert found.verdict == "does_not_fit"
    assert not [fix for fix in found.fixes if "language" in fix.change]
