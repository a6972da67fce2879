"""What experts work in: beside everything else where it stays, in chunks where there are some."""

import pytest


@pytest.fixture
def peak(config, plan):
    """GiB of the activation peak of a model with experts, for one sequence."""

    def get(**settings):
        wish = {"max_model_len": 8192, "max_num_seqs": 1, "enforce_eager": True, **settings}
        return plan(config("experts"), **wish).memory.activation_gib

    return get


def more(peak, step, **settings):
    """GiB that `step` tokens more take, of 32768 and more."""
    tokens = [32768, 32768 + step]
    few, many = (peak(max_num_batched_tokens=n, **settings) for n in tokens)
    return many - few


def test_the_workspace_is_there_beside_attention_and_hidden_states(peak):
    # 8 experts × (2048 + 2048), query, key and value 32 + 2 × 8 heads of 64, 4.3 × 2048.
    values = 8 * 4096 + 48 * 64 + 4.3 * 2048
    found = more(peak, 32768, engine_version="0.20.0")
    assert found == pytest.approx(32768 * 2 * values / 2**30, abs=0.001)


def test_expert_parallelism_does_not_cut_an_expert(peak):
    wide = {"engine_version": "0.20.0", "gpus": 4, "tensor_parallel_size": 4}
    cut = more(peak, 32768, **wide)
    whole = more(peak, 32768, engine_args={"enable_expert_parallel": True}, **wide)
    assert whole == pytest.approx(cut)  # 768 and less are within the hidden size of 2048
    early = {**wide, "engine_version": "0.12.0", "max_num_batched_tokens": 16384}
    assert peak(engine_args={"enable_expert_parallel": True}, **early) > peak(**early) + 0.1


@pytest.mark.parametrize("version", ["0.11.0", "0.17.0"])
def test_in_chunks_more_tokens_take_no_more_experts(peak, version):
    dense = 32768 * 2 * (48 * 64 + 4.3 * 2048) / 2**30
    assert more(peak, 32768, engine_version=version) == pytest.approx(dense, abs=0.001)
    env = {"VLLM_FUSED_MOE_CHUNK_SIZE": "65536"}
    assert more(peak, 32768, engine_version=version, env=env) > dense + 0.5


def test_cutlass_has_three_rows_more_for_every_expert_in_fp4(config, plan):
    # NVFP4 on an RTX 5090, 0.20: 18 KB a token and expert of a hidden size of 2048 were logged.
    def took(**how):
        method = {"quant_method": "modelopt", "group_size": 16, **how}
        wish = {"max_model_len": 8192, "max_num_batched_tokens": 32768, "max_num_seqs": 1}
        whole, kernel = config("experts", quantization_config=method), {"moe_backend": "cutlass"}
        found = [
            plan(whole, **wish, gpu="b200", engine_args=given).memory.activation_gib
            for given in ({}, kernel)
        ]
        return found[1] - found[0]

    assert took(quant_algo="NVFP4") == pytest.approx(32768 * 8 * 3 * 2048 * 2 / 2**30, abs=0.01)
    assert took(quant_algo="FP8") == 0
