"""GGUF metadata -> the same words. Key names are llama.cpp's (docs/gguf.md of ggml)."""

import re
from collections.abc import Iterable
from typing import Any

from deployctl.errors import ModelError
from deployctl.model.facts import Architecture, Quantization
from deployctl.model.fields import Fields

_TYPE_IN_NAME = re.compile(r"[-.]((?:I?Q\d[A-Z0-9_]*)|F16|BF16|F32|MXFP4[A-Z0-9_]*)(?=[-.])", re.I)
_BITS = re.compile(r"\d+")


def gguf_architecture(metadata: dict[str, Any]) -> Architecture | None:
    """The decoder's numbers; None where the metadata does not have them."""
    kind = metadata.get("general.architecture")
    if not isinstance(kind, str) or not kind.isprintable() or len(kind) > 100:
        return None
    prefix = f"{kind}."
    part = Fields(
        {k.removeprefix(prefix): v for k, v in metadata.items() if k.startswith(prefix)}, "GGUF"
    )
    tokens = metadata.get("tokenizer.ggml.tokens")
    try:
        heads = part.whole("attention.head_count", lists=True)
        hidden = part.whole("embedding_length")
        context = part.whole("context_length")
        vocabulary = tokens.get("length") if isinstance(tokens, dict) else None
        return Architecture(
            name=kind,
            model_type=kind,
            text_type=kind,
            num_layers=part.whole("block_count"),
            hidden_size=hidden,
            intermediate_size=part.whole("feed_forward_length", default=4 * hidden),
            num_heads=heads,
            num_kv_heads=part.whole("attention.head_count_kv", default=heads),
            head_dim=part.whole("attention.key_length", default=max(1, hidden // heads)),
            vocab_size=part.whole("vocab_size", default=vocabulary or 1),
            tied_embeddings=False,
            max_position_embeddings=context,
            default_model_len=context,
            dtype="float16",
            num_experts=part.whole("expert_count", default=0, least=0),
            experts_per_token=part.whole("expert_used_count", default=0, least=0),
        )
    except ModelError:
        return None


def gguf_quantization(files: Iterable[str], metadata: dict[str, Any] | None) -> Quantization:
    """The quantization that a GGUF file's name tells, e.g. Q4_K_M."""
    name = next(iter(files), "")
    found = _TYPE_IN_NAME.search(name)
    kind = found[1].upper() if found else None
    digits = _BITS.search(kind) if kind else None
    raw = {k: v for k, v in (metadata or {}).items() if k.startswith("general.")}
    return Quantization(
        method="gguf",
        bits=int(digits[0]) if digits else None,
        packing=kind,
        file=name,
        raw=raw,
    )
