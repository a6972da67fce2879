"""From a checkpoint's files to Documents: which to read, in which order, what may be missing."""

import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from deployctl.errors import ModelError
from deployctl.hub import headers, jsonfile
from deployctl.model import Documents, TensorInfo, template, weights

MAX_JSON = 16 * 1024 * 1024  # the largest published config.json has about 3 MiB
MAX_INDEX = 64 * 1024 * 1024
MAX_TEMPLATE = 4 * 1024 * 1024
MAX_TENSORS = 1_000_000
# Of all shards together. The largest that are published (1T parameters, 384 packed experts a layer)
# have 200,000 tensors, 30 MB of headers and a dozen marks of JSON for each tensor.
MAX_SHARDS = 1024
MAX_HEADERS = 128 * 1024 * 1024  # bytes
MAX_MARKS = 6_000_000  # brackets, colons and commas: what there can be of values
INDEX = "model.safetensors.index.json"
# The engine looks for ModelOpt's own file; the other two are what AutoGPTQ and AutoAWQ wrote.
QUANTIZATION_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
_FIRST = 8


class Checkpoint(Protocol):
    """A checkpoint's files, in a folder or on the Hub. Errors are DeployctlErrors."""

    source: str  # the folder (absolute), or the Hub id
    local: bool  # whether `source` is a path on this machine
    revision: str | None  # the commit, for the Hub
    gated: bool  # whether access is granted by asking
    files: Mapping[str, int | None]  # path inside the checkpoint -> bytes, where known
    digests: Mapping[str, str]  # path -> SHA-256, of a small file git's SHA-1, where known

    def read(self, name: str, limit: int) -> bytes:
        """Returns a whole file; ModelError if it has more than `limit` bytes."""
        ...

    def span(self, name: str, start: int, length: int) -> bytes:
        """Returns up to `length` bytes from `start`; fewer only at the file's end."""
        ...

    def base_models(self) -> tuple[str, ...]:
        """The models that its card names as what it was made of."""
        ...

    def place(self, name: str) -> str:
        """Names a file as an error's `where` does."""
        ...


def gather(checkpoint: Checkpoint) -> Documents:
    """Reads a checkpoint's documents.

    Raises:
        ModelError: one is missing, broken or impossible.
        HubError: the Hub failed meanwhile.
    """
    config = _json(checkpoint, "config.json")
    ggufs = sorted(name for name in checkpoint.files if name.endswith(".gguf"))
    if (
        config is None
        and not ggufs
        and not any(name.endswith(".onnx") for name in checkpoint.files)
    ):
        raise _no_config(checkpoint)
    quantization_file = next((n for n in QUANTIZATION_FILES if n in checkpoint.files), None)
    tensors = _tensors(checkpoint)
    tokenizer = _json(checkpoint, "tokenizer_config.json")
    return Documents(
        source=checkpoint.source,
        local=checkpoint.local,
        revision=checkpoint.revision,
        files=dict(checkpoint.files),
        config=config,
        quantize_config=_json(checkpoint, quantization_file) if quantization_file else None,
        quantize_config_file=quantization_file,
        generation_config=_json(checkpoint, "generation_config.json"),
        image_processor=_image_processor(checkpoint, config or {}),
        tokenizer_config=tokenizer,
        chat_template=_chat_template(checkpoint, tokenizer),
        base_models=checkpoint.base_models(),
        gguf=_gguf(checkpoint, ggufs) if tensors is None else None,
        tensors=tensors,
        gated=checkpoint.gated,
    )


def shards(checkpoint: Checkpoint) -> dict[str, list[str]]:
    """The safetensors files that the engine would load, each with the tensors that the index says
    are in it; nothing is said of them where there is no index.

    Raises:
        ModelError: the index is broken, or names what is not there.
    """
    index = _json(checkpoint, INDEX, MAX_INDEX)
    if index is None:
        stored = weights.find(checkpoint.files)
        return {name: [] for name in stored.files if stored.format == "safetensors"}
    named = headers.shards(index, checkpoint.place(INDEX))
    for name in named:
        if name not in checkpoint.files:
            raise ModelError(
                f"shard {name} is missing",
                where=checkpoint.place(INDEX),
                hint="download the checkpoint again; every file that the index names is needed",
            )
    return named


def _json(checkpoint: Checkpoint, name: str, limit: int | None = None) -> dict[str, Any] | None:
    if name not in checkpoint.files:
        return None
    return jsonfile.parse_object(checkpoint.read(name, limit or MAX_JSON), checkpoint.place(name))


def _chat_template(checkpoint: Checkpoint, tokenizer: dict[str, Any] | None) -> str | None:
    """The text of the template that has a file of its own, where that is the one in force.

    For requests with tools, a processor's chat_template.json comes after the tokenizer's.
    """
    if "chat_template.jinja" in checkpoint.files:
        return checkpoint.read("chat_template.jinja", MAX_TEMPLATE).decode("utf-8", "replace")
    if (tokenizer or {}).get("chat_template"):
        return None
    return template.joined((_json(checkpoint, "chat_template.json") or {}).get("chat_template"))


def _image_processor(checkpoint: Checkpoint, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """How a model that sees takes images, by either file of transformers' processors."""
    if not isinstance(config.get("vision_config"), dict):
        return None
    found = _json(checkpoint, "preprocessor_config.json")
    if found is None:
        found = (_json(checkpoint, "processor_config.json") or {}).get("image_processor")
    return found if isinstance(found, dict) else None


def _tensors(checkpoint: Checkpoint) -> tuple[TensorInfo, ...] | None:
    """The tensors of every shard that the engine would load; None where there are none."""
    expected = shards(checkpoint)
    if not expected:
        return None
    listed: list[TensorInfo] = []
    for name, tensors in zip(sorted(expected), _headers(checkpoint, sorted(expected)), strict=True):
        absent = set(expected[name]).difference(t.name for t in tensors)
        if absent:
            raise ModelError(
                f"tensor {ascii(min(absent))[:100]} is not in the shard that the index names",
                where=checkpoint.place(name),
                hint="index and shards belong to different checkpoints; download both again",
            )
        listed += tensors
        if len(listed) > MAX_TENSORS:
            raise _too_much("the checkpoint lists millions of tensors", checkpoint.place(name))
    return tuple(listed)


def _headers(checkpoint: Checkpoint, names: list[str]) -> list[tuple[TensorInfo, ...]]:
    if len(names) > MAX_SHARDS:
        raise _too_much(f"the weights are in more than {MAX_SHARDS} files", checkpoint.source)
    budget = _Budget(MAX_HEADERS, MAX_MARKS)
    if checkpoint.local or len(names) == 1:
        return [_header(checkpoint, name, budget) for name in names]
    # On the Hub each header is a round trip or two: a few at once, in order.
    with ThreadPoolExecutor(max_workers=8) as pool:
        futures = [pool.submit(_header, checkpoint, name, budget) for name in names]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_header(checkpoint: Checkpoint, name: str) -> tuple[TensorInfo, ...]:
    """Reads one safetensors header, and not a byte of weights.

    Raises:
        ModelError: the file is damaged.
    """
    return _header(checkpoint, name, _Budget(MAX_HEADERS, MAX_MARKS))


def _header(checkpoint: Checkpoint, name: str, budget: "_Budget") -> tuple[TensorInfo, ...]:
    where, file_size = checkpoint.place(name), checkpoint.files.get(name)
    length = headers.header_length(checkpoint.span(name, 0, _FIRST), file_size, where)
    budget.take(where, size=length)
    header = checkpoint.span(name, _FIRST, length)
    budget.take(where, marks=sum(map(header.count, (b",", b":", b"[", b"{"))))
    return headers.parse_header(header, file_size, where)


class _Budget:
    """What the headers of one checkpoint may take of this machine, all of them together."""

    def __init__(self, size: int, marks: int) -> None:
        self._left = {"size": size, "marks": marks}
        self._lock = threading.Lock()

    def take(self, where: str, **amounts: int) -> None:
        """Raises ModelError where nothing is left."""
        with self._lock:
            for name, amount in amounts.items():
                self._left[name] -= amount
            if min(self._left.values()) < 0:
                raise _too_much("the headers of the weights are too large, all together", where)


def _too_much(message: str, where: str) -> ModelError:
    return ModelError(message, where=where, hint="these are no headers of a published checkpoint")


def _gguf(checkpoint: Checkpoint, names: list[str]) -> dict[str, Any] | None:
    if not names or not checkpoint.local:
        return None  # on the Hub the metadata's length is unknown until read: too many round trips
    name = names[0]
    return headers.gguf_metadata(partial(checkpoint.span, name), checkpoint.place(name))


def _no_config(checkpoint: Checkpoint) -> ModelError:
    hints = {
        "adapter_config.json": "this is a LoRA adapter; give the base model it belongs to",
        "params.json": "this is Mistral's own format; take the repository that has config.json",
        "model_index.json": "this is an image pipeline of diffusers, which is served otherwise",
    }
    hint = next((text for name, text in hints.items() if name in checkpoint.files), None)
    return ModelError(
        "there is no config.json: this is not a checkpoint",
        where=checkpoint.source,
        hint=hint or "give the folder that holds config.json and the weights",
    )
