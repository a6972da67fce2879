"""Attention against card: which KV caches its kernels read, and where sparse attention has one."""

from collections.abc import Iterator

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.errors import Reason
from deployctl.hardware import GpuProfile
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape

# The first release that takes another attention backend where the first choice has no FP8 KV
# cache, and whose FlashMLA has one (vllm/platforms/cuda.py, get_attn_backend_cls). Before, only
# FlashAttention 3 counted, which is Hopper's (fa_utils.py, flash_attn_supports_fp8).
FP8_CACHE = "0.11.1"
FP8_TRITON_MLA = "0.26.0"  # v1/attention/backends/mla/triton_mla.py
# The first release whose Triton attention refuses what the card cannot read, and whose FlashInfer
# takes no card below 8.0 (v1/attention/backends/triton_attn.py, flashinfer.py).
TRITON_CHECKS = "0.24.0"
# Head sizes, and since when (v1/attention/backends/flashinfer.py, get_supported_head_sizes).
_FLASHINFER_HEADS = {64: "0", 128: "0", 256: "0", 512: "0.22.0"}
# Sparse attention keeps an FP8 cache in a layout of its own (fp8_ds_mla).
_SPARSE = ("deepseek_v32", "glm_moe_dsa")
# Its kernels are for Hopper and Blackwell alone, for workstations (12.0) since 0.24
# (supports_compute_capability in v1/attention/backends/mla/*sparse*.py, models/deepseek_v4).
_SPARSE_CARDS = {9: "0.11.1", 10: "0.11.1", 12: "0.24.0"}


def refusals(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> Iterator[Reason]:
    """Refuses attention and caches for which this version has no kernel on this card."""
    yield from _sparse(shape, settings, profile)
    yield from _cache(shape, settings, profile)


def takes_fp8_cache(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> bool:
    """Whether this version has an attention kernel for this card that reads an FP8 KV cache.

    FlashAttention 3 on Hopper, Triton from compute capability 8.9 on, FlashInfer from 8.0 on;
    MLA has kernels of its own. Where the user chose a backend, that is not looked into: False.
    """
    version, own = settings.version, profile.capability
    if profile.kind != "cuda" or _own_backend(settings):
        return False
    if not at_least(version, FP8_CACHE):
        return 9.0 <= own < 10.0 and not shape.latent
    if shape.model_type in _SPARSE or shape.ratios:
        return False
    if shape.latent:
        return 9.0 <= own < 11.0 or (own >= 8.9 and at_least(version, FP8_TRITON_MLA))
    return own >= 8.9 or (own >= 8.0 and _flashinfer_takes(shape, version))


def reads_by_flashinfer(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> bool:
    """Whether FlashInfer reads the cache: FP8 where FlashAttention 3 has no card for it.

    Only FlashAttention comes before it (vllm/platforms/cuda.py, _get_backend_priorities). Where the
    user chose a backend, that is not looked into: False.
    """
    eight = (settings.kv_cache_dtype or "").startswith("fp8")
    card = 8.0 <= profile.capability < 9.0 or profile.capability >= 12.0
    reads = takes_fp8_cache(shape, settings, profile) and _flashinfer_takes(shape, settings.version)
    return eight and card and reads and not shape.latent


def lacks_fp8_cache(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> bool:
    """Whether the engine ends because it is to have an FP8 KV cache that no kernel here reads.

    Where the user chose a backend, that is not looked into.
    """
    told = (settings.kv_cache_dtype or "").startswith("fp8") and shape.model_type not in _SPARSE
    old = profile.kind == "cuda" and 0 < profile.capability < 8.9
    checked = at_least(settings.version, TRITON_CHECKS) and not _own_backend(settings)
    return told and old and checked and not takes_fp8_cache(shape, settings, profile)


def _flashinfer_takes(shape: Shape, version: str) -> bool:
    """On cards before 8.9: sinks on none, and heads of several widths go to Triton (Gemma4Config
    in vllm/model_executor/models/config.py).
    """
    mixed = shape.full_head_dim not in (0, shape.head_dim)
    first = _FLASHINFER_HEADS.get(shape.head_dim)
    known = first is not None and at_least(version, first)
    return known and not mixed and shape.model_type != "gpt_oss"


def before_ampere(shape: Shape, settings: EngineSettings) -> str | None:
    """The kernels that stand in for FlashAttention 2; None where that is not looked into."""
    version = settings.version
    if _own_backend(settings) or shape.latent or not at_least(version, FP8_CACHE):
        return None
    first = _FLASHINFER_HEADS.get(shape.head_dim)
    listed = first is not None and at_least(version, first) and settings.dtype == "float16"
    return "FlashInfer" if listed and not at_least(version, TRITON_CHECKS) else "Triton"


def _own_backend(settings: EngineSettings) -> bool:
    named = "attention_backend" in settings.rest or "attention_config" in settings.rest
    return named or "VLLM_ATTENTION_BACKEND" in settings.environment


def _sparse(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> Iterator[Reason]:
    """Refuses sparse attention on a card for which it has no kernel."""
    if profile.kind != "cuda" or shape.model_type not in (*_SPARSE, "deepseek_v4"):
        return
    first = _SPARSE_CARDS.get(int(profile.capability))
    if first is None or not at_least(settings.version, first):
        yield Reason(
            "attention_not_supported_on_gpu",
            f"the sparse attention of {shape.model_type} has no kernel for compute capability "
            f"{profile.compute_capability} in vLLM {settings.version}",
            "take a Hopper or Blackwell card (H100, H200, B200)"
            if first is None
            else f"use --engine-version {first} or newer",
        )


def _cache(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> Iterator[Reason]:
    """Refuses a KV cache of a dtype that no attention kernel reads here."""
    dtype, version, stored = settings.dtype, settings.version, settings.kv_cache_dtype or ""
    fix = f"use --kv-cache-dtype {dtype if dtype != 'float32' else 'auto'}"
    if shape.ratios and stored in ("float16", "bfloat16") and not _own_backend(settings):
        yield Reason(
            "dtype_not_supported",
            f"{shape.model_type} keeps its cache in FP8 alone (fp8_ds_mla)",
            "leave --kv-cache-dtype unset",
        )
        return
    if stored in ("float16", "bfloat16") and stored != dtype:
        old = profile.before_ampere and stored == "bfloat16" and not _own_backend(settings)
        if behaviour("float_cache_is_models", version):
            yield Reason(
                "dtype_not_supported",
                f"vLLM {version} refuses a {stored} KV cache for a model that runs in {dtype}",
                "leave --kv-cache-dtype unset, or use fp8",
            )
        elif old and at_least(version, TRITON_CHECKS):
            yield Reason(
                "dtype_not_supported",
                f"a bfloat16 KV cache needs compute capability 8.0; {profile.title} has "
                f"{profile.compute_capability}",
                fix,
            )
    if lacks_fp8_cache(shape, settings, profile):
        yield Reason(
            "dtype_not_supported",
            f"vLLM {version} has no attention kernel for {profile.title} (compute capability "
            f"{profile.compute_capability}) that reads an FP8 KV cache of this model",
            fix,
        )
