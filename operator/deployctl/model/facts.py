"""What a checkpoint says of itself: its documents as they were found, and ModelFacts, in numbers
that planning can use.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["safetensors", "pickle", "gguf", "onnx", "unknown"]


class TensorInfo(BaseModel):
    """One entry of a safetensors header."""

    model_config = ConfigDict(frozen=True)

    name: str
    dtype: str  # as safetensors writes it: BF16, F16, F32, I32, I8, U8, F8_E4M3 …
    shape: tuple[int, ...]
    nbytes: int


class Documents(BaseModel):
    """What `hub` brings back of a checkpoint: its small documents, never its weights."""

    model_config = ConfigDict(frozen=True)

    source: str  # the folder (absolute) or the Hub id
    local: bool
    revision: str | None = None  # the commit, for the Hub
    files: dict[str, int | None] = {}  # path inside the checkpoint -> bytes, where known
    config: dict[str, Any] | None = None  # config.json
    quantize_config: dict[str, Any] | None = None  # from the file that the next field names
    quantize_config_file: str | None = None  # hf_quant_config, quantize_config, quant_config
    generation_config: dict[str, Any] | None = None
    image_processor: dict[str, Any] | None = None  # of a model that sees: how it takes images
    tokenizer_config: dict[str, Any] | None = None
    chat_template: str | None = None  # from a file of its own
    base_models: tuple[str, ...] = ()  # Hub ids that the model card names
    gguf: dict[str, Any] | None = None  # the metadata of a GGUF header, where read
    tensors: tuple[TensorInfo, ...] | None = None  # from every safetensors header; None: unread
    gated: bool = False


class Quantization(BaseModel):
    """How the weights are stored, from `quantization_config` or `quantize_config.json`."""

    model_config = ConfigDict(frozen=True)

    method: str  # as vLLM names it: awq, gptq, fp8, compressed-tensors, inc, mxfp4 …
    bits: int | None = None
    group_size: int | None = None  # -1: one group a column
    act_order: bool = False  # GPTQ's desc_act
    symmetric: bool | None = None
    zero_point: bool | None = None
    ignored: tuple[str, ...] = ()  # modules left unquantized
    packing: str | None = None  # checkpoint_format, version or format, as the checkpoint says
    lm_head: bool = False  # the output layer is quantized too
    dynamic: dict[str, Any] = {}  # GPTQModel: settings by module pattern
    file: str = "config.json"  # where it is said; the engine looks there alone unless told
    raw: dict[str, Any] = {}


class Architecture(BaseModel):
    """The numbers of a decoder, from `config.json` (`text_config` where there is one)."""

    model_config = ConfigDict(frozen=True)

    name: str  # architectures[0], e.g. Qwen2ForCausalLM
    model_type: str
    num_layers: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    vocab_size: int
    tied_embeddings: bool
    max_position_embeddings: int  # tokens, after rope scaling as vLLM derives it
    dtype: str  # of the unquantized parts: bfloat16, float16, float32
    text_type: str = ""  # model_type of the text part; model_type where there is no such part
    default_model_len: int = 0  # tokens the engine takes when nobody says; <= the maximum
    # Mixture of experts
    num_experts: int = 0
    experts_per_token: int = 0
    moe_intermediate_size: int = 0
    moe_layers: int = 0  # layers that have experts; the others are dense
    shared_expert_size: int = 0  # intermediate size of all shared experts together
    # Attention that does not keep every token: window in tokens, and each layer's kind
    sliding_window: int | None = None
    full_head_dim: int | None = None  # of full-attention layers, where theirs differ (Gemma 4)
    full_kv_heads: int | None = None
    layer_types: tuple[str, ...] = ()  # "full_attention" | "sliding_attention" | …; () = all full
    # Multi-head latent attention (DeepSeek): rank of the compressed KV and the rope part
    kv_lora_rank: int | None = None
    qk_rope_head_dim: int | None = None
    qk_nope_head_dim: int | None = None
    v_head_dim: int | None = None
    q_lora_rank: int | None = None
    mla: bool = False  # the engine caches the compressed KV: rank + rope part, once a layer
    multimodal: bool = False
    vision: dict[str, Any] = {}  # vision_config as it stands, where there is one
    audio: dict[str, Any] = {}  # audio_config too
    image_pixels: int = 0  # of the largest image, by the checkpoint's processor; 0: not said
    raw: dict[str, Any] = {}  # the text config whole, for what only planning wants


class ModelFacts(BaseModel):
    """What a checkpoint says of itself. `architecture` is None when there is no config.json."""

    model_config = ConfigDict(frozen=True)

    source: str  # folder or Hub id
    local: bool
    revision: str | None = None
    format: Format
    engine: str  # who serves this format: vllm, llama.cpp, onnxruntime, none
    architecture: Architecture | None = None
    quantization: Quantization | None = None
    parameters: int | None = None  # count, where the headers or the architecture tell
    weight_bytes: int | None = None  # on disk, all shards
    bytes_by_dtype: dict[str, int] = {}  # from the headers
    headers_read: bool = False
    packed: bool = False  # the headers show weights several to a word, whatever the config says
    # From the headers: all but vocabulary and unloaded tensors, as loaded (stored.layer_bytes)
    layer_bytes: int | None = None
    pickle: bool = False  # weights only as .bin/.pt
    remote_code: bool = False  # only the checkpoint's own Python (auto_map) can read it
    brings_code: bool = False  # it has such Python, needed or not
    gated: bool = False
    chat_template: bool | None = None
    template: str | None = Field(default=None, repr=False)  # its text, where it was read
    template_tools: bool | None = None  # whether it writes a request's tools into the prompt
    mistral_tokenizer: bool = False  # Mistral's own tokenizer and weights are there
    base_models: tuple[str, ...] = ()  # what it was made of: config.json's and the card's names
    generation: dict[str, Any] = {}
