"""Adapters and other memory that engine arguments take: what is counted, what is warned of."""

import pytest


@pytest.mark.parametrize(
    ("arguments", "warns"),
    [
        ({"enable_lora": True}, False),
        ({"enable_lora": True, "enable_tower_connector_lora": True}, True),
        ({"enable_dbo": True}, True),
        ({"enable_dbo": False}, False),
        ({"data_parallel_size": 2}, True),
        ({"data_parallel_size": 1}, False),
    ],
)
def test_memory_that_is_not_counted_is_warned_of(config, plan, warned, arguments, warns):
    found = plan(config("qwen2.5-7b"), max_model_len=4096, engine_args=arguments)
    assert ("memory_not_counted" in warned(found)) == warns


def slots(plan, model, version="0.27.1", **settings):
    """Bytes that weights have more with adapters of rank 64, and the sentence that says so."""
    arguments = {"enable_lora": True, "max_lora_rank": 64, **settings.pop("engine_args", {})}
    wish = {"max_model_len": 4096, "engine_version": version, **settings}
    without, found = plan(model, **wish), plan(model, **wish, engine_args=arguments)
    (said,) = [note for note in found.notes if "LoRA" in note]
    assert "memory_not_counted" not in [warning.code for warning in found.warnings]
    return (found.memory.weights_gib - without.memory.weights_gib) * 2**30, said


def test_the_slots_of_adapters_are_among_the_weights(config, plan):
    # 28 layers: 3 × 3584 + 3584 + 2 × 512, 2 × 3584, 2 × (3584 + 18944), 18944 + 3584.
    each = 28 * (4 * 3584 + 1024 + 2 * 3584 + 3 * (3584 + 18944)) * 64 * 2
    found, said = slots(plan, config("qwen2.5-7b"))
    assert found == pytest.approx(each, rel=0.001)
    assert said.startswith("The weights include 1 slot for LoRA adapters of up to rank 64: ")
    four, said = slots(plan, config("qwen2.5-7b"), engine_args={"max_loras": 4})
    assert four == pytest.approx(4 * each, rel=0.001)
    assert "4 slots" in said
    wide, _ = slots(plan, config("qwen2.5-7b"), engine_args={"lora_dtype": "float32"})
    assert wide == pytest.approx(2 * each, rel=0.001)
    two, _ = slots(plan, config("qwen2.5-7b"), gpus=2, tensor_parallel_size=2)
    assert each / 2 < two < 0.8 * each
    sharded = {"fully_sharded_loras": True}
    less, _ = slots(plan, config("qwen2.5-7b"), gpus=2, tensor_parallel_size=2, engine_args=sharded)
    assert less == pytest.approx(each / 2, rel=0.001)


def test_only_the_layers_that_are_named_have_slots(config, plan):
    found, _ = slots(plan, config("qwen2.5-7b"), engine_args={"lora_target_modules": ["o_proj"]})
    assert found == pytest.approx(28 * 2 * 3584 * 64 * 2, rel=0.01)


def test_embedding_and_output_have_slots_where_the_model_names_them(config, plan):
    wish = {"lora_target_modules": ["embed_tokens", "lm_head"]}
    found, _ = slots(plan, config("llama-8b"), engine_args=wish)
    assert found == pytest.approx(2 * (128256 + 4096) * 64 * 2, rel=0.01)


def test_experts_have_slots_since_they_are_wrapped(config, plan):
    model = config("experts", num_experts=8)
    before, _ = slots(plan, model, version="0.11.0")
    found, _ = slots(plan, model, version="0.11.2")
    assert found - before == pytest.approx(32 * 8 * 3 * (2048 + 768) * 64 * 2, rel=0.001)
    wide = {"gpus": 2, "tensor_parallel_size": 2, "version": "0.11.2"}
    cut, _ = slots(plan, model, **wide)
    whole, _ = slots(plan, model, engine_args={"enable_expert_parallel": True}, **wide)
    assert whole < cut  # half of the experts, not all of them in halves


def test_graphs_are_captured_with_an_adapter_and_without(config, plan):
    def graphs(version, **arguments):
        wish = {"max_model_len": 4096, "engine_version": version, "engine_args": arguments}
        return plan(config("llama-8b"), **wish).memory.cudagraph_gib

    lora = {"enable_lora": True, "max_loras": 4}
    assert graphs("0.11.0", **lora) == graphs("0.11.0")
    assert graphs("0.11.2", **lora) == pytest.approx(2 * graphs("0.11.2"), abs=0.001)
    # without, and with 1, 2, 4 and 5 of them
    many = graphs("0.16.0", **lora, specialize_active_lora=True)
    assert many == pytest.approx(5 * graphs("0.16.0"), abs=0.001)


def test_layers_whose_slots_are_not_known_are_warned_of(config, plan, warned):
    latent = {"kv_lora_rank": 512, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128}
    model = config("llama-8b", **latent, v_head_dim=128, model_type="deepseek_v2")
    found = plan(model, max_model_len=4096, engine_args={"enable_lora": True})
    assert "memory_not_counted" in warned(found)
    assert not any("LoRA" in note for note in found.notes)
