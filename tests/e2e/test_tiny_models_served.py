"""Models with states, windows or experts as `up` serves them: the cache is the planned one, `smoke`
and a load test work. Their weights are of chance: no answer is right or wrong.
"""

import re

import pytest
from tests.e2e import tiny_models as tiny
from tests.e2e.engine_cache import knowing
from tests.e2e.measured import Measured

import ports

pytestmark = pytest.mark.vllm

SHAPES = {"mamba2 and experts": tiny.GRANITE}
# All but gpt-oss, whose chats vLLM writes in the tokens of its own vocabulary; Qwen3-Next, whose
# answers are blank there; and latent attention, whose blocks depend on the CPU.
AT_NIGHT = {
    "windows and full": tiny.WINDOWS,
    "heads of two widths": tiny.HEADS,
    "experts": tiny.EXPERTS,
    "mamba2, mixers alone": tiny.NEMOTRON,
    "mamba2 beside attention": tiny.BOTH,
    "short convolutions": tiny.CONVOLUTIONS,
}


@pytest.mark.parametrize(
    "kind", [*SHAPES, *(pytest.param(kind, marks=pytest.mark.night) for kind in AT_NIGHT)]
)
def test_it_starts_as_planned_answers_and_bears_load(
    tmp_path, tiny_checkpoint, checkpoint_cache, kind
):
    model = tiny.checkpoint_of({**SHAPES, **AT_NIGHT}[kind], tiny_checkpoint, tmp_path / "model")
    cache = knowing(tmp_path / "cache", checkpoint_cache, Measured.name)
    operator = Measured(tmp_path, model, ports.free(), cache)
    try:
        planned = operator.json("plan", "--model", model, "--gpu", "cpu", "--enforce-eager")
        said = operator("logs", Measured.name).stdout
        tokens = re.search(r"KV cache size: ([\d,]+) tokens", said).group(1)
        assert int(tokens.replace(",", "")) == planned["memory"]["kv_cache_tokens"]
        answer = operator.json("smoke", "--question", "What is 2 + 2?")
        assert answer["ok"]
        assert answer["output_tokens"] > 0
        # Prompts of several chunks, as the kernels of states take them.
        result = operator.json(
            "loadtest", "--users", "2", "--requests", "6", "--input-tokens", "300",
            "--output-tokens", "8", "--warmup", "0s", "--out", tmp_path / "load",
        )  # fmt: skip
        assert (result["requests"]["ok"], result["requests"]["total"]) == (6, 6)
    finally:
        operator.down()
