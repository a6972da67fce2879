"""What the plain AWQ kernel takes: from 256 tokens on it unpacks a layer's weight whole.

vLLM runs AWQ through Marlin where that can be (quantization/awq_marlin.py, auto_awq.py). Elsewhere
`awq_dequantize` makes the matrix anew for every step of that many tokens (quantization/awq.py,
AWQLinearMethod.apply), while profiling and while CUDA graphs are captured.
"""

from collections.abc import Iterator

from deployctl.engines.vllm.versions import at_least, behaviour
from deployctl.hardware import GpuProfile
from deployctl.planning.settings import EngineSettings
from deployctl.planning.shape import Shape

# vllm/model_executor/layers/quantization/utils/marlin_utils.py
MARLIN_MIN_K, MARLIN_MIN_N = 128, 64
MARLIN_GROUPS = (-1, 0, 32, 64, 128)
# The first release whose Marlin pads shapes, and whose AWQ takes bfloat16 everywhere
# (auto_awq.py, kernels/linear/mixed_precision/marlin.py). `--quantization awq` is Marlin's there.
PADS_SHAPES = "0.24.0"
AWQ_MARLIN = "0.5.4"  # the first release that runs AWQ through Marlin
UNPACKED_FROM = 256  # tokens


def forced(settings: EngineSettings) -> bool:
    """Whether the plain kernel is chosen for all layers, by the user or since there is no other."""
    version = settings.version
    asked = settings.rest.get("quantization") == "awq" or not at_least(version, AWQ_MARLIN)
    return asked and not at_least(version, PADS_SHAPES)


def unpacked(shape: Shape, settings: EngineSettings, profile: GpuProfile) -> float:
    """Bytes of the widest matrix that is unpacked for a long step; 0 where Marlin takes them all.

    Experts have kernels of their own.
    """
    quantization = settings.quantization
    if quantization is None or quantization.method != "awq" or profile.kind != "cuda":
        return 0.0
    every = forced(settings) or (quantization.group_size or 0) not in MARLIN_GROUPS
    every = every or profile.capability < behaviour("marlin_capability", settings.version)
    padded = at_least(settings.version, PADS_SHAPES)
    widest = max(
        (
            inputs * outputs
            for inputs, outputs in _matrices(shape, settings.sharding.tensor)
            if every or not (padded or _taken(inputs, outputs))
        ),
        default=0.0,
    )
    return widest * settings.dtype_bytes


def _taken(inputs: float, outputs: float) -> bool:
    return inputs % MARLIN_MIN_K == 0 and outputs % MARLIN_MIN_N == 0


def _matrices(shape: Shape, tensor: int) -> Iterator[tuple[float, float]]:
    """Inputs and outputs of a layer's matrices on one rank, merged as the engine has them."""
    if not shape.latent:
        queries = shape.heads * shape.head_dim / tensor
        keys = max(1.0, shape.kv_heads / tensor) * shape.head_dim
        yield shape.hidden, queries * (2 if shape.gated_attention else 1) + 2 * keys
        yield queries, shape.hidden
    up = 2 if shape.gated else 1
    dense = shape.intermediate if not shape.experts or shape.dense_layers else 0
    for size in (dense, shape.shared_size):
        if size:
            yield shape.hidden, up * size / tensor
            yield size / tensor, shape.hidden
