"""What one linear layer takes on one GPU, by how its weights are stored.

Sizes follow the parameters that vLLM's quantization methods register and keep after loading
(vllm/model_executor/layers/quantization of 0.8 to 0.32).
"""

from dataclasses import dataclass, replace

from deployctl.model import Quantization
from deployctl.units import MIB

DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2, "fp8": 1}
_SEGMENT = 2 * MIB
_LARGE = 10 * MIB
_UNSPLIT = 20 * MIB
# The compute capabilities of Marlin, and of FP8 without it.
MARLIN_FROM, FP8_FROM = 7.5, 8.9


def allocated(nbytes: float, *, coarse: bool = False) -> float:
    """What torch's caching allocator counts for a tensor of `nbytes`.

    From 10 MiB on it asks the driver for whole multiples of 2 MiB and splits off what is left
    over only when that is more than 1 MiB (c10/cuda/CUDACachingAllocator.cpp: kMinLargeAlloc,
    kRoundLarge, kSmallSize). The rest is counted with the tensor: 56 MiB in Qwen2.5-7B.
    `coarse` is how vLLM loads since 0.21: blocks above 20 MiB are never split
    (v1/worker/gpu_worker.py, _scoped_allocator_max_split).
    """
    if nbytes < _LARGE:
        return nbytes
    rest = -nbytes % _SEGMENT
    kept = rest <= MIB or (coarse and nbytes + rest > _UNSPLIT)
    return nbytes + (rest if kept else 0.0)


@dataclass(frozen=True)
class Storage:
    """How the weights of quantized layers are stored."""

    method: str  # "" when they are not quantized
    bits: float = 16.0  # a weight, packed
    group: int = 0  # inputs that share a scale; 0: one scale an output channel
    scale_bytes: float = 2.0
    zero_bytes: float = 0.0  # a group and output
    index_bytes: int = 0  # an input (act-order)
    block: int = 0  # fp8: scales for square blocks of this side
    coarse: bool = False  # how the allocator rounds; see `allocated`
    rounded: bool = True  # False: the bytes of the tensors alone, as headers count them

    def nbytes(self, inputs: float, outputs: float) -> float:
        """Bytes of an `inputs` × `outputs` matrix with its scales, zeros and indices."""
        tensors = [inputs * outputs * self.bits / 8]
        if self.method and self.block:
            blocks = -(-inputs // self.block) * -(-outputs // self.block)
            tensors.append(blocks * self.scale_bytes)
        elif self.method:
            groups = -(-inputs // self.group) if self.group else 1
            tensors += [groups * outputs * each for each in (self.scale_bytes, self.zero_bytes)]
            tensors.append(inputs * self.index_bytes)
        if not self.rounded:
            return float(sum(tensors))
        return float(sum(allocated(each, coarse=self.coarse) for each in tensors))


def plain(dtype_bytes: int) -> Storage:
    """Weights as they are, in the engine's dtype."""
    return Storage(method="", bits=8.0 * dtype_bytes)


def storage(quantization: Quantization | None, dtype_bytes: int) -> Storage:
    """Says how `quantization` stores a matrix once vLLM has loaded it.

    AWQ keeps packed zero points; symmetric GPTQ loses them when Marlin repacks it (checked
    against logged weights: Llama-3.1-8B takes 5.375 GiB as AWQ and 5.349 GiB as GPTQ).
    """
    if quantization is None:
        return plain(dtype_bytes)
    method, raw = quantization.method, quantization.raw
    bits = quantization.bits
    group = max(0, quantization.group_size or 0)
    if "awq" in method:
        width = bits or 4
        return Storage(method, width, _usual_group(quantization), 2, width / 8)
    if "gptq" in method or method in ("auto-round", "inc"):
        width = bits or 4
        kept = 0.0 if quantization.symmetric is not False else width / 8
        return Storage(method, width, group, 2, kept, 8 if quantization.act_order else 0)
    if method == "mxfp4" or (method == "quark" and bits == 4):
        return Storage(method, 4, 32, 1)
    if method == "bitsandbytes":
        if raw.get("load_in_8bit") or bits == 8:
            return Storage(method, 8, 0, 4)
        return Storage(method, 4, 64, 4)
    if "fp4" in method or (method == "modelopt" and bits == 4):
        return Storage(method, 4, 16, 1)
    if method in ("fp8", "fbgemm_fp8", "modelopt", "quark") or bits == 8:
        return _eight_bits(quantization)
    if method == "compressed-tensors":
        return _compressed(quantization)
    if bits:
        return Storage(method, float(bits), group, 2, 0.0)
    return plain(dtype_bytes)


def as_laid_out(kind: Storage, capability: float) -> Storage:
    """The same on a card of this compute capability.

    Where the card has no FP8, Marlin repeats a block's scale for every row and keeps it in the
    model's dtype (quantization/utils/marlin_utils_fp8.py, prepare_fp8_layer_for_marlin).
    """
    if not kind.block or kind.bits != 8 or not MARLIN_FROM <= capability < FP8_FROM:
        return kind
    return replace(kind, group=kind.block, scale_bytes=2, block=0)


def mixed(algorithm: str | None, dtype_bytes: int) -> Storage:
    """A piece of a checkpoint of mixed precision, by the name that ModelOpt gives its algorithm."""
    if algorithm is None:
        return plain(dtype_bytes)
    if "FP4" in algorithm:
        return Storage("modelopt_mixed", 4, 16, 1)
    if "4" in algorithm.split("A")[0]:  # W4A16_AWQ
        return Storage("modelopt_mixed", 4, 128, 2)
    return Storage("modelopt_mixed", 8, 0, 4)


def _eight_bits(quantization: Quantization) -> Storage:
    blocks = quantization.raw.get("weight_block_size")
    side = blocks[0] if isinstance(blocks, list) and blocks and isinstance(blocks[0], int) else 0
    return Storage(quantization.method, 8, 0, 4, block=side if 0 < side <= 65536 else 0)


def _compressed(quantization: Quantization) -> Storage:
    bits = quantization.bits or 8
    if bits >= 16:
        return plain(2)
    group = max(0, quantization.group_size or 0)
    if bits == 8:
        return _eight_bits(quantization) if not group else Storage("compressed-tensors", 8, group)
    if "nvfp4" in str(quantization.raw.get("format", "")):
        return Storage("compressed-tensors", bits, 16, 1)
    zeros = bits / 8 if quantization.symmetric is False else 0.0
    return Storage("compressed-tensors", bits, _usual_group(quantization), 2, zeros)


def _usual_group(quantization: Quantization) -> int:
    """The group size; 128 where nothing is said, 0 (one a channel) where that is said."""
    given = quantization.group_size
    return 128 if given is None else max(0, given)


def mxfp4_padding(inner: float, hidden: float, hopper: bool) -> tuple[float, float, float, float]:
    """Padding of MXFP4 experts (quantization/mxfp4.py and triton_kernels' layouts).

    Returns the two outputs and the two inputs as stored. Triton's layout for Hopper pads the
    input side to a multiple of 512 and leaves the outputs; elsewhere Marlin pads the
    intermediate size to 128 and the hidden size to 256. That is the 6 to 8% that gpt-oss takes
    above its tensors.
    """

    def up(value: float, step: int) -> float:
        return float(-(-int(-(-value // 1)) // step) * step)

    if hopper:
        inner = up(inner, 64)
        return inner, hidden, up(hidden, 512), up(inner, 512 if inner > 1024 else 256)
    inner, hidden = up(inner, 128), up(hidden, 256)
    return inner, hidden, hidden, inner
