"""What it costs, roughly: a roofline, until a load test replaces it.

Decoding reads the weights once a step and every request's cache; it is bound by bandwidth.
Prefill multiplies every parameter with every token twice; it is bound by FLOPS.
"""

from deployctl.hardware import GpuProfile
from deployctl.planning.budget import Memory
from deployctl.planning.plan import CostEstimate
from deployctl.planning.shape import Shape

# Share of the roofline that a well-fed engine reaches; the low end of published runs.
BANDWIDTH_SHARE = 0.6
FLOPS_SHARE = 0.45
# The middle of a conversation: half of the context is filled.
FILLED = 0.5
MOST_CONCURRENT = 256.0


def estimate(
    memory: Memory, shape: Shape, profile: GpuProfile, replicas: int
) -> CostEstimate | None:
    """Estimates $/h and $ a million tokens at the planned concurrency; None without a price."""
    if profile.price_per_hour_usd is None or memory.pool <= 0:
        return None
    sharding = memory.setting.sharding
    gpus = sharding.tensor * sharding.pipeline
    per_hour = profile.price_per_hour_usd * gpus * replicas
    stage = memory.tightest
    requests = min(memory.concurrency, float(memory.setting.batch.sequences), MOST_CONCURRENT)
    requests = max(1.0, requests)
    active = _active_share(shape)
    weights = max(s.weights for s in memory.stages) * active * sharding.pipeline
    cache = requests * memory.setting.length * FILLED * stage.layout.token_bytes
    step = (weights + min(cache, stage.pool)) / (
        profile.memory_bandwidth_gb_s * 1e9 * BANDWIDTH_SHARE
    )
    decode = requests / step * replicas
    prefill = None
    if profile.dense_tflops_bf16:
        parameters = sum(s.weights for s in memory.stages) / 2 * sharding.tensor * active
        flops = profile.dense_tflops_bf16 * 1e12 * gpus * FLOPS_SHARE
        prefill = flops / (2 * max(parameters, 1.0)) * replicas
    return CostEstimate(
        usd_per_hour=round(per_hour, 2),
        decode_tokens_s=round(decode, 1),
        prefill_tokens_s=round(prefill, 1) if prefill else None,
        usd_per_million_output_tokens=round(per_hour / 3600 / decode * 1e6, 3),
        usd_per_million_input_tokens=round(per_hour / 3600 / prefill * 1e6, 3) if prefill else None,
        concurrency=round(requests, 1),
    )


def _active_share(shape: Shape) -> float:
    """The share of the weights that one token uses; a full batch uses more of the experts."""
    if not shape.experts:
        return 1.0
    expert = shape.expert_layers * 3 * shape.hidden * shape.expert_size
    total = expert * shape.experts
    rest = shape.layers * 4 * shape.hidden**2
    used = expert * min(shape.experts, 4 * shape.topk)
    return min(1.0, (used + rest) / max(1.0, total + rest))
