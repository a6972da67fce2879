"""CUDA graphs: how many are captured, what they take, and whether the budget has them.

A piecewise graph is captured between every two attentions (compilation/cuda_graph.py) and a full
one around the whole step, so what a graph takes grows with the layers of a model and hardly with
anything else.
"""

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.hardware import GpuProfile
from deployctl.planning import adapters, awq
from deployctl.planning.attention import reads_by_flashinfer
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape
from deployctl.planning.transient import uses_v2_runner
from deployctl.units import MIB

# MiB a layer of one captured graph, fitted to logs. Piecewise: 0.27 to 0.29 where there are no
# others (0.9 and 0.10, Llama 8B, Qwen2 7B, and with two to eight cards that have NVLink).
# Full: the rest of what both took later, 13 to 20 MiB a layer for 51 and 35 of them; 29 for 51 of
# each on Hopper, whose attention (FlashAttention 3) is another.
PIECEWISE_LAYER_MIB = 0.29
FULL_LAYER_MIB = 0.07
FULL_LAYER_MIB_HOPPER = 0.28
# More, where NCCL reduces over PCIe and not vLLM's own kernel: two all-reduces a layer, each with
# its channels. 0.27 a piecewise graph on eight L40S in 0.10.2; with as much, a full one has 0.07 on
# four L40S in 0.19, 0.03 on four RTX 3090 in 0.11 and 0.38 on two RTX 4090 in 0.13. None over
# NVLink, where Qwen3-235B on four H100 without vLLM's kernel took 0.96 GiB in 0.20.
NCCL_LAYER_MIB = 0.25
NCCL_FULL_LAYER_MIB = 0.1
# What the estimate takes from the budget that vLLM makes of them: 0.19 to 0.24 a graph of either
# kind in logs of 0.19 to 0.26 (1.5B to 14B), 0.14 for Qwen3-235B on four H100 in 0.20.
ESTIMATED_LAYER_MIB = 0.2
ESTIMATED_LAYER_MIB_TP = 0.15
# What FlashInfer works in, made at the first capture (VLLM_FLASHINFER_WORKSPACE_BUFFER_SIZE of
# vllm/envs.py): 0.40 GiB were logged for Qwen3.6 27B with an FP8 cache on a 4090 in 0.23 and an A10
# in 0.24, graphs for one sequence and all, and 0.04 with a BF16 cache on an L4 in 0.28.
FLASHINFER_WORKSPACE = 394 * MIB


def graphs_in_budget(shape: Shape, settings: EngineSettings) -> bool:
    """Whether the graphs' estimate is taken from the KV cache."""
    version = settings.version
    told = settings.switch("VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS")
    if told is False or not at_least(version, "0.19.0"):
        return False
    if not told and not behaviour("cudagraphs_in_budget", version):
        return False
    if uses_v2_runner(shape, settings):
        return bool(behaviour("v2_cudagraphs_in_budget", version))
    return True


def graph_count(shape: Shape, settings: EngineSettings) -> int:
    """How many CUDA graphs are captured (vllm/config/vllm.py)."""
    return sum(_counts(shape, settings))


def _counts(shape: Shape, settings: EngineSettings) -> tuple[int, int]:
    """Piecewise graphs and full ones.

    For batches up to twice the sequences, at most 512, and up to 512 for any sequences before 0.10
    (cuda_graph_sizes of vllm/config.py); gpt-oss asks for 1024 (models/config.py). Since 0.11
    decoding alone has full graphs of its own, up to the number of sequences.
    """
    if settings.eager:
        return 0, 0
    batch, limit = settings.batch, _largest_graph(shape, settings)
    step = int(behaviour("cudagraph_step", settings.version))
    full = behaviour("full_cudagraphs", settings.version)
    times = adapters.graph_cases(settings)
    piecewise = _sizes(limit, step) * times
    return piecewise, _sizes(min(limit, batch.sequences), step) * times if full else 0


def _largest_graph(shape: Shape, settings: EngineSettings) -> int:
    batch, limit = settings.batch, settings.graph_limit
    if limit is None:
        most = 2 * batch.sequences if at_least(settings.version, "0.10.0") else 512
        limit = 1024 if shape.model_type == "gpt_oss" else min(512, most)
    return max(1, min(limit, batch.tokens))


def unpacked_in_graphs(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> float:
    """Bytes that a matrix unpacked by the plain AWQ kernel takes in the graphs' own memory."""
    if settings.eager or _largest_graph(shape, settings) < awq.UNPACKED_FROM:
        return 0.0
    return awq.unpacked(shape, settings, profile)


def _sizes(limit: int, step: int) -> int:
    small = sum(size <= limit for size in (1, 2, 4))
    return small + min(limit, 255) // 8 + (max(0, limit - 256) // step + 1 if limit >= 256 else 0)


def cudagraphs(shape: Shape, settings: EngineSettings, profile: GpuProfile, layers: int) -> float:
    """Bytes that the captured CUDA graphs of `layers` layers take on one GPU."""
    piecewise, full = _counts(shape, settings)
    hopper = 9.0 <= profile.capability < 10.0
    each = PIECEWISE_LAYER_MIB * piecewise
    each += (FULL_LAYER_MIB_HOPPER if hopper else FULL_LAYER_MIB) * full
    if graphs_in_budget(shape, settings):
        estimated = ESTIMATED_LAYER_MIB if settings.sharding.tensor == 1 else ESTIMATED_LAYER_MIB_TP
        each = estimated * (piecewise + full)
    if captures_nccl(settings, profile):
        each += NCCL_LAYER_MIB * piecewise + NCCL_FULL_LAYER_MIB * full
    total = layers * each * MIB
    # The second runner has made it before it measures what graphs take.
    if total and not uses_v2_runner(shape, settings):
        total += FLASHINFER_WORKSPACE if reads_by_flashinfer(shape, settings, profile) else 0
    return total


def captures_nccl(settings: EngineSettings, profile: GpuProfile) -> bool:
    """Whether graphs hold an all-reduce of NCCL's over PCIe, as vLLM's own kernel cannot be used.

    That asks for cards that reach each other, and for NVLink between more than two
    (device_communicators/custom_all_reduce.py).
    """
    tensor, link = settings.sharding.tensor, profile.interconnect
    if tensor == 1 or (link is not None and link.kind == "nvlink"):
        return False
    told = settings.rest.get("disable_custom_all_reduce") is True
    return told or tensor > 2 or link is None or not link.peer_to_peer
