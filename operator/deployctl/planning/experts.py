"""What the experts of one layer work in: buffers for every token and chosen expert.

Triton's experts and Marlin's have two: of the activation, and of what both matrices give
(workspace_shapes of fused_moe/fused_moe.py and of fused_moe/experts/marlin_moe.py). Where they draw
from the workspace (v1/worker/workspace.py) they stay once a step has had them, beside all else.
"""

from deployctl.engines.vllm.versions import behaviour
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape

# Rows of the hidden size for each token and chosen expert that CUTLASS has beside both buffers:
# the tokens by expert, what comes back by token, and that times its weight (run_cutlass_moe_fp4 of
# fused_moe/experts/cutlass_moe.py).
_CUTLASS_ROWS = 3


def workspace(shape: Shape, settings: EngineSettings) -> float:
    """Bytes that stay; 0 where the buffers are torch's, free again after the layer."""
    if not shape.experts or not _drawn(settings):
        return 0.0
    inner, hidden, up = _sizes(shape, settings)
    width = max(inner, hidden) + max(up * inner, hidden)
    return _tokens(settings) * shape.topk * width * settings.dtype_bytes


def buffers(shape: Shape, settings: EngineSettings) -> float:
    """Bytes that are there while a layer's experts run, and free again after it.

    Gate and up (or the second matrix's output) and the product (fused_moe.py,
    intermediate_cache1 to 3).
    """
    if not shape.experts:
        return 0.0
    inner, hidden, up = _sizes(shape, settings)
    width = float(_CUTLASS_ROWS * hidden if _cutlass(settings) else 0)
    width += 0.0 if _drawn(settings) else max(up * inner, hidden) + inner
    return _tokens(settings) * shape.topk * width * settings.dtype_bytes


def _cutlass(settings: EngineSettings) -> bool:
    """Whether experts in FP4 were asked to go through vLLM's own kernel of CUTLASS."""
    how = settings.quantization
    if how is None or how.bits != 4 or settings.rest.get("moe_backend") != "cutlass":
        return False
    return "nvfp4" in f"{how.method} {how.raw}".lower()


def _drawn(settings: EngineSettings) -> bool:
    quantization, version = settings.quantization, settings.version
    if quantization is not None and quantization.method != "fp8":
        methods = behaviour("moe_workspace_four_bits", version)
        return quantization.bits == 4 and any(name in quantization.method for name in methods)
    return bool(behaviour("moe_workspace", version))


def _sizes(shape: Shape, settings: EngineSettings) -> tuple[float, int, int]:
    """One expert's inner and outer width on one rank, and the matrices that lead into it."""
    cut = 1 if settings.whole_experts else settings.sharding.tensor
    return shape.expert_size / cut, shape.expert_hidden or shape.hidden, 2 if shape.gated else 1


def _tokens(settings: EngineSettings) -> int:
    """Tokens that go through the experts at once; the rest of a step follows in chunks."""
    most = behaviour("moe_chunk_tokens", settings.version)
    given = settings.environment.get("VLLM_FUSED_MOE_CHUNK_SIZE", "")
    if most and given.isdecimal() and len(given) < 10 and int(given) > 0:
        most = int(given)
    return min(settings.batch.tokens, most) if most else settings.batch.tokens
