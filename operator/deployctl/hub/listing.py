"""Which files of a checkpoint an engine reads, with sizes and digests."""

from dataclasses import dataclass

from deployctl.errors import ModelError
from deployctl.hub.checkpoint import Checkpoint, shards
from deployctl.model import weights

# What engine, tokenizer, processor and chat template are configured by; remote code is Python.
_DOCUMENTS = (".json", ".jinja", ".txt", ".model", ".tiktoken", ".py", ".spm", ".bpe", ".vocab")
_BESIDE = (
    ".",
    "original/",
    "onnx/",
    "openvino/",
    "coreml/",
    "gguf/",
    "metal/",
    "runs/",
)  # other formats, and ours
_MODULES = "modules.json"  # of sentence-transformers: weights in folders of their own


@dataclass(frozen=True)
class StoredFile:
    """A file of a checkpoint, as the Hub has it."""

    name: str
    size: int  # bytes
    digest: str  # SHA-256 of a large file, git's SHA-1 of a small one; "" where it is not said


@dataclass(frozen=True)
class Listing:
    """The files that an engine reads of one commit."""

    model: str
    commit: str
    files: tuple[StoredFile, ...]

    @property
    def size(self) -> int:
        """All of them, in bytes."""
        return sum(file.size for file in self.files)


def list_files(checkpoint: Checkpoint) -> Listing:
    """Lists what vLLM reads: documents, and the weights in the one format that it takes.

    As vLLM does (weight_utils.py): the shards that the index names, else every safetensors file at
    the top but Mistral's own `consolidated`; pickle only where there is nothing else.

    Raises:
        ModelError: it has no weights for it, or the index is broken.
        HubError: the Hub failed.
    """
    stored = weights.find(checkpoint.files)
    if stored.format not in ("safetensors", "pickle"):
        raise ModelError(
            "there are no weights here that vLLM reads",
            where=checkpoint.source,
            hint=f"deployctl inspect {checkpoint.source} says what there is",
        )
    wanted = set(shards(checkpoint) if stored.format == "safetensors" else stored.files)
    ending = ".safetensors" if stored.format == "safetensors" else ".bin"
    endings = (*_DOCUMENTS, ending) if _MODULES in checkpoint.files else _DOCUMENTS
    for name in checkpoint.files:
        if name.endswith(_DOCUMENTS if "/" not in name else endings):
            wanted.add(name)
    files = (_stored(checkpoint, name) for name in sorted(wanted) if not name.startswith(_BESIDE))
    return Listing(checkpoint.source, checkpoint.revision or "", tuple(files))


def _stored(checkpoint: Checkpoint, name: str) -> StoredFile:
    size = checkpoint.files[name]
    if size is None:
        raise ModelError(
            f"the size of {name} is unknown",
            where=checkpoint.source,
            hint="the mirror leaves sizes out of its list; name another in HF_ENDPOINT",
        )
    return StoredFile(name, size, checkpoint.digests.get(name, ""))
