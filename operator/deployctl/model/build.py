"""facts_from: documents in, ModelFacts out. Pure."""

from typing import Any

from deployctl.errors import ModelError
from deployctl.model import counting, formats, ggufs
from deployctl.model.architecture import describes_a_language_model, read_architecture
from deployctl.model.documents import Documents
from deployctl.model.facts import Architecture, Format, ModelFacts, Quantization
from deployctl.model.native import NATIVE_TYPES
from deployctl.model.quantization import read_quantization
from deployctl.model.stored import layer_bytes


def facts_from(documents: Documents) -> ModelFacts:
    """Says what a checkpoint is.

    A config that describes no language model at all (a diffusion model, say) gives facts
    without an architecture; one that describes it wrongly is an error.

    Raises:
        ModelError: config.json or a quantization file says something impossible; `where` is
            the field's path.
    """
    weights = formats.weights(documents.files)
    tensors = documents.tensors
    quantization = _quantization(documents, weights)
    config = documents.config
    tokenizer = documents.tokenizer_config
    brings, needed = _code(config, tokenizer)
    architecture = _architecture(documents, weights.format)
    return ModelFacts(
        source=documents.source,
        local=documents.local,
        revision=documents.revision,
        format=weights.format,
        engine=formats.ENGINES[weights.format],
        architecture=architecture,
        quantization=quantization,
        parameters=counting.parameters(tensors, quantization) if tensors else None,
        weight_bytes=_weight_bytes(documents, weights),
        bytes_by_dtype=counting.bytes_by_dtype(tensors or ()),
        headers_read=tensors is not None,
        packed=counting.packed(tensors or ()),
        layer_bytes=layer_bytes(tensors, architecture.num_layers, quantization)
        if tensors and architecture
        else None,
        pickle=weights.format == "pickle",
        remote_code=needed,
        brings_code=brings,
        gated=documents.gated,
        chat_template=_chat_template(documents),
        generation=documents.generation_config or {},
    )


def _architecture(documents: Documents, kind: Format) -> Architecture | None:
    config = documents.config
    if config is None:
        return ggufs.gguf_architecture(documents.gguf) if documents.gguf else None
    served = formats.ENGINES[kind] == "vllm"
    if served and not config.get("model_type") and not config.get("architectures"):
        raise ModelError(
            "names neither model_type nor architectures",
            where="config.json",
            hint="this is no checkpoint's config.json; download it again",
        )
    if not describes_a_language_model(config):
        return None
    try:
        return read_architecture(config, documents.tensors)
    except ModelError:
        if served or kind == "unknown":
            raise
        return None  # another engine's business


def _quantization(documents: Documents, weights: formats.Weights) -> Quantization | None:
    if weights.format == "gguf":
        return ggufs.gguf_quantization(weights.files, documents.gguf)
    return read_quantization(documents)


def _weight_bytes(documents: Documents, weights: formats.Weights) -> int | None:
    if documents.tensors:
        return sum(tensor.nbytes for tensor in documents.tensors)
    sizes = [documents.files.get(name) for name in weights.files]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _code(config: dict[str, Any] | None, tokenizer: dict[str, Any] | None) -> tuple[bool, bool]:
    """Whether the checkpoint brings Python of its own, and whether nothing else can read it."""
    own_model = bool((config or {}).get("auto_map"))
    own_tokenizer = bool((tokenizer or {}).get("auto_map"))
    kind = (config or {}).get("model_type")
    native = isinstance(kind, str) and kind in NATIVE_TYPES
    return own_model or own_tokenizer, (own_model and not native) or own_tokenizer


def _chat_template(documents: Documents) -> bool | None:
    tokenizer = documents.tokenizer_config
    files = documents.files
    if "chat_template.jinja" in files or "chat_template.json" in files:
        return True
    return bool(tokenizer.get("chat_template")) if tokenizer is not None else None
