"""The synthetic surfaces: which card, model, traffic, space and SLO each has, and what it shows."""

from dataclasses import dataclass, field, replace
from typing import Any

from benchmarks.tuning.model import Card, Model, Traffic

# Memory and bandwidth as in deploy/profiles; dense TFLOPS at 16 bits.
L4 = Card(22.0, 300, 121, 32, share=0.55)
RTX4090 = Card(23.5, 1008, 165, 32, share=0.55)
A100 = Card(79.1, 2039, 312, 300, share=0.55)
H100 = Card(79.2, 3350, 989, 450, share=0.5)
QWEN7_AWQ = Model(5.2, 7.6, 28, 3584, 57344)
QWEN8_BF16 = Model(15.3, 8.2, 36, 4096, 147456)
QWEN8_AWQ = Model(5.7, 8.2, 36, 4096, 147456)
LLAMA70_AWQ = Model(37.1, 70.6, 80, 8192, 327680)

# ShareGPT's mean lengths, as vLLM's benchmarks use it, and two with longer prompts or answers.
CHAT, MIXED, LONG = Traffic(220, 200), Traffic(800, 200), Traffic(1000, 500)
PROMPTS = Traffic(1500, 150)
NOISY = {"between_starts": 0.06, "between_runs": 0.03, "dependence": 2.0, "invalid": 0.03}
SEQS, TOKENS = (64, 128, 256, 512, 1024), (512, 1024, 2048, 4096, 8192)
SMALL = {"seqs": 256, "tokens": 2048}  # vLLM's defaults below 70 GiB, and on an A100
LARGE = {"seqs": 1024, "tokens": 8192}  # from 70 GiB up
OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 1.20 GiB"


@dataclass(frozen=True)
class Recipe:
    """One surface."""

    name: str
    title: str
    card: Card
    model: Model
    traffic: Traffic
    space: dict[str, tuple[Any, ...]]
    current: dict[str, Any]
    slo: dict[str, float] | None
    first: tuple[str, float]
    goal: str = "goodput"
    gpus: int = 1
    usd: float | None = None
    startup: float = 60.0
    noise: dict[str, float] = field(
        default_factory=lambda: {"between_starts": 0.02, "between_runs": 0.01, "dependence": 1.5}
    )
    drift: tuple[tuple[float, float], ...] = ()
    flat: bool = False
    shows: str = ""
    failures: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = ()  # (settings, failure)
    budget: float = 14400.0


_h100 = Recipe(
    name="h100-defaults-good",
    title="Qwen3-8B on one H100, short chats: the defaults are within 3% of the best",
    card=H100, model=QWEN8_BF16, traffic=CHAT,
    space={"seqs": (128, 256, 512, 1024), "tokens": (1024, 2048, 4096, 8192, 16384)},
    current=LARGE, slo={"ttft_p95_s": 0.5, "itl_p95_s": 0.06}, first=("rate", 2.0), usd=2.69,
    shows="nothing better can be found: the right answers are baseline_best and no_clear_winner",
)  # fmt: skip
_l4 = Recipe(
    name="l4-defaults-bad",
    title="Qwen2.5-7B AWQ on one L4: prompts of 1500 tokens stall everybody's next token",
    card=L4, model=QWEN7_AWQ, traffic=PROMPTS,
    space={"seqs": (32, 64, 128, 256, 512), "tokens": TOKENS},
    current=SMALL, slo={"ttft_p95_s": 4.0, "itl_p95_s": 0.2}, first=("rate", 0.5), usd=0.78,
    shows="two settings have to change together, and one of them shows nothing at its first step",
)  # fmt: skip
_cliff = Recipe(
    name="rtx4090-preemption-cliff",
    title="Qwen3-8B AWQ on one RTX 4090, long answers: more than 64 sequences overrun the KV cache",
    card=RTX4090, model=QWEN8_AWQ, traffic=LONG,
    space={
        "utilization": (0.85, 0.9, 0.92, 0.95),
        "seqs": (32, 64, 128, 256),
        "tokens": (1024, 2048, 4096),
    },
    current={**SMALL, "utilization": 0.9},
    slo={"ttft_p95_s": 4.0, "itl_p95_s": 0.25}, first=("rate", 0.5), usd=0.34,
    shows="preemption: vllm#2418 and the field's advice to lower max_num_seqs",
)  # fmt: skip
_a100 = Recipe(
    name="a100-more-sequences",
    title="Qwen3-8B on one A100: the defaults for an A100 leave a part of it idle",
    card=A100, model=QWEN8_BF16, traffic=CHAT,
    space={"seqs": SEQS, "tokens": TOKENS},
    current=SMALL, slo={"ttft_p95_s": 1.0, "itl_p95_s": 0.15}, first=("rate", 2.0), usd=1.39,
)  # fmt: skip
_tp = Recipe(
    name="rtx4090x4-tensor-parallel",
    title="Qwen3-8B AWQ on four RTX 4090: two pairs serve more than four in one",
    card=RTX4090, model=QWEN8_AWQ, traffic=MIXED,
    space={"tp": (1, 2, 4), "seqs": (64, 128, 256, 512), "tokens": (1024, 2048, 4096, 8192)},
    current={**SMALL, "tp": 4}, slo={"ttft_p95_s": 2.0, "itl_p95_s": 0.2},
    first=("rate", 2.0), gpus=4, usd=1.36, startup=70.0,
    shows="tensor parallelism does not help small models: vllm#1873",
)  # fmt: skip
_failing = Recipe(
    name="rtx4090-failures",
    title="As the preemption cliff, where high utilization starts and then runs out of memory",
    card=RTX4090, model=QWEN8_AWQ, traffic=LONG,
    space=_cliff.space, current=_cliff.current, slo=_cliff.slo, first=_cliff.first, usd=0.34,
    failures=(
        ({"utilization": 0.95, "tokens": 4096},
         {"at": "start", "kind": "out_of_memory", "reason": OOM, "spent_s": 45}),
        ({"utilization": 0.95},
         {"at": "load", "kind": "out_of_memory", "reason": OOM, "above": 0.4, "spent_s": 30}),
        ({"utilization": 0.92, "seqs": 256},
         {"at": "load", "kind": "preemption_storm", "above": 1.0,
          "reason": "131 preemptions in 120 requests"}),
        ({"seqs": 128, "tokens": 1024},
         {"at": "start", "kind": "never_healthy", "reason": "no answer within 600 s",
          "spent_s": 600}),
        ({"seqs": 32, "tokens": 4096},
         {"at": "load", "kind": "died_under_load", "reason": "EngineDeadError", "spent_s": 40}),
    ),
    shows="auto_tune takes the highest utilization that starts: vllm#21410",
)  # fmt: skip
_throughput = Recipe(
    name="h100-throughput",
    title="Qwen3-8B on one H100, as many tokens as it gives, closed loop",
    card=H100, model=QWEN8_BF16, traffic=CHAT,
    space={"seqs": (128, 256, 512, 1024), "tokens": (1024, 2048, 4096, 8192, 16384)},
    current=LARGE, slo=None, first=("users", 64.0), goal="throughput", usd=2.69,
)  # fmt: skip
_cost = Recipe(
    name="l4-cost",
    title="Qwen2.5-7B AWQ on one L4, dollars a million tokens; somebody set max_num_seqs to 64",
    card=L4, model=QWEN7_AWQ, traffic=CHAT,
    space={"seqs": (32, 64, 128, 256, 512), "tokens": TOKENS},
    current={"seqs": 64, "tokens": 2048}, slo={"ttft_p95_s": 2.0, "itl_p95_s": 0.25},
    first=("users", 16.0), goal="cost", usd=0.78,
)  # fmt: skip
_latency = Recipe(
    name="a100x4-latency",
    title="A 70B AWQ on four A100, end-to-end latency at 1 request/s; TP 2 is set",
    card=A100, model=LLAMA70_AWQ, traffic=MIXED,
    space={"tp": (1, 2, 4), "tokens": TOKENS},
    current={"tp": 2, "tokens": 2048}, slo=None, first=("rate", 1.0), goal="latency", gpus=4,
    usd=5.56, startup=100.0,
)  # fmt: skip

RECIPES: tuple[Recipe, ...] = (
    _h100, _l4, _cliff, _a100, _tp, _failing, _throughput, _cost, _latency,
    replace(
        _l4, name="l4-noisy", noise=NOISY,
        title="As l4-defaults-bad, on a machine that others use as well",
        shows="noise between starts of 6%, between runs of 3%, invalid measurements",
    ),
    replace(
        _a100, name="a100-drifting", drift=((0.0, 1.0), (2400.0, 0.9)),
        title="As a100-more-sequences, while the card warms and slows by 10%",
        shows="drift: what is measured later looks worse",
    ),
    replace(
        _l4, name="l4-flat", flat=True,
        title="As l4-defaults-bad, where the settings change nothing",
        shows="the right answer is no_clear_winner",
    ),
    replace(
        _a100, name="a100-flat-noisy", flat=True, noise=NOISY,
        title="As a100-more-sequences, where the settings change nothing, and it is noisy",
        shows="the right answer is no_clear_winner",
    ),
)  # fmt: skip
