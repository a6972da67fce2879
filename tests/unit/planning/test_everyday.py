"""Everyday pairs of checkpoint and card, planned as people type them: --model and --gpu alone,
and --gpus where there are several. It is the command line that is asked; the Hub is not.

Each row says why its verdict is right, so that a change of it can be judged. A context below
the model's own may move with the planner's figures, by 0.4 GiB of KV cache. A refusal is one that
people reported, or its weights alone are more than the card has.
"""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deployctl.cli.app import build
from deployctl.errors import PlanRefusedError
from deployctl.model import Documents
from deployctl.planning.plan import ServingPlan
from deployctl.units import GIB

FILE = Path(__file__).resolve().parents[2] / "data" / "everyday-checkpoints.json"
CHECKPOINTS = json.loads(FILE.read_text(encoding="utf-8"))["checkpoints"]
OWN = "the model's own"
# checkpoint, card × count, context, KV cache, why
STARTS = [
    # 128 KiB a token: 16 GiB for the model's own 131,072 tokens.
    ("llama-3.1-8b", "rtx4090", 37888, "auto", "15 GiB of weights leave 4.8 GiB"),
    ("llama-3.1-8b", "l4", 26624, "auto", "15 GiB of weights leave 3.5 GiB"),
    ("llama-3.1-8b", "h100", OWN, "auto", "55 GiB are left"),
    ("llama-3.1-8b-awq", "rtx4090", 114688, "auto", "14.5 of 16 GiB are left"),
    ("llama-3.1-8b-awq", "l4", 103424, "auto", "13.1 of 16 GiB are left"),
    ("llama-3.1-8b-awq", "a100-80gb", OWN, "auto", "66 GiB are left"),
    ("llama-3.1-8b-gptq", "rtx4090", 114688, "auto", "14.5 of 16 GiB are left"),
    ("llama-3.1-8b-gptq", "l4", 103424, "auto", "13.1 of 16 GiB are left"),
    ("llama-3.1-8b-w4a16", "l4", 103424, "auto", "stored as GPTQ is"),
    # 320 KiB a token, 40 GiB for 131,072.
    ("llama-3.1-70b-awq", "a100-80gb", 101376, "auto", "37 GiB of weights leave 32 GiB"),
    ("llama-3.1-70b-awq", "h100", 98304, "auto", "as the A100, with larger batches"),
    ("llama-3.1-70b-awq", "rtx4090*2", 5376, "auto", "graphs for 64 sequences leave 0.94 GiB"),
    ("llama-3.1-70b-awq", "l4*4", 100352, "auto", "9.3 GiB of weights on each leave 7.9 GiB"),
    ("llama-3.3-70b-gptq", "h100", 99328, "auto", "no zero points: a little smaller than AWQ"),
    ("llama-3.3-70b-gptq", "rtx4090*2", 5120, "auto", "a little smaller than AWQ"),
    ("llama-3.1-70b", "h100*2", 12032, "auto", "66 GiB of weights on each leave 2 GiB"),
    ("llama-3.1-70b", "h100*4", OWN, "auto", "33 GiB of weights on each leave 35 GiB"),
    ("qwen2.5-7b-awq", "l4", OWN, "auto", "56 KiB a token"),
    ("qwen2.5-7b-awq", "rtx4090", OWN, "auto", "56 KiB a token"),
    ("qwen2.5-7b-gptq", "l4", OWN, "auto", "56 KiB a token"),
    ("qwen2.5-7b", "l4", OWN, "auto", "1.75 GiB are needed, 4.6 are left"),
    ("qwen2.5-7b", "rtx4090", OWN, "auto", "1.75 GiB are needed, 5.9 are left"),
    ("qwen2.5-14b-awq", "l4", OWN, "auto", "6 GiB are needed, 9 are left"),
    ("qwen2.5-14b-awq", "rtx4090", OWN, "auto", "6 GiB are needed, 10.4 are left"),
    ("qwen2.5-14b", "a100-40gb", OWN, "auto", "6 GiB are needed, 6.21 are left"),
    # 256 KiB a token: 1 GiB for the least of 4,096.
    ("qwen2.5-32b-awq", "rtx4090", 4352, "fp8", "0.64 GiB are left: 0.54 and 0.58 logged at 0.9"),
    ("qwen2.5-32b-awq", "a100-40gb", OWN, "auto", "8 GiB are needed, 15.8 are left"),
    ("qwen2.5-32b-awq", "rtx4090*2", OWN, "auto", "4 GiB are needed on each"),
    ("qwen2.5-32b-gptq", "rtx4090", 5120, "fp8", "0.76 GiB are left, and 0.1 stay free"),
    ("qwen3-32b-awq", "rtx4090", 4352, "fp8", "0.55 GiB are left: too tight for 0.1 to stay free"),
    ("qwen3-32b-awq", "a100-80gb", OWN, "auto", "10 GiB are needed, 52 are left"),
    ("qwen2.5-72b-awq", "a100-80gb", OWN, "auto", "10 GiB are needed, 31 are left"),
    ("qwen2.5-72b-awq", "h100", OWN, "auto", "10 GiB are needed, 29 are left"),
    ("qwen3-4b-awq", "l4", OWN, "auto", "2.5 GiB of weights"),
    ("qwen3-8b-awq", "l4", OWN, "auto", "5.6 GiB are needed, 13 are left"),
    ("qwen3-8b-awq", "rtx4090", OWN, "auto", "5.6 GiB are needed, 14.4 are left"),
    ("qwen3-8b-fp8", "l4", OWN, "auto", "5.6 GiB are needed, 9.9 are left"),
    ("qwen3-14b-awq", "l4", OWN, "auto", "6.25 GiB are needed, 9.1 are left"),
    ("qwen3-14b-awq", "rtx4090", OWN, "auto", "6.25 GiB are needed, 10.5 are left"),
    ("qwen3-30b-a3b-gptq", "rtx4090", OWN, "auto", "four key-value heads: 96 KiB a token"),
    ("qwen3-30b-a3b-gptq", "l4", 31744, "auto", "15.6 GiB of weights leave 3 GiB"),
    ("mistral-7b-awq", "l4", OWN, "auto", "4 GiB are needed, 15 are left"),
    ("mistral-small-24b-awq", "rtx4090", OWN, "auto", "5 GiB are needed, 6.5 are left"),
    ("mistral-small-24b-awq", "l4", 29696, "auto", "5 GiB are needed, 4.7 are left"),
    ("mixtral-8x7b-awq", "rtx4090*2", OWN, "auto", "11.5 GiB of weights on each"),
    ("mixtral-8x7b-awq", "a100-40gb", OWN, "auto", "4 GiB are needed, 11.8 are left"),
    ("phi-4-gptq", "l4", OWN, "auto", "3.1 GiB are needed, 10 are left"),
    ("phi-4-gptq", "rtx4090", OWN, "auto", "3.1 GiB are needed, 11.5 are left"),
]
# A 32B AWQ on 22 GiB (a 4090 beside a desktop), at 4,096 tokens and at 1,024.
WATTBENCH = "https://github.com/Lexieli666/wattbench/blob/13555fc12555/results/raw"
ALONE = ""  # the weights alone are more than the card has: nobody has to try
# checkpoint, card × count, code, the first fix, why, who reported it
REFUSED = [
    ("llama-3.1-70b-awq", "rtx4090", "weights_too_large", "--gpu", "37 GiB of weights", ALONE),
    (
        *("llama-3.1-70b-awq", "a100-40gb", "weights_too_large", "--gpu"),
        *("37 of 36.3 GiB", "vllm-project/vllm#11230, of 72B on 48 GB"),
    ),
    ("llama-3.1-70b", "rtx4090*2", "weights_too_large", "--gpu", "66 GiB on each", ALONE),
    ("qwen2.5-14b", "rtx4090", "weights_too_large", "--gpu", "27.6 GiB of weights", ALONE),
    (
        "qwen2.5-32b-awq",
        "l4",
        "weights_too_large",
        "--enforce-eager",
        "18.1 of 20.3 GiB",
        WATTBENCH,
    ),
    (
        *("qwen2.5-32b-gptq", "l4", "weights_too_large", "--max-num-seqs"),
        *("18.0 of 20.3 GiB", WATTBENCH),
    ),
    ("qwen3-32b-awq", "l4", "weights_too_large", "--enforce-eager", "18.2 of 20.3 GiB", WATTBENCH),
    ("qwen2.5-72b-awq", "rtx4090", "weights_too_large", "--gpu", "38.7 GiB of weights", ALONE),
    (
        *("mixtral-8x7b-awq", "rtx4090", "weights_too_large", "--gpu"),
        *("23 GiB of weights", "vllm-project/vllm#2312"),
    ),
]


@pytest.fixture
def planned(monkeypatch):
    """`planned(name, card)`: what `deployctl plan` answers, and the error that it ends in."""
    monkeypatch.setenv("HF_TOKEN", "")

    def ask(name, card, *more):
        gpu, _, count = card.partition("*")
        known = CHECKPOINTS[name]
        documents = Documents(
            source=known["repository"],
            local=False,
            config=known["config"],
            files={"config.json": 1, "model.safetensors": 1},
        )
        monkeypatch.setattr("deployctl.hub.fetch", lambda source, **_: documents)
        words = ["plan", "--model", known["repository"], "--gpu", gpu, "--output", "json"]
        if count:
            words += ["--gpus", count]
        words += more
        answer = CliRunner().invoke(build(every=True), words)
        return ServingPlan.model_validate_json(answer.stdout), answer.exception

    return ask


def test_forty_of_them_are_a_checkpoint_and_a_card_alone():
    assert sum("*" not in card for _, card, *_ in [*STARTS, *REFUSED]) >= 40


@pytest.mark.parametrize(("name", "card", "context", "cache", "why"), STARTS)
def test_it_just_starts(planned, name, card, context, cache, why):
    plan, error = planned(name, card)
    assert error is None, why
    assert plan.verdict == "fits", (why, plan.reasons)
    assert plan.engine.defaults["kv_cache_dtype"] == cache, why
    if context == OWN:
        assert plan.max_model_len == plan.model_context, why
    else:
        moved = abs(plan.max_model_len - context) * plan.memory.kv_bytes_per_token / GIB
        assert moved < 0.4, (why, plan.max_model_len)
        assert 4096 <= plan.max_model_len < min(plan.model_context, plan.longest_context)


@pytest.mark.parametrize(("name", "card", "code", "fix", "why", "reported"), REFUSED)
def test_it_cannot_start_and_what_would_help_is_said(planned, name, card, code, fix, why, reported):
    plan, error = planned(name, card)
    assert isinstance(error, PlanRefusedError), why
    assert error.hint, why
    assert [reason.code for reason in plan.reasons] == [code], why
    assert plan.fixes[0].change.split()[0] == fix, why
    assert all(way.max_model_len >= 4096 or "--max-model-len" in way.change for way in plan.fixes)
    if reported is ALONE:
        assert plan.memory.weights_gib > plan.memory.gpu_total_gib, why
    else:
        assert "#" in reported or reported.startswith("https://"), why


@pytest.mark.parametrize(
    ("name", "card", "split"),
    [
        ("qwen2.5-7b-awq", "l4*4", 4),
        ("qwen2.5-7b-awq", "rtx4090*2", 2),
        ("qwen2.5-72b-awq", "a100-80gb*8", 8),
    ],
)
def test_of_a_split_that_is_not_needed_both_ways_are_told_with_what_they_hold(
    planned, name, card, split
):
    """Replicas of a large model each store its weights: they may hold less than half of it."""
    plan, _ = planned(name, card, "--tensor-parallel-size", str(split))
    [said] = [note for note in plan.notes if f"--replicas {split} " in note]
    alone, _ = planned(name, card, "--replicas", str(split))
    assert (alone.tensor_parallel_size, alone.max_model_len) == (1, plan.max_model_len)
    held = float(said.partition(" full requests")[0].split()[-1])
    assert held == pytest.approx(split * alone.max_concurrency, abs=0.1)
    assert said.endswith(f"and holds {plan.max_concurrency:,.1f}.")
    chosen, _ = planned(name, card)  # and nobody has to ask for it
    assert (chosen.replicas, chosen.tensor_parallel_size) == (split, 1)
    assert any("replicas scale better" in note for note in chosen.notes)


def test_of_a_split_that_cannot_be_nothing_is_told_but_that_one_card_is_enough(planned):
    plan, _ = planned("qwen2.5-7b-awq", "a100-80gb*8", "--tensor-parallel-size", "8")
    assert [reason.code for reason in plan.reasons] == ["heads_not_divisible"]
    [said] = [note for note in plan.notes if "--replicas 8 " in note]
    assert "the split answers" not in said


@pytest.mark.parametrize(("card", "verdict"), [("l4*4", "fits"), ("rtx4090*2", "does_not_fit")])
def test_of_a_model_that_is_larger_than_a_card_no_replicas_are_advised(planned, card, verdict):
    plan, _ = planned("qwen2.5-72b-awq", card)
    assert plan.verdict == verdict
    assert plan.replicas == 1
    assert not any("replicas" in note for note in plan.notes)
