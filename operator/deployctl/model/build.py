"""facts_from: documents in, ModelFacts out. Pure."""

import re
from collections.abc import Iterable
from typing import Any

from deployctl.errors import ModelError
from deployctl.model import tables, template, weights
from deployctl.model.architecture import describes_a_language_model, read_architecture
from deployctl.model.facts import Architecture, Documents, Format, ModelFacts, Quantization
from deployctl.model.fields import Fields, most_pixels
from deployctl.model.quantization import read_quantization

_TYPE_IN_NAME = re.compile(r"[-.]((?:I?Q\d[A-Z0-9_]*)|F16|BF16|F32|MXFP4[A-Z0-9_]*)(?=[-.])", re.I)
_BITS = re.compile(r"\d+")


def facts_from(documents: Documents) -> ModelFacts:
    """Says what a checkpoint is.

    A config that describes no language model at all (a diffusion model, say) gives facts
    without an architecture; one that describes it wrongly is an error.

    Raises:
        ModelError: config.json or a quantization file says something impossible; `where` is
            the field's path.
    """
    stored = weights.find(documents.files)
    tensors = documents.tensors
    quantization = _quantization(documents, stored)
    config = documents.config
    tokenizer = documents.tokenizer_config
    brings, needed = _code(config, tokenizer)
    architecture = _architecture(documents, stored.format)
    text = template.text_of(documents)
    return ModelFacts(
        source=documents.source,
        local=documents.local,
        revision=documents.revision,
        format=stored.format,
        engine=weights.ENGINES[stored.format],
        architecture=architecture,
        quantization=quantization,
        parameters=weights.parameters(tensors, quantization) if tensors else None,
        weight_bytes=_weight_bytes(documents, stored),
        bytes_by_dtype=weights.bytes_by_dtype(tensors or ()),
        headers_read=tensors is not None,
        packed=weights.packed(tensors or ()),
        layer_bytes=weights.layer_bytes(tensors, architecture.num_layers, quantization)
        if tensors and architecture
        else None,
        pickle=stored.format == "pickle",
        remote_code=needed,
        brings_code=brings,
        gated=documents.gated,
        chat_template=_chat_template(documents),
        template=text,
        template_tools=None if text is None else template.knows_tools(text),
        mistral_tokenizer=_mistral_tokenizer(documents.files),
        base_models=_base_models(documents),
        generation=documents.generation_config or {},
    )


def _architecture(documents: Documents, kind: Format) -> Architecture | None:
    config = documents.config
    if config is None:
        return _gguf_architecture(documents.gguf) if documents.gguf else None
    served = weights.ENGINES[kind] == "vllm"
    if served and not config.get("model_type") and not config.get("architectures"):
        raise ModelError(
            "names neither model_type nor architectures",
            where="config.json",
            hint="this is not a checkpoint's config.json; download it again",
        )
    if not describes_a_language_model(config):
        return None
    try:
        found = read_architecture(config, documents.tensors)
    except ModelError:
        if served or kind == "unknown":
            raise
        return None  # another engine's business
    pixels = most_pixels(documents.image_processor or {})
    return found.model_copy(update={"image_pixels": pixels}) if found.vision else found


def _quantization(documents: Documents, stored: weights.Weights) -> Quantization | None:
    if stored.format == "gguf":
        return _gguf_quantization(stored.files, documents.gguf)
    return read_quantization(documents)


def _weight_bytes(documents: Documents, stored: weights.Weights) -> int | None:
    if documents.tensors:
        return sum(tensor.nbytes for tensor in documents.tensors)
    sizes = [documents.files.get(name) for name in stored.files]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _code(config: dict[str, Any] | None, tokenizer: dict[str, Any] | None) -> tuple[bool, bool]:
    """Whether the checkpoint brings Python of its own, and whether nothing else can read it."""
    own_model = bool((config or {}).get("auto_map"))
    own_tokenizer = bool((tokenizer or {}).get("auto_map"))
    kind = (config or {}).get("model_type")
    native = isinstance(kind, str) and kind in tables.TYPES["native"]
    return own_model or own_tokenizer, (own_model and not native) or own_tokenizer


def _chat_template(documents: Documents) -> bool | None:
    tokenizer = documents.tokenizer_config
    files = documents.files
    if "chat_template.jinja" in files or "chat_template.json" in files:
        return True
    return bool(tokenizer.get("chat_template")) if tokenizer is not None else None


def _mistral_tokenizer(files: Iterable[str]) -> bool:
    """Whether the engine takes mistral-common, as it does by itself (vLLM, tokenizers/registry.py).

    Mistral's own weights must be there too, which a quantizer's repository has not.
    """
    names = list(files)
    tokenizer = any(n == "tekken.json" or n.startswith("tokenizer.model.v") for n in names)
    return tokenizer and any(
        n.startswith("consolidated") and n.endswith(".safetensors") for n in names
    )


def _base_models(documents: Documents) -> tuple[str, ...]:
    """What a checkpoint was made of, by its config and by its card."""
    named = (documents.config or {}).get("_name_or_path")
    own = [named[:200]] if isinstance(named, str) and named.strip() and named.isprintable() else []
    return tuple(dict.fromkeys([*own, *documents.base_models]))


def _gguf_architecture(metadata: dict[str, Any]) -> Architecture | None:
    """The decoder's numbers by llama.cpp's names (docs/gguf.md of ggml); None without them."""
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


def _gguf_quantization(files: Iterable[str], metadata: dict[str, Any] | None) -> Quantization:
    """The quantization that a GGUF file's name tells, e.g. Q4_K_M."""
    name = next(iter(files), "")
    match = _TYPE_IN_NAME.search(name)
    kind = match[1].upper() if match else None
    digits = _BITS.search(kind) if kind else None
    raw = {k: v for k, v in (metadata or {}).items() if k.startswith("general.")}
    return Quantization(
        method="gguf",
        bits=int(digits[0]) if digits else None,
        packing=kind,
        file=name,
        raw=raw,
    )
