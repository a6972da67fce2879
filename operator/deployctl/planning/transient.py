"""What a start-up needs beside weights, cache and graphs: activation peak, non-torch memory.

vLLM measures these with a dummy run of `max_num_batched_tokens` tokens, then `max_num_seqs`
rows of logits and the sampler (vllm/v1/worker/gpu_model_runner.py, profile_run). The peak is
whichever stage is larger. Buffers are counted from the source; the constants that no source
gives were fitted to logged start-ups and say so.
"""

import contextlib
import json
from typing import Any

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.hardware import GpuProfile
from deployctl.model.fields import most_pixels
from deployctl.planning import awq, experts
from deployctl.planning.mixers import state_width
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Layer, Shape, layers_of
from deployctl.planning.states import CACHELESS, STATEFUL
from deployctl.planning.tasks import most_of
from deployctl.planning.vision import Vision, tokens_of, tried_with
from deployctl.planning.weights import padded_vocab
from deployctl.units import GIB, MIB

# Hidden-size buffers alive at the peak of a layer: hidden state, residual, attention output,
# normed input. Fitted with pipeline stages that run no sampler (1.05 to 1.10 GiB for
# Llama-3.1-8B at 8192 tokens); the MLP's and the projection's buffers are counted exactly.
HIDDEN_BUFFERS = 4.3
# Those that the kernel writes which embeds tokens: the hidden state, and its norm. With the table
# itself, 14B and 32B take 1.49 GiB in cold starts of 0.26 and 7B takes 1.04, as logged.
EMBEDDED_BUFFERS = 2
# Those of a vision tower: residual, its norm and the projection's result are whole on every rank;
# query, key, value and what attention makes of them (siglip.py) are cut, and with rotary positions
# query and key joined and rotated too (qwen2_5_vl.py).
WHOLE_BUFFERS, ATTENDED_BUFFERS, ROTATED_BUFFERS = 3, 4, 8
# Tokens of Qwen3-VL's largest video, and what each of them becomes, time stamps and all, where
# releases keep room for those (qwen3_vl.py, get_max_video_tokens). The encoder's own outputs stay
# beside them until the sampler has run: the loop that copies holds the last (profile_run of
# v1/worker/gpu_model_runner.py). 0.2 GiB were missing in logs of one card, two and four.
VIDEO_TOKENS, TIME_STAMPED = 12288, 12.5
# cuBLAS keeps 32 MiB a stream from compute capability 9.0 on, 8 MiB below (torch's
# CUDABlas.cpp), and the runner some 13 MiB of input buffers (fitted) on large cards.
CUBLAS_LARGE = 32 * MIB
CUBLAS_SMALL = 8 * MIB
INPUTS_LARGE = 13 * MIB
INPUTS_SMALL = 2 * MIB
# GiB a GPU that the fused all-reduce's workspace and NCCL take together on an H100 (fitted:
# 2.07 GiB of non-torch memory in 0.19 against 0.25 without tensor parallelism).
FUSED_ALLREDUCE_GIB = 1.82
# GiB a GPU of NCCL and the custom all-reduce: 0.25 on two L40S in 0.10.2, 0.23 on two A100 and
# 0.33 on four in 0.10.1 (fitted).
NCCL_GIB = 0.25
# With NVLink SHARP on a host of eight H100 (fitted: 0.10.0, with 32B and 235B alike).
NVLS_GIB = 1.87

# GiB that linear attention takes beside what torch's allocator tells, where it is compiled; fitted:
# Qwen3.5 and 3.6 of 4B to 27B had 0.04 to 0.09 less in logs of 0.19 to 0.23 (4090, 3090, L40S).
RECURRENT_GIB = 0.06

# Of a card whose profile does not say: those of an RTX 4090.
MULTIPROCESSORS = 128
# Bytes a logit of FlashInfer's sampler: logits (6) and probabilities (4); opt-in before 0.21.
FLASHINFER_BYTES_PER_LOGIT = 14


def uses_v2_runner(shape: Shape, settings: EngineSettings) -> bool:
    """Whether the second model runner is used, whose sampler is leaner."""
    rule, quantized = behaviour("v2_runner", settings.version), settings.quantization is not None
    told = settings.switch("VLLM_USE_V2_MODEL_RUNNER")
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
        hybrid = any(kind in STATEFUL for kind in shape.kinds)
        return (dense and not hybrid) or shape.name in listed
    return bool(rule == "all")


def activation(
    shape: Shape, settings: EngineSettings, profile: GpuProfile, *, last_stage: bool
) -> float:
    """Bytes of the activation peak on one GPU."""
    batch, width = settings.batch, settings.dtype_bytes
    large = profile.capability >= 9.0
    workspace = INPUTS_LARGE if large else INPUTS_SMALL
    if not behaviour("cublas_before_snapshot", settings.version):
        workspace += CUBLAS_LARGE if large else CUBLAS_SMALL
    peak = forward_peak(shape, settings)
    if batch.tokens >= awq.UNPACKED_FROM and (matrix := awq.unpacked(shape, settings, profile)):
        # Gate and up are unpacked before their product is there.
        product = batch.tokens * shape.intermediate / settings.sharding.tensor * width
        peak = max(peak, peak - product + matrix)
    if last_stage and behaviour("sampler_profiled", settings.version):
        kept = batch.tokens * shape.hidden * width + experts.workspace(shape, settings)
        peak = max(peak, kept + _sampler(shape, settings, profile))
    images, kept_images = _encoder(shape, settings)
    return max(images, peak + kept_images) + workspace


def compiling(shape: Shape, settings: EngineSettings) -> float:
    """Bytes alive at once on the first stage while torch.compile tries out its kernels.

    It does without a compile cache, within the run that is profiled (vllm#54122, vllm#54383):
    to time kernels (config/compilation.py, benchmark_combo_kernel) it makes every argument anew
    (torch/_inductor, codegen_kernel_benchmark), and the largest is the embedding's table.
    Multimodal models embed outside of what is compiled.
    """
    images = shape.vision is not None and not shape.text_alone
    if settings.eager or images or settings.untimed_kernels:
        return 0.0
    if not behaviour("combo_kernels_timed", settings.version):
        return 0.0
    rows = padded_vocab(shape.vocab, settings.sharding.tensor)
    values = rows + EMBEDDED_BUFFERS * settings.batch.tokens
    return float(values * shape.hidden * settings.dtype_bytes)


def warm_up(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> float:
    """Bytes that the sampler's warm-up takes on the last stage, once the KV cache is there.

    vLLM samples for as many sequences as it may hold (v1/worker/gpu_worker.py,
    compile_or_warm_up_model). Where profiling did the same before, the room is left over.
    """
    kept = min(settings.batch.sequences, settings.batch.tokens) * shape.hidden
    kept *= settings.dtype_bytes
    return kept + experts.workspace(shape, settings) + _sampler(shape, settings, profile)


def _sampler(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> float:
    """Bytes of the logits and of what the sampler makes of them."""
    version = settings.version
    logits = min(settings.batch.sequences, settings.batch.tokens) * shape.vocab
    if uses_v2_runner(shape, settings):
        return float(logits * behaviour("v2_sampler_bytes_per_logit", version))
    opted = settings.switch("VLLM_USE_FLASHINFER_SAMPLER")
    if opted and not at_least(version, "0.21.0"):
        return logits * FLASHINFER_BYTES_PER_LOGIT
    sampler = float(logits * behaviour("v1_sampler_bytes_per_logit", version))
    if behaviour("v1_sampler_buffer", version):
        sampler += (profile.multiprocessors or MULTIPROCESSORS) * shape.vocab * 4.0
    return sampler


def forward_peak(shape: Shape, settings: EngineSettings) -> float:
    """Bytes alive at once in the largest layer of a forward pass, experts' workspace and all."""
    each, tensor = settings.batch.tokens * settings.dtype_bytes, settings.sharding.tensor
    routed = experts.buffers(shape, settings) / each
    widest = max((width(shape, layer, tensor, routed) for layer in {*layers_of(shape)}), default=0)
    # What all layers have of their own is there from the first to the last (gemma4.py,
    # project_per_layer_inputs).
    widest += shape.side.width * shape.layers
    return each * (widest + HIDDEN_BUFFERS * shape.hidden) + experts.workspace(shape, settings)


def width(shape: Shape, layer: Layer, tensor: int, routed: float = 0.0) -> float:
    """Values a token of one layer, besides those of the hidden size; `routed`: of its experts."""
    inner = 0.0
    if layer.feed in ("dense", "both"):
        inner = (3.0 if shape.gated else 2.0) * shape.intermediate / tensor
    if layer.feed in ("sparse", "both"):
        inner = max(inner, routed + 3 * shape.shared_size / tensor)
    if layer.kind in CACHELESS:
        return inner
    if layer.stateful and shape.state is not None:
        mixed = state_width(shape.state, tensor)
        mixed += _attention_width(shape, tensor) if layer.kind == "hybrid" else 0.0
        return max(mixed, inner)  # what the one part needs is free when the other runs
    return inner + _attention_width(shape, tensor)


def _attention_width(shape: Shape, tensor: int) -> float:
    heads = shape.heads / tensor
    if shape.latent:
        return heads * (2 * (shape.nope_dim + shape.rope_dim) + shape.v_dim)
    gates = heads if shape.gated_attention else 0.0
    width = max(shape.head_dim, shape.full_head_dim)
    return (heads + gates + 2 * shape.kv_heads / tensor) * width


def _encoder(shape: Shape, settings: EngineSettings) -> tuple[float, float]:
    """The vision tower's dummy run, and what of it stays while the decoder runs. Rough.

    vLLM encodes as many of the largest images as one step may hold, before the decoder's run
    (v1/worker/gpu_model_runner.py, profile_run); an image of any size counts with 16384 tokens.
    """
    tower, width = shape.vision, settings.dtype_bytes
    if tower is None or shape.text_alone:
        return 0.0, 0.0
    expanded = bool(tower.deep and behaviour("video_outputs_expanded", settings.version))
    expanded = expanded and most_of(_mapping(settings, "limit_mm_per_prompt"), "video") != 0
    most, tried = _item_tokens(tower, settings, of_video=expanded)
    tokens: float = most if expanded else max(settings.batch.tokens, most)
    tokens *= tried / most if most else 1
    kept_tokens = tokens + (TIME_STAMPED * most if expanded else 0)
    pixels = tokens * tower.patches * tower.pixels * width  # the input is referred to all the while
    kept = float(kept_tokens * (1 + tower.deep) * shape.hidden * width + pixels)
    cut = settings.sharding.tensor
    inner = (3 if tower.gated else 2) * tower.intermediate / cut
    attended = (ROTATED_BUFFERS if tower.rotated else ATTENDED_BUFFERS) * tower.hidden / cut
    widest = WHOLE_BUFFERS * tower.hidden + max(attended, inner) + tower.held
    return max(tokens * tower.patches * widest * width, kept), kept


def _item_tokens(tower: Vision, settings: EngineSettings, *, of_video: bool) -> tuple[int, int]:
    """Tokens of the largest image or video, and of the one of them that the tower is tried with.

    The user's limit of pixels is for both, in place of the checkpoint's. A video has as many frames
    as the context allows (qwen2_vl.py, get_num_frames_with_most_features), Qwen3-VL's the pixels
    of one image.
    """
    limits = _mapping(settings, "limit_mm_per_prompt")
    pixels = most_pixels(_mapping(settings, "mm_processor_kwargs"))
    image = tokens_of(pixels, tower.unit) if pixels and tower.item_tokens else tower.item_tokens
    if most_of(limits, "video") != 0:
        of_video = of_video or tower.video_images > 1 or most_of(limits, "image") == 0
    if of_video and tower.video_images == 1:
        image = min(image, VIDEO_TOKENS) if pixels else VIDEO_TOKENS
    if image <= 0:
        return 0, 0
    images = max(1, min(tower.video_images, settings.length // image)) if of_video else 1
    size = limits.get("video" if of_video else "image")
    return image * images, tried_with(tower, image, images, size)


def _mapping(settings: EngineSettings, name: str) -> dict[str, Any]:
    """An engine argument that is an object, as one or as the JSON of one."""
    given = settings.rest.get(name)
    if isinstance(given, str):
        with contextlib.suppress(ValueError):
            given = json.loads(given)
    return given if isinstance(given, dict) else {}


def persistent(shape: Shape, settings: EngineSettings) -> float:
    """Bytes of the runner's own tensors and kernels, as far as the version's accounting sees them.

    The second runner counts every request's output tokens over the whole vocabulary
    (v1/worker/gpu/sample/penalties.py: int32).
    """
    if not behaviour("runner_tensors_counted", settings.version):
        mixed = any(kind in STATEFUL for kind in shape.kinds)
        return RECURRENT_GIB * GIB if mixed and not settings.eager else 0.0
    if not uses_v2_runner(shape, settings):
        return 0.0
    return settings.batch.sequences * shape.vocab * 4.0


def loaded_beside(shape: Shape, settings: EngineSettings) -> float:
    """Bytes that a model which sees makes with its weights, for the tokens of a step: what its
    decoder takes up of the tower's lower layers (qwen3_vl.py), and the embeddings that each layer
    has of its own (gemma3n_mm.py and gemma4_mm.py, per_layer_embeddings). Logs count them as
    weights."""
    if shape.vision is None:
        return 0.0
    deep = 0 if shape.text_alone else shape.vision.deep
    values = deep * shape.hidden + shape.side.width * shape.layers
    return float(settings.batch.tokens * values * settings.dtype_bytes)


def non_torch(profile: GpuProfile, settings: EngineSettings) -> float:
    """Bytes that torch's allocator does not see: kernels, NCCL, an old version's context."""
    version, tensor = settings.version, settings.sharding.tensor
    large = profile.capability >= 9.0
    gib = behaviour("non_torch_gib" if large else "non_torch_small_gib", version)
    if settings.sharding.gpus > 1 and tensor == 1:
        gib = min(gib, 0.1)  # a stage runs no sampler, and talks point to point; fitted: 0.07
    gib += behaviour("non_torch_counts_context_gib", version)
    gib += behaviour("fragments_gib", version)
    linked = profile.interconnect is not None and profile.interconnect.kind == "nvlink"
    fused = linked and behaviour("allreduce_fusion", version) and 9.0 <= profile.capability < 12
    if tensor > 1 and fused:
        gib += FUSED_ALLREDUCE_GIB
    elif tensor > 1 and not behaviour("nccl_before_snapshot", version):
        gib += NCCL_GIB + (NVLS_GIB if linked and large and tensor == 8 else 0.0)
    return float(gib) * GIB


def before_snapshot(settings: EngineSettings) -> float:
    """Bytes of NCCL where they are there before vLLM looks, and so in no term of its sum."""
    early = behaviour("nccl_before_snapshot", settings.version)
    return NCCL_GIB * GIB if early and settings.sharding.gpus > 1 else 0.0
