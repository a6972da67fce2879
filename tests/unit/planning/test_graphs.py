"""CUDA graphs against what vLLM logged of them: each figure is from a public log, by hand."""

import pytest

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}


def test_graphs_are_in_the_budget_from_020_but_not_with_the_second_runner(config, plan):
    def counted(version):
        return plan(config("llama-8b"), engine_version=version).graphs_in_budget

    assert [counted(v) for v in ("0.19.1", "0.20.0", "0.26.0", "0.32.0")] == [
        False,
        True,
        False,
        True,
    ]


def test_graphs_follow_the_sizes_that_are_captured(config, plan):
    def graphs(version="0.19.0", **more):
        found = plan(config("llama-8b"), engine_version=version, max_model_len=4096, **more)
        return found.memory.cudagraph_gib

    # Logged for Llama-3.1-8B on an H100 in 0.19: 0.91 GiB for 51 sizes of each kind.
    assert graphs() == pytest.approx(0.91, abs=0.03)
    assert graphs(max_num_seqs=64) < graphs() / 2
    assert graphs(engine_args={"max_cudagraph_capture_size": 8}) < graphs() / 8
    assert graphs(engine_args={"max_cudagraph_capture_size": 0}) == 0


@pytest.mark.parametrize(
    ("gpu", "count", "arguments", "held"),
    [
        ("l40s", 2, {}, False),  # they reach each other, and are two
        ("l40s", 4, {}, True),
        ("l40s", 2, {"disable_custom_all_reduce": True}, True),
        ("rtx4090", 2, {}, True),
        ("h100", 4, {"disable_custom_all_reduce": True}, False),  # NVLink: hardly any
    ],
)
def test_graphs_that_reduce_by_nccl_over_pcie_take_twice_as_much(
    config, plan, gpu, count, arguments, held
):
    # 3.45 GiB were logged for 67 graphs of 94 layers on eight L40S, 0.56 MiB each; 0.29 is usual.
    found = plan(
        config("qwen2-72b"),
        gpu=gpu,
        engine_version="0.10.2",
        max_model_len=4096,
        gpus=count,
        tensor_parallel_size=count,
        engine_args=arguments,
    )
    each = found.memory.cudagraph_gib * 1024 / 80 / 67
    assert each == pytest.approx(0.54 if held else 0.29, abs=0.01)


def test_graphs_were_captured_for_512_whatever_the_sequences_before_010(config, plan):
    # Mistral Small 24B AWQ for two sequences left no room for them on an A10 in 0.8.3.
    def graphs(version, sequences):
        wish = {"engine_version": version, "max_model_len": 4096, "max_num_seqs": sequences}
        return plan(config("llama-8b"), **wish).memory.cudagraph_gib

    assert graphs("0.9.2", 2) == graphs("0.9.2", 256) == graphs("0.10.0", 256)
    assert graphs("0.10.0", 2) == pytest.approx(graphs("0.10.0", 256) * 3 / 67, abs=1e-3)


def test_an_adapter_fills_a_card_by_its_graphs(config, plan):
    # Twice 51 and 35 graphs took 1.28 GiB for 36 layers of Qwen3-4B on a 4090, where 1.0 was left.
    def graphs(**arguments):
        wish = {"engine_version": "0.20.0", "max_model_len": 4096, "max_num_seqs": 256}
        found = plan(config("qwen2.5-7b"), gpu="rtx4090", **wish, engine_args=arguments)
        return found.memory.cudagraph_gib

    assert graphs(enable_lora=True) == pytest.approx(1.28 * 28 / 36, rel=0.08)
    assert graphs(enable_lora=True) == pytest.approx(2 * graphs(), rel=0.01)


def test_fewer_sequences_are_tried_where_graphs_of_nccl_leave_no_room(config, plan):
    def two(**settings):
        split = {"gpus": 2, "tensor_parallel_size": 2, "min_model_len": 4096}
        llama = {"intermediate_size": 28672, "vocab_size": 128256, "model_type": "llama",
                 "architectures": ["LlamaForCausalLM"]}  # fmt: skip
        awq = config("qwen2-72b", quantization_config=AWQ, **llama)
        return plan(awq, gpu="rtx4090", engine_version="0.32.0", **split, **settings)

    found = two()
    assert found.verdict == "fits", found.reasons
    assert "--max-num-seqs" in found.engine.args
    assert any(note.startswith("64 sequences run at once") for note in found.notes)
    assert two(max_num_seqs=256).verdict != "fits"


def test_eager_takes_no_graphs(config, plan):
    assert plan(config("llama-8b"), enforce_eager=True).memory.cudagraph_gib == 0


def test_an_fp8_cache_that_flashinfer_reads_takes_its_workspace_with_the_graphs(config, plan):
    nets = {"layer_types": ["linear_attention", "full_attention"] * 14,
            "linear_num_value_heads": 32}  # fmt: skip
    wish = {"engine_version": "0.23.0", "max_model_len": 4096}

    def graphs(**changes):
        return plan(config("qwen2.5-7b", **nets), **{**wish, **changes}).memory.cudagraph_gib

    eight = {"kv_cache_dtype": "fp8"}
    for gpu in ("rtx4090", "a10"):
        more = graphs(gpu=gpu, **eight) - graphs(gpu=gpu)
        assert more == pytest.approx(394 / 1024, abs=1e-3)
    assert graphs(gpu="h100", **eight) == graphs(gpu="h100")
    assert graphs(gpu="rtx4090", enforce_eager=True, **eight) == 0
