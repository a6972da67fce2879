"""Which format the weights are in, and which engine serves it."""

from collections.abc import Mapping
from typing import NamedTuple

from deployctl.model.facts import Format

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


class Weights(NamedTuple):
    """The format, and the files that hold the weights in it."""

    format: Format
    files: tuple[str, ...]


def weights(files: Mapping[str, int | None]) -> Weights:
    """Picks the format as the engine does: safetensors first, then pickle."""
    top = [name for name in files if "/" not in name]
    safe = [n for n in top if n.endswith(".safetensors")]
    usual = [n for n in safe if not n.startswith("consolidated")]
    if safe:
        return Weights("safetensors", tuple(sorted(usual or safe)))
    pickles = [n for n in top if n.endswith(_PICKLES) and not n.startswith(_NOT_WEIGHTS)]
    if pickles:
        return Weights("pickle", tuple(sorted(pickles)))
    for ending, kind in ((".gguf", "gguf"), (".onnx", "onnx")):
        found = [n for n in files if n.endswith(ending)]
        if found:
            return Weights("gguf" if kind == "gguf" else "onnx", tuple(sorted(found)))
    return Weights("unknown", ())
