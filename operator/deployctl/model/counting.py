"""Parameters and bytes, from safetensors headers."""

from collections import Counter
from collections.abc import Iterable

from deployctl.model.documents import TensorInfo
from deployctl.model.facts import Quantization

# Scales, zero points and orders belong to the storage, not to the model.
_BESIDE: tuple[str, ...] = (
    "qzeros",
    "scales",
    "g_idx",
    "weight_scale",
    "weight_scale_inv",
    "input_scale",
)
_BESIDE += ("weight_zero_point", "weight_shape", "weight_g_idx", "weight_scale_2", "k_scale")
_BESIDE += ("v_scale", "q_scale", "weight_global_scale", "input_global_scale", "absmax")
_BESIDE += ("quant_map", "nested_absmax", "nested_quant_map", "rotary_emb.inv_freq")
_WORD = {"I32": 32, "U32": 32, "I64": 64, "U8": 8, "I8": 8, "I16": 16}


def parameters(tensors: Iterable[TensorInfo], quantization: Quantization | None) -> int:
    """Counts the model's parameters, several to a stored word where they are packed."""
    bits = quantization.bits if quantization is not None else None
    total = 0
    for tensor in tensors:
        elements = 1
        for size in tensor.shape:
            elements *= size
        if _beside(tensor.name):
            continue
        word = _WORD.get(tensor.dtype)
        if bits and word and word > bits and quantization is not None:
            total += elements * word // bits
        else:
            total += elements
    return total


def packed(tensors: Iterable[TensorInfo]) -> bool:
    """Whether there are tensors that only a quantization method can read."""
    return any(tensor.name.endswith((".qweight", ".weight_packed")) for tensor in tensors)


def bytes_by_dtype(tensors: Iterable[TensorInfo]) -> dict[str, int]:
    """Bytes of each stored dtype, the largest first."""
    counted: Counter[str] = Counter()
    for tensor in tensors:
        counted[tensor.dtype] += tensor.nbytes
    return dict(sorted(counted.items(), key=lambda item: (-item[1], item[0])))


def _beside(name: str) -> bool:
    return name.endswith(_BESIDE) or ".quant_state." in name or name.endswith("_scales")
