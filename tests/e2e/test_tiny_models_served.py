"""Models with states, windows or experts as `up` serves them: the cache is the planned one, `smoke`
and a load test work. Their weights are of chance: no answer is right or wrong.
"""

import re
from pathlib import Path

import pytest
from tests.e2e import tiny_models as tiny
from tests.e2e.engine_cache import knowing
from tests.e2e.measured import Measured

import ports

pytestmark = pytest.mark.vllm

SHAPES = {"mamba2 and experts": (tiny.GRANITE, None)}
# All but gpt-oss, whose chats vLLM writes in the tokens of its own vocabulary, and latent
# attention, whose blocks depend on the CPU.
AT_NIGHT = {
    "windows and full": (tiny.WINDOWS, None),
    "heads of two widths": (tiny.HEADS, None),
    "experts": (tiny.EXPERTS, None),
    "gated delta nets": (tiny.DELTA_NETS, None),
    "mamba2, mixers alone": (tiny.NEMOTRON, None),
    "mamba2 beside attention": (tiny.BOTH, None),
    "short convolutions": (tiny.CONVOLUTIONS, None),
    "experts in awq": (tiny.EXPERTS, "awq"),
    "experts in gptq": (tiny.EXPERTS, "gptq"),
}
# Experts of four bits have a kernel for CPUs with these tiles alone (fused_moe/experts/cpu_moe.py).
CPU = Path("/proc/cpuinfo")
TILES = CPU.exists() and "amx_tile" in CPU.read_text()


def at_night(kind):
    _, fmt = AT_NIGHT[kind]
    absent = pytest.mark.skipif(bool(fmt) and not TILES, reason="hardware: the CPU has no AMX")
    return pytest.param(kind, marks=[pytest.mark.night, absent])


@pytest.mark.parametrize("kind", [*SHAPES, *map(at_night, AT_NIGHT)])
def test_it_starts_as_planned_answers_and_bears_load(
    tmp_path, tiny_checkpoint, checkpoint_cache, kind
):
    shape, fmt = {**SHAPES, **AT_NIGHT}[kind]
    model = tiny.checkpoint_of(shape, tiny_checkpoint, tmp_path / "model", fmt)
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
