"""Quantization against card, dtype, architecture and shard: what the kernels take."""

from collections.abc import Iterator

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.model import Quantization
from deployctl.model.tables import TYPES
from deployctl.planning import attention, awq
from deployctl.planning.awq import MARLIN_MIN_K, PADS_SHAPES
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape

# Methods that name float32 among the dtypes they take (get_supported_act_dtypes) and have kernels
# for it; compressed-tensors names it and has none.
_FLOAT32 = ("bitsandbytes", "gguf", "torchao")
_EXPERTS_ON_A_CPU = ("awq", "gptq", "compressed-tensors")
_FP8 = ("fp8", "fbgemm_fp8", "modelopt")
# The first release that lets merged outputs end inside of an FP8 block
# (model_executor/layers/linear.py, _maybe_allow_fp8_block_shape_mismatch).
OUTPUTS_IN_PARTS = "0.14.0"

# Layers without a kernel for CPUs, and what the engine does there.
_CARDS_ALONE = {
    "mamba1": "on a CPU it starts, and dies with the first request (mamba_mixer.py)",
    "kimi_delta": "on a CPU it ends with a missing module, CUTLASS (kimi_linear.py)",
}


def refusals(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> Iterator[Reason]:
    """Refuses what no kernel of this version does."""
    yield from _dtype(shape, settings, profile)
    yield from attention.refusals(shape, settings, profile)
    if profile.kind == "cpu" and shape.state is not None and shape.state.kind in _CARDS_ALONE:
        yield Reason(
            "no_kernel_on_cpu",
            f"{shape.name or shape.model_type} has layers that vLLM {settings.version} computes "
            f"on a GPU alone: {_CARDS_ALONE[shape.state.kind]}",
            "take a GPU",
        )
    quantization = settings.quantization
    if quantization is None:
        return
    if profile.kind == "cuda":
        yield from _capability(quantization, settings.version, profile)
    if settings.online:
        return
    yield from _shards(shape, quantization, settings, profile)


def notes(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> Iterator[str]:
    """What an older card does without, and what is done instead."""
    quantization = settings.quantization
    method = quantization.method if quantization else ""
    if profile.before_ampere:
        instead = attention.before_ampere(shape, settings)
        least = behaviour("marlin_capability", settings.version)
        left = "quantization" not in settings.rest
        four_bits = left and any(word in method for word in ("awq", "gptq"))
        kernel = "Marlin" if profile.capability >= least else "plain kernels, slow for many users"
        yield (
            f"{profile.title} has neither bfloat16 nor FlashAttention 2: the model runs in "
            f"{settings.dtype}"
            + (f", its attention by {instead}" if instead else "")
            + (f", its four-bit layers by {kernel}." if four_bits else ".")
        )
    if profile.kind == "cuda" and 0 < profile.capability < 8.9 and method in _FP8:
        yield (
            f"{profile.title} does not calculate in FP8: Marlin unpacks the weights, which saves "
            "memory and no time in long prompts."
        )
    small = quantization is not None and quantization.bits == 4 and method in _EXPERTS_ON_A_CPU
    if profile.kind == "cpu" and shape.experts and small:
        yield (
            "Experts in four bits have a kernel for CPUs with AMX alone (Intel, from Sapphire "
            "Rapids on): elsewhere the engine ends while it loads (No WNA16 MoE backend supports "
            "the deployment configuration)."
        )


def _dtype(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> Iterator[Reason]:
    dtype, version = settings.dtype, settings.version
    quantization = settings.quantization
    if shape.model_type in TYPES["no_float16"]:
        conflict = _without_float16(shape, settings)
        if conflict:
            yield conflict
            return
    if dtype == "bfloat16" and profile.before_ampere:
        yield Reason(
            "dtype_not_supported",
            f"bfloat16 needs compute capability 8.0; {profile.title} has "
            f"{profile.compute_capability}",
            "leave --dtype unset"
            if shape.model_type in TYPES["no_float16"]
            else "use --dtype float16",
        )
    if quantization is None:
        return
    if dtype == "float32" and quantization.method not in _FLOAT32:
        forbidden = profile.before_ampere and shape.model_type in TYPES["no_float16"]
        yield Reason(
            "architecture_conflict" if forbidden else "dtype_not_supported",
            f"{shape.model_type} forbids float16 and {profile.title} has no bfloat16, so it runs "
            f"in float32, for which {quantization.method} has no kernel"
            if forbidden
            else f"{quantization.method} has no kernel for float32",
            "take a checkpoint that is not quantized, or a card of compute capability 8.0 or newer"
            if forbidden
            else "leave --dtype unset",
        )
        return
    forced = settings.rest.get("quantization")
    plain_awq = "awq" in quantization.method and awq.forced(settings)
    plain_gptq = quantization.method == "gptq" and forced == "gptq"
    plain_gptq = plain_gptq and not at_least(version, "0.22.0")
    for method, plain in (("AWQ", plain_awq), ("GPTQ", plain_gptq)):
        if plain and dtype != "float16":
            yield Reason(
                "dtype_not_supported",
                f"the plain {method} kernel of vLLM {version} takes float16 only, not {dtype}",
                "leave quantization unset, so that Marlin is chosen; or use --dtype float16",
            )
    if quantization.method == "mxfp4" and dtype == "float16":
        yield Reason(
            "dtype_not_supported",
            "MXFP4 experts take bfloat16 only",
            "leave --dtype unset",
        )


def _without_float16(shape: Shape, settings: EngineSettings) -> Reason | None:
    """What refuses a model that vLLM does not run in float16."""
    quantization, version = settings.quantization, settings.version
    packed = quantization is not None and "awq" in quantization.method
    if packed and settings.dtype != "float32" and not at_least(version, PADS_SHAPES):
        return Reason(
            "architecture_conflict",
            f"{shape.model_type} forbids float16, and AWQ in vLLM {version} falls "
            "back to a kernel that takes nothing else",
            f"use --engine-version {PADS_SHAPES} or newer, or a GPTQ or "
            "compressed-tensors checkpoint",
        )
    if settings.dtype == "float16":
        return Reason(
            "architecture_conflict" if packed else "dtype_not_supported",
            f"{shape.model_type} is numerically unstable in float16; vLLM refuses it",
            "leave --dtype unset, or use bfloat16 on a card that has it",
        )
    return None


def _capability(quantization: Quantization, version: str, profile: GpuProfile) -> Iterator[Reason]:
    table: dict[str, float] = behaviour("min_capability", version)
    method = quantization.method
    if method == "compressed-tensors" and quantization.bits == 8:
        method = "compressed-tensors-8"
    least = table.get(method)
    own = profile.capability
    if least is not None and 0 < own < least:
        yield Reason(
            "quantization_not_supported_on_gpu",
            f"{quantization.method} needs compute capability {least}; {profile.title} "
            f"has {profile.compute_capability}",
            "take an AWQ or GPTQ checkpoint, or a newer card"
            if "awq" not in method and "gptq" not in method
            else "take a newer card",
        )


def row_inputs(
    shape: Shape, tensor: int, *, whole_experts: bool = False
) -> dict[str, tuple[float, int]]:
    """Inputs on one rank, and whole, of the layers that tensor parallelism splits by input.

    `whole_experts`: expert parallelism gives each rank some experts uncut.
    """
    width = shape.v_dim if shape.latent else shape.head_dim
    inputs = {"o_proj": (shape.heads * width / tensor, shape.heads * width)}
    if shape.intermediate and (not shape.experts or shape.dense_layers):
        inputs["down_proj"] = (shape.intermediate / tensor, shape.intermediate)
    if shape.experts:
        cut = 1 if whole_experts else tensor
        inputs["experts' down_proj"] = (shape.expert_size / cut, shape.expert_size)
    return inputs


def _shards(
    shape: Shape, quantization: Quantization, settings: EngineSettings, profile: GpuProfile
) -> Iterator[Reason]:
    tensor = settings.sharding.tensor
    method, group = quantization.method, quantization.group_size or 0
    blocks = quantization.raw.get("weight_block_size")
    if isinstance(blocks, list) and blocks and isinstance(blocks[-1], int) and blocks[-1] > 0:
        yield from _blocks(shape, blocks[-1], settings)
        return
    four_bits = any(word in method for word in ("awq", "gptq")) or method == "compressed-tensors"
    if not four_bits or quantization.bits == 16:
        return
    inputs = row_inputs(shape, tensor, whole_experts=settings.whole_experts)
    for name, (own, whole) in inputs.items():
        if any(name.split()[-1] in ignored for ignored in quantization.ignored):
            continue
        if 0 < group < whole and own % group:
            yield Reason(
                "group_size_not_divisible",
                f"{name} has {own:g} inputs on each of {tensor} GPUs, which "
                f"do not divide by the group size {group}",
                _smaller(shape, group, tensor) + _uncut(name),
            )
        # Whole layers of odd width fall back to other kernels; shards do not.
        split = tensor > 1 and own % MARLIN_MIN_K
        padded = at_least(settings.version, PADS_SHAPES) and not (0 < group < whole and own % group)
        if split and not padded and profile.kind == "cuda":
            yield Reason(
                "kernel_shape_unsupported",
                f"{name} has {own:g} inputs on each of {tensor} GPUs; Marlin "
                f"needs a multiple of {MARLIN_MIN_K}",
                _smaller(shape, MARLIN_MIN_K, tensor),
            )
            return


def _blocks(shape: Shape, side: int, settings: EngineSettings) -> Iterator[Reason]:
    """FP8 with square blocks: every shard must hold whole blocks (quantization/fp8.py)."""
    tensor = settings.sharding.tensor
    if tensor == 1:
        return
    # Later versions refine the experts' blocks to the shard (resolve_fp8_moe_weight_block_shape).
    whole = settings.whole_experts or bool(behaviour("fp8_experts_refined", settings.version))
    cut = {f"{n} inputs": v for n, v in row_inputs(shape, tensor, whole_experts=whole).items()}
    if not shape.latent and not at_least(settings.version, OUTPUTS_IN_PARTS):
        keys = max(1.0, shape.kv_heads / tensor) * shape.head_dim
        cut["k_proj outputs"] = (keys, shape.kv_heads * shape.head_dim)
    for name, (own, all_of_it) in cut.items():
        if all_of_it % side == 0 and own % side:
            yield Reason(
                "group_size_not_divisible",
                f"each of {tensor} GPUs has {own:g} {name}, which do not divide by the "
                f"FP8 block of {side}",
                _smaller(shape, side, tensor) + _uncut(name),
            )


def _uncut(name: str) -> str:
    """What else would do where experts are cut: to give each rank some of them whole."""
    return ", or --engine-arg enable_expert_parallel=true" if "experts" in name else ""


def _smaller(shape: Shape, step: int, tensor: int) -> str:
    for size in range(tensor - 1, 0, -1):
        fits = all(own % step == 0 for own, _ in row_inputs(shape, size).values())
        if fits and shape.heads % size == 0:
            return f"use --tensor-parallel-size {size}"
    return "take a checkpoint with a smaller group size, or one that is not quantized"
