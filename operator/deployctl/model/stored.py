"""What the safetensors headers say the layers take once they are loaded."""

from collections.abc import Iterable

from deployctl.model.documents import TensorInfo
from deployctl.model.facts import Quantization

_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_PACKED = {"I32", "U8", "I8", "F8_E4M3", "F8_E5M2"}
_VOCABULARY = ("embed_tokens", "lm_head", "wte.weight", "word_embeddings")


def layer_bytes(
    tensors: Iterable[TensorInfo], layers: int, quantization: Quantization | None
) -> int:
    """Sums all tensors but the vocabulary's, in bytes, as an engine of two-byte floats keeps them.

    Floating-point tensors are converted to the engine's dtype on loading; scales of packed
    weights stay as they are. Layers beyond the decoder's `layers` (multi-token prediction) and
    inverse frequencies are not loaded, nor are the zero points and indices of GPTQ where Marlin
    does without them: symmetric weights, and groups in order.
    """
    dropped = _dropped(quantization)
    held = tuple(tensors)
    packed = any(tensor.dtype in _PACKED for tensor in held)
    total = 0.0
    for tensor in held:
        name = tensor.name
        skipped = any(part in name for part in _VOCABULARY) or name.endswith(dropped)
        if skipped or _layer(name) >= layers:
            continue
        size = float(tensor.nbytes)
        if tensor.dtype in _FLOATS and not (packed and "scale" in name):
            size = size / _FLOATS[tensor.dtype] * 2
        total += size
    return round(total)


def _dropped(quantization: Quantization | None) -> tuple[str, ...]:
    found = ["inv_freq"]
    if quantization is not None and "gptq" in quantization.method:
        if quantization.symmetric is not False:
            found.append(".qzeros")
        if not quantization.act_order:
            found.append(".g_idx")
    return tuple(found)


def _layer(name: str) -> int:
    before, found, after = name.partition("layers.")
    if not found or "vision" in before or "visual" in before:
        return -1
    number = after.split(".", 1)[0]
    return int(number) if number.isdigit() else -1
