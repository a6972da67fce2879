"""The weights: which format they are in and who serves it, and what the headers say of them."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from deployctl.model import tables
from deployctl.model.facts import Format, Quantization, TensorInfo

ENGINES: dict[Format, str] = {
    "safetensors": "vllm",
    "pickle": "vllm",
    "gguf": "llama.cpp",
    "onnx": "onnxruntime",
    "unknown": "none",
}
_PICKLES = (".bin", ".pt", ".pth")
# Training leaves these beside the weights (the engine skips them too).
_NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "scaler", "rng_state", "random_states")
_BESIDE = tables.names("beside")
_WORD = {"I32": 32, "U32": 32, "I64": 64, "U8": 8, "I8": 8, "I16": 16}
_FLOATS = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_PACKED = {"I32", "U8", "I8", "F8_E4M3", "F8_E5M2"}
_VOCABULARY = ("embed_tokens", "lm_head", "wte.weight", "word_embeddings", "backbone.embeddings")
_PREDICTION = "mtp."  # multi-token prediction, loaded for speculative decoding alone


class Weights(NamedTuple):
    """The format, and the files that hold the weights in it."""

    format: Format
    files: tuple[str, ...]


def find(files: Mapping[str, int | None]) -> Weights:
    """Picks the format as the engine does: safetensors first, then pickle."""
    top = [name for name in files if "/" not in name]
    safe = [n for n in top if n.endswith(".safetensors")]
    # Mistral's repositories hold the same weights twice; `consolidated` is its own format.
    usual = [n for n in safe if not n.startswith("consolidated")]
    if safe:
        return Weights("safetensors", tuple(sorted(usual or safe)))
    pickles = [n for n in top if n.endswith(_PICKLES) and not n.startswith(_NOT_WEIGHTS)]
    if pickles:
        return Weights("pickle", tuple(sorted(pickles)))
    others: tuple[Format, ...] = ("gguf", "onnx")
    for kind in others:
        named = [n for n in files if n.endswith(f".{kind}")]
        if named:
            return Weights(kind, tuple(sorted(named)))
    return Weights("unknown", ())


def parameters(tensors: Iterable[TensorInfo], quantization: Quantization | None) -> int:
    """Counts the model's parameters, several to a stored word where they are packed."""
    bits = quantization.bits if quantization is not None else None
    total = 0
    for tensor in tensors:
        if _beside(tensor.name):
            continue
        elements = math.prod(tensor.shape)
        word = _WORD.get(tensor.dtype, 0)
        total += elements * word // bits if bits and word > bits else elements
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
        if skipped or name.startswith(_PREDICTION) or _layer(name) >= layers:
            continue
        size = float(tensor.nbytes)
        if tensor.dtype in _FLOATS and not (packed and "scale" in name):
            size = size / _FLOATS[tensor.dtype] * 2
        total += size
    return round(total)


def _dropped(quantization: Quantization | None) -> tuple[str, ...]:
    endings = ["inv_freq"]
    if quantization is not None and "gptq" in quantization.method:
        if quantization.symmetric is not False:
            endings.append(".qzeros")
        if not quantization.act_order:
            endings.append(".g_idx")
    return tuple(endings)


def _layer(name: str) -> int:
    before, divider, after = name.partition("layers.")
    if not divider or "vision" in before or "visual" in before:
        return -1
    number = after.split(".", 1)[0]
    return int(number) if number.isdecimal() and len(number) < 10 else -1
