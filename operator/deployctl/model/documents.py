"""What `hub` brings back of a checkpoint: its small documents, never its weights."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class TensorInfo(BaseModel):
    """One entry of a safetensors header."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: str  # as safetensors writes it: BF16, F16, F32, I32, I8, U8, F8_E4M3 …
    shape: tuple[int, ...]
    nbytes: int


class Documents(BaseModel):
    """The documents of one checkpoint, as found in a folder or on the Hub."""

    model_config = ConfigDict(frozen=True)

    source: str  # the folder (absolute) or the Hub id
    local: bool
    revision: str | None = None  # the commit, for the Hub
    files: dict[str, int | None] = {}  # path inside the checkpoint -> bytes, where known
    config: dict[str, Any] | None = None  # config.json
    quantize_config: dict[str, Any] | None = None  # from the file that the next field names
    quantize_config_file: str | None = None  # hf_quant_config, quantize_config, quant_config
    generation_config: dict[str, Any] | None = None
    tokenizer_config: dict[str, Any] | None = None
    gguf: dict[str, Any] | None = None  # the metadata of a GGUF header, where read
    tensors: tuple[TensorInfo, ...] | None = None  # from every safetensors header; None: unread
    gated: bool = False
