"""What a plan can only estimate: how long a start takes, and what tokens cost.

Start: weights ÷ bandwidth + loading + compiling + capturing, with a margin: the health check's
start period and the start-up probe. A budget that is too short kills a pod that is still
loading; one that is too long only delays the news of a failure, so every figure is the slow end
of what people report.

Cost: a roofline, until a load test replaces it. Decoding reads the weights once a step and every
request's cache; it is bound by bandwidth. Prefill multiplies every parameter with every token
twice; it is bound by FLOPS.
"""

from deployctl.hardware import GpuProfile
from deployctl.planning.budget import Memory
from deployctl.planning.plan import CostEstimate
from deployctl.planning.shape import Shape
from deployctl.units import GIB

DOWNLOAD_BYTES_S = 60e6  # a Hub download on a 1 Gbit/s line, shared
DISK_BYTES_S = 400e6  # a network disk of a cloud, or a SATA SSD
BOOT_S = 45.0  # imports, processes, CUDA context; 33 s measured for a tiny model on two cores
COMPILE_S = 60.0  # torch.compile, cold; 166 s seen for a large model, 80 s measured on two cores
COMPILE_LAYER_S = 1.5
CAPTURE_S = 0.35  # one CUDA graph
PROFILE_S = 15.0
NCCL_S = 20.0  # to bring up several ranks
STARTUP_MARGIN = 2.0
LEAST_STARTUP_S = 300  # shorter budgets than this have killed pods in the field
# Share of the roofline that a well-fed engine reaches; the low end of published runs.
BANDWIDTH_SHARE = 0.6
FLOPS_SHARE = 0.45
# The middle of a conversation: half of the context is filled.
FILLED = 0.5
MOST_CONCURRENT = 256.0


def startup_s(
    *,
    weight_bytes: float,
    local: bool,
    layers: int,
    graphs: int,
    eager: bool,
    world: int,
    cpu: bool,
) -> int:
    """Returns seconds from the start of the process to the first answer, at the slow end."""
    total = BOOT_S + weight_bytes / DISK_BYTES_S
    if not local:
        total += weight_bytes / DOWNLOAD_BYTES_S
    if not eager:
        total += COMPILE_S + COMPILE_LAYER_S * layers
        total += 0.0 if cpu else CAPTURE_S * graphs
    total += PROFILE_S + (NCCL_S if world > 1 else 0.0)
    if cpu:
        total += 2.0 * weight_bytes / GIB  # repacking for the CPU's kernels
    seconds = max(LEAST_STARTUP_S, total * STARTUP_MARGIN)
    return int(-(-min(seconds, 6 * 3600) // 30) * 30)


def cost(
    memory: Memory, profile: GpuProfile, replicas: int, request_tokens: int | None = None
) -> CostEstimate | None:
    """Estimates $/h and $ a million tokens at the planned concurrency; None without a price.

    `request_tokens`: of the requests that it is for, by default of the full context.
    """
    if profile.price_per_hour_usd is None or memory.pool <= 0:
        return None
    settings, sharding = memory.settings, memory.settings.sharding
    per_hour = profile.price_per_hour_usd * sharding.gpus * replicas
    stage = memory.tightest
    length = min(request_tokens or settings.length, settings.length)
    requests = min(memory.concurrency_at(length), float(settings.batch.sequences), MOST_CONCURRENT)
    requests = max(1.0, requests)
    active = _active_share(memory.shape)
    weights = max(s.weights for s in memory.stages) * active * sharding.pipeline
    cache = requests * length * FILLED * stage.layout.token_bytes
    step = (weights + min(cache, stage.pool)) / (
        profile.memory_bandwidth_gb_s * 1e9 * BANDWIDTH_SHARE
    )
    decode = requests / step * replicas
    prefill = None
    if profile.dense_tflops_bf16:
        parameters = sum(s.weights for s in memory.stages) / 2 * sharding.tensor * active
        flops = profile.dense_tflops_bf16 * 1e12 * sharding.gpus * FLOPS_SHARE
        prefill = flops / (2 * max(parameters, 1.0)) * replicas
    return CostEstimate(
        usd_per_hour=round(per_hour, 2),
        decode_tokens_s=round(decode, 1),
        prefill_tokens_s=round(prefill, 1) if prefill else None,
        usd_per_million_output_tokens=round(per_hour / 3600 / decode * 1e6, 3),
        usd_per_million_input_tokens=round(per_hour / 3600 / prefill * 1e6, 3) if prefill else None,
        concurrency=round(requests, 1),
        request_tokens=length,
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
