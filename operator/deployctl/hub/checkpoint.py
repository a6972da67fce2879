"""From a shelf to Documents: which files to read, in which order, and what may be missing."""

from typing import Any

from deployctl.errors import ModelError
from deployctl.hub import gguf, headers, jsonfile
from deployctl.hub.shelf import Shelf
from deployctl.model.documents import Documents, TensorInfo

MAX_JSON = 16 * 1024 * 1024  # the largest published config.json has about 3 MiB
MAX_INDEX = 64 * 1024 * 1024
MAX_TENSORS = 4_000_000
INDEX = "model.safetensors.index.json"
# The engine looks for ModelOpt's own file; the other two are what AutoGPTQ and AutoAWQ wrote.
QUANTIZATION_FILES = ("hf_quant_config.json", "quantize_config.json", "quant_config.json")
_FIRST = 8


def gather(shelf: Shelf) -> Documents:
    """Reads a checkpoint's documents.

    Raises:
        ModelError: one is missing, broken or absurd.
        HubError: the Hub failed meanwhile.
    """
    config = _json(shelf, "config.json")
    ggufs = sorted(name for name in shelf.files if name.endswith(".gguf"))
    if config is None and not ggufs and not _any(shelf, ".onnx"):
        raise _no_config(shelf)
    quantization_file = next((n for n in QUANTIZATION_FILES if n in shelf.files), None)
    tensors = _tensors(shelf)
    return Documents(
        source=shelf.source,
        local=shelf.local,
        revision=shelf.revision,
        files=dict(shelf.files),
        config=config,
        quantize_config=_json(shelf, quantization_file) if quantization_file else None,
        quantize_config_file=quantization_file,
        generation_config=_json(shelf, "generation_config.json"),
        tokenizer_config=_json(shelf, "tokenizer_config.json"),
        gguf=_gguf(shelf, ggufs) if tensors is None else None,
        tensors=tensors,
        gated=shelf.gated,
    )


def _json(shelf: Shelf, name: str, limit: int | None = None) -> dict[str, Any] | None:
    if name not in shelf.files:
        return None
    return jsonfile.parse_object(shelf.read(name, limit or MAX_JSON), shelf.place(name))


def _tensors(shelf: Shelf) -> tuple[TensorInfo, ...] | None:
    """The tensors of every shard that the engine would load; None where there are none."""
    index = _json(shelf, INDEX, MAX_INDEX)
    if index is not None:
        expected = headers.shards(index, shelf.place(INDEX))
    else:
        expected = {name: [] for name in plain_shards(shelf.files)}
    for name in expected:
        if name not in shelf.files:
            raise ModelError(
                f"shard {name} is missing",
                where=shelf.place(INDEX),
                hint="download the checkpoint again; every file that the index names is needed",
            )
    if not expected:
        return None
    found: list[TensorInfo] = []
    for name, tensors in zip(sorted(expected), _headers(shelf, sorted(expected)), strict=True):
        absent = set(expected[name]).difference(t.name for t in tensors)
        if absent:
            raise ModelError(
                f"tensor {ascii(min(absent))[:100]} is not in the shard that the index names",
                where=shelf.place(name),
                hint="index and shards are of different checkpoints; download both again",
            )
        found += tensors
        if len(found) > MAX_TENSORS:
            raise ModelError("the checkpoint lists millions of tensors", where=shelf.place(name))
    return tuple(found)


def _headers(shelf: Shelf, names: list[str]) -> list[tuple[TensorInfo, ...]]:
    if shelf.local or len(names) == 1:
        return [read_header(shelf, name) for name in names]
    # On the Hub each header is a round trip or two: a few at once, in order.
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(max_workers=8) as pool:
        futures = [pool.submit(read_header, shelf, name) for name in names]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def read_header(shelf: Shelf, name: str) -> tuple[TensorInfo, ...]:
    """Reads one safetensors header, and not a byte of weights.

    Raises:
        ModelError: the file is damaged.
    """
    where, file_size = shelf.place(name), shelf.files.get(name)
    length = headers.header_length(shelf.span(name, 0, _FIRST), file_size, where)
    return headers.parse_header(shelf.span(name, _FIRST, length), file_size, where)


def plain_shards(files: Any) -> list[str]:
    """The safetensors files of a checkpoint that has no index, as the engine picks them."""
    names = [n for n in files if n.endswith(".safetensors") and "/" not in n]
    # Mistral's repositories hold the same weights twice; `consolidated` is its own format.
    usual = [n for n in names if not n.startswith("consolidated")]
    return sorted(usual or names)


def _gguf(shelf: Shelf, names: list[str]) -> dict[str, Any] | None:
    if not names or not shelf.local:
        return None  # on the Hub the metadata's length is unknown until read: too many round trips
    name = names[0]

    def read(start: int, length: int) -> bytes:
        return shelf.span(name, start, length)

    return gguf.metadata(read, shelf.place(name))


def _any(shelf: Shelf, ending: str) -> bool:
    return any(name.endswith(ending) for name in shelf.files)


def _no_config(shelf: Shelf) -> ModelError:
    hints = {
        "adapter_config.json": "this is a LoRA adapter; give the base model it belongs to",
        "params.json": "this is Mistral's own format; take the repository that has config.json",
        "model_index.json": "this is an image pipeline of diffusers, which is served otherwise",
    }
    hint = next((text for name, text in hints.items() if name in shelf.files), None)
    return ModelError(
        "there is no config.json: this is no checkpoint",
        where=shelf.source,
        hint=hint or "give the folder that holds config.json and the weights",
    )
