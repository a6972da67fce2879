"""What the plain AWQ kernel takes, which unpacks a layer's weight: where, and when."""

import pytest

from deployctl.hardware import load_profile

AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
FORCED = {"quantization": "awq"}
# Gate and up of Llama 3.1 8B in float16, and the product of 2,048 tokens that is not there yet.
MATRIX = 4096 * 2 * 14336 * 2
PRODUCT = 2048 * 14336 * 2


@pytest.fixture
def peak(config, plan):
    """Bytes of the activation peak of Llama 3.1 8B AWQ on an RTX 4090, for one sequence."""

    def get(version="0.18.0", arguments=None, tokens=2048, gpu="rtx4090", group=128):
        model = config("llama-8b", quantization_config={**AWQ, "group_size": group})
        wish = {"max_model_len": 4096, "max_num_seqs": 1, "max_num_batched_tokens": tokens}
        wish |= {"gpu": gpu, "dtype": "float16", "enforce_eager": True}
        found = plan(model, engine_version=version, engine_args=arguments or {}, **wish)
        return found.memory.activation_gib * 2**30

    return get


def test_a_weight_is_unpacked_for_a_long_step(peak):
    assert peak(arguments=FORCED) - peak() == pytest.approx(MATRIX - PRODUCT, rel=0.01)
    assert peak(arguments=FORCED, tokens=255) == peak(tokens=255)


def test_where_marlin_cannot_be_it_is_unpacked_without_being_asked(peak):
    old = [peak(version=version, gpu="t4") for version in ("0.13.0", "0.14.0")]
    assert old[0] - old[1] == pytest.approx(MATRIX - PRODUCT, rel=0.01)
    assert peak(group=256) > peak() + MATRIX / 2


def test_asked_for_awq_later_releases_take_marlin(peak):
    assert peak(version="0.24.0", arguments=FORCED) == peak(version="0.24.0")


def test_captured_graphs_need_it_once_more(config, plan):
    model = config("llama-8b", quantization_config=AWQ)

    def most(**arguments):
        """The highest utilization that starts, in thousandths."""
        wish = {"max_model_len": 4096, "gpu": "rtx4090", "dtype": "float16"}
        # Nothing is left over from compiling, as it is of a first start in later releases.
        wish |= {"engine_version": "0.13.0", "engine_args": arguments}
        tried = range(940, 990)
        return max(
            n
            for n in tried
            if plan(model, gpu_memory_utilization=n / 1000, **wish).verdict == "fits"
        )

    card = load_profile("rtx4090").memory_gib * 2**30
    assert (most() - most(**FORCED)) / 1000 * card == pytest.approx(MATRIX, abs=card / 500)
    small = {"max_cudagraph_capture_size": 128}
    assert most(**small) == most(**FORCED, **small)
