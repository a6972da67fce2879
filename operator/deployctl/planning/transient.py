"""What a start-up needs beside weights and cache: activation peak, non-torch memory, graphs.

vLLM measures these with a dummy run of `max_num_batched_tokens` tokens, then `max_num_seqs`
rows of logits and the sampler (vllm/v1/worker/gpu_model_runner.py, profile_run). The peak is
whichever stage is larger. Buffers are counted from the source; the constants that no source
gives were fitted to logged start-ups and say so.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.hardware import GpuProfile
from deployctl.planning.shape import Shape
from deployctl.units import GIB, MIB

# Hidden-size buffers alive at the peak of a layer: hidden state, residual, attention output,
# normed input. Fitted with pipeline stages that run no sampler (1.05 to 1.10 GiB for
# Llama-3.1-8B at 8192 tokens); the MLP's and the projection's buffers are counted exactly.
HIDDEN_BUFFERS = 4.3
# cuBLAS keeps 32 MiB a stream from compute capability 9.0 on, 8 MiB below (torch's
# CUDABlas.cpp), and the runner some 13 MiB of input buffers (fitted) on large cards.
WORKSPACE_LARGE = 45 * MIB
WORKSPACE_SMALL = 10 * MIB
# MiB that one layer of one captured graph takes; fitted: 0.29 on one GPU for Llama-3.1-8B,
# Qwen3-8B and Qwen3-32B, 0.15 with tensor parallelism for Llama-3-70B and Qwen3-32B.
GRAPH_LAYER_MIB = 0.29
GRAPH_LAYER_MIB_TP = 0.15
# GiB a GPU that the fused all-reduce's workspace and NCCL take together on an H100 (fitted:
# 2.07 GiB of non-torch memory in 0.19 against 0.25 without tensor parallelism).
FUSED_ALLREDUCE_GIB = 1.82

# Multiprocessors by compute capability, the largest card of each (NVIDIA's data sheets).
_MULTIPROCESSORS = {"7": 80, "8.0": 108, "8.6": 82, "8.9": 128, "9": 132, "10": 148, "12": 170}


# Bytes a logit of FlashInfer's sampler: logits (6) and probabilities (4); opt-in before 0.21.
FLASHINFER_BYTES_PER_LOGIT = 10


@dataclass(frozen=True)
class Batch:
    """What one step may hold."""

    tokens: int
    sequences: int


@dataclass(frozen=True)
class Engine:
    """Which engine runs the model: what its memory depends on besides shape and batch.

    `environment` is the engine's; a few of vLLM's variables change how memory is counted.
    """

    version: str
    quantized: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    def switch(self, name: str) -> bool | None:
        """A variable that is 0 or 1; None when it is unset or something else."""
        return {"0": False, "1": True}.get(self.environment.get(name, ""))


def _multiprocessors(profile: GpuProfile) -> int:
    text = profile.compute_capability or ""
    return _MULTIPROCESSORS.get(text, _MULTIPROCESSORS.get(text.split(".")[0], 108))


def uses_v2_runner(shape: Shape, engine: Engine) -> bool:
    """Whether the second model runner is used, whose sampler is leaner."""
    rule, quantized = behaviour("v2_runner", engine.version), engine.quantized
    told = engine.switch("VLLM_USE_V2_MODEL_RUNNER")
    if told is not None and rule != "none":
        return told
    dense = not shape.experts
    listed = {"DeepseekV2ForCausalLM", "GraniteMoeForCausalLM", "Qwen2MoeForCausalLM"}
    plain = {"LlamaForCausalLM", "MistralForCausalLM", "Qwen3ForCausalLM"}
    if rule == "qwen3":
        return shape.name == "Qwen3ForCausalLM" and not quantized
    if rule == "dense3":
        return shape.name in plain and not quantized
    if rule == "listed":
        return shape.name in plain | listed
    if rule == "dense":
        hybrid = any(kind in ("linear_attention", "mamba") for kind in shape.kinds)
        return (dense and not hybrid) or shape.name in listed
    return bool(rule == "all")


def activation(
    shape: Shape,
    batch: Batch,
    profile: GpuProfile,
    engine: Engine,
    *,
    tensor: int,
    last_stage: bool,
    dtype_bytes: int,
) -> float:
    """Bytes of the activation peak on one GPU."""
    workspace = WORKSPACE_LARGE if profile.capability >= 9.0 else WORKSPACE_SMALL
    peak = forward_peak(shape, batch.tokens, tensor, dtype_bytes)
    if last_stage:
        rows = min(batch.sequences, batch.tokens)
        logits = rows * shape.vocab
        kept = batch.tokens * shape.hidden * dtype_bytes
        if uses_v2_runner(shape, engine):
            sampler = logits * behaviour("v2_sampler_bytes_per_logit", engine.version)
        else:
            sampler = _v1_sampler(shape, logits, profile, engine)
        peak = max(peak, kept + sampler)
    images, kept_images = _encoder(shape, batch, dtype_bytes)
    return max(images, peak + kept_images) + workspace


def _v1_sampler(shape: Shape, logits: int, profile: GpuProfile, engine: Engine) -> float:
    buffer = _multiprocessors(profile) * shape.vocab * 4.0
    each: float = behaviour("v1_sampler_bytes_per_logit", engine.version)
    opted = engine.switch("VLLM_USE_FLASHINFER_SAMPLER")
    if opted and not at_least(engine.version, "0.21.0"):
        return logits * FLASHINFER_BYTES_PER_LOGIT
    if behaviour("v1_sampler_buffer", engine.version):
        return logits * each + buffer
    return logits * each


def forward_peak(shape: Shape, tokens: int, tensor: int, dtype_bytes: int) -> float:
    """Bytes alive at once in the largest layer of a forward pass."""
    if shape.latent:
        heads = shape.heads / tensor
        attention = heads * (2 * (shape.nope_dim + shape.rope_dim) + shape.v_dim)
    else:
        attention = (shape.heads + 2 * shape.kv_heads) * shape.head_dim / tensor
    inner = 3.0 * shape.intermediate / tensor
    if shape.experts:
        # fused_moe keeps gate and up (or the second matrix's output) and the product, for every
        # token and chosen expert (fused_moe.py, intermediate_cache1 to 3).
        width = max(2 * shape.expert_size / tensor, shape.hidden) + shape.expert_size / tensor
        routed = shape.topk * width + 3 * shape.shared_size / tensor
        inner = max(routed, inner if shape.dense_layers else 0.0)
    return tokens * dtype_bytes * (inner + HIDDEN_BUFFERS * shape.hidden + attention)


def _encoder(shape: Shape, batch: Batch, dtype_bytes: int) -> tuple[float, float]:
    """The vision tower's dummy run, and what of it stays while the decoder runs. Rough.

    vLLM encodes as many of the largest images as one step may hold, before the decoder's run
    (v1/worker/gpu_model_runner.py, profile_run); an image of any size counts with 16384 tokens.
    """
    tower = shape.vision
    if tower is None:
        return 0.0, 0.0
    tokens = max(batch.tokens, tower.item_tokens)
    inner = (3 if tower.gated else 2) * tower.intermediate
    patches = tokens * tower.patches
    kept = tokens * shape.hidden * dtype_bytes
    return float(patches * dtype_bytes * (6 * tower.hidden + inner) + kept), float(kept)


def persistent(shape: Shape, batch: Batch, engine: Engine) -> float:
    """Bytes of the runner's own tensors, in versions whose accounting sees them.

    The second runner counts every request's output tokens over the whole vocabulary
    (v1/worker/gpu/sample/penalties.py: int32).
    """
    if not behaviour("runner_tensors_counted", engine.version):
        return 0.0
    if not uses_v2_runner(shape, engine):
        return 0.0
    return batch.sequences * shape.vocab * 4.0


def graphs_in_budget(shape: Shape, engine: Engine) -> bool:
    """Whether the graphs' estimate is taken from the KV cache."""
    told = engine.switch("VLLM_MEMORY_PROFILER_ESTIMATE_CUDAGRAPHS")
    if told is False or not at_least(engine.version, "0.19.0"):
        return False
    if not told and not behaviour("cudagraphs_in_budget", engine.version):
        return False
    if uses_v2_runner(shape, engine):
        return bool(behaviour("v2_cudagraphs_in_budget", engine.version))
    return True


def non_torch(profile: GpuProfile, version: str, world: int, tensor: int) -> float:
    """Bytes that torch's allocator does not see: kernels, NCCL, an old version's context."""
    large = profile.capability >= 9.0
    gib = behaviour("non_torch_gib" if large else "non_torch_small_gib", version)
    if world > 1 and tensor == 1:
        gib = min(gib, 0.1)  # a stage runs no sampler, and talks point to point; fitted: 0.07
    gib += behaviour("non_torch_counts_context_gib", version)
    gib += behaviour("fragments_gib", version)
    if tensor > 1:
        linked = profile.interconnect is not None and profile.interconnect.kind == "nvlink"
        if linked and behaviour("allreduce_fusion", version) and 9.0 <= profile.capability < 12:
            gib += FUSED_ALLREDUCE_GIB
        else:
            gib += behaviour("nccl_gib", version)
            gib += behaviour("nvlink_gib", version) if linked else 0.0
    return float(gib) * GIB


def graph_limit(shape: Shape, batch: Batch, asked: int | None) -> int:
    """The largest batch that a graph is captured for (vllm/config/vllm.py).

    Twice the sequences, at most 512; gpt-oss asks for 1024 (models/config.py).
    """
    usual = 1024 if shape.model_type == "gpt_oss" else min(512, 2 * batch.sequences)
    return max(1, min(asked if asked is not None else usual, batch.tokens))


def graph_count(batch: Batch, version: str, limit: int) -> int:
    """How many CUDA graphs are captured for batches up to `limit`.

    Since 0.11 decoding alone has full graphs of its own, up to the number of sequences.
    """
    step = int(behaviour("cudagraph_step", version))
    piecewise = _sizes(limit, step)
    if not behaviour("full_cudagraphs", version):
        return piecewise
    return piecewise + _sizes(min(limit, batch.sequences), step)


def _sizes(limit: int, step: int) -> int:
    small = sum(size <= limit for size in (1, 2, 4))
    return small + min(limit, 255) // 8 + (max(0, limit - 256) // step + 1 if limit >= 256 else 0)


def cudagraphs(layers: int, graphs: int, tensor: int) -> float:
    """Bytes that captured CUDA graphs take on one GPU."""
    each = GRAPH_LAYER_MIB if tensor == 1 else GRAPH_LAYER_MIB_TP
    return layers * graphs * each * MIB
