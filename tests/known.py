"""Models that many tests plan or render: one by its facts, and a tiny one as a folder."""

import json

from deployctl.hardware import load_profile
from deployctl.model.facts import Architecture, ModelFacts, Quantization
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec

QWEN = Architecture(
    name="Qwen2ForCausalLM",
    model_type="qwen2",
    num_layers=28,
    hidden_size=3584,
    intermediate_size=18944,
    num_heads=28,
    num_kv_heads=4,
    head_dim=128,
    vocab_size=152064,
    tied_embeddings=False,
    max_position_embeddings=32768,
    dtype="float16",
)
FORMATS = {
    "awq": ("-AWQ", Quantization(method="awq", bits=4, group_size=128, zero_point=True), 5.57e9),
    "gptq": ("-GPTQ-Int4", Quantization(method="gptq", bits=4, group_size=128, symmetric=True),
             5.57e9),
    "unquantized": ("", None, 15.23e9),
}  # fmt: skip


def planned(method, gpu, **settings):
    """Plans Qwen2.5-7B-Instruct: (plan, spec, profile)."""
    suffix, quantization, stored = FORMATS[method]
    model = "Qwen/Qwen2.5-7B-Instruct" + suffix
    spec = ServiceSpec(model=model, gpu=gpu, **{"max_model_len": 8192, **settings})
    facts = ModelFacts(
        source=model,
        local=False,
        revision="0123456789abcdef0123456789abcdef01234567",
        format="safetensors",
        engine="vllm",
        architecture=QWEN,
        quantization=quantization,
        parameters=7_615_616_512,
        weight_bytes=int(stored),
        bytes_by_dtype={"F16": int(stored)}
        if quantization is None
        else {"I32": 3_370_000_000, "F16": 2_200_000_000},
        headers_read=True,
    )
    profile = load_profile(gpu)
    return make_plan(spec, facts, profile), spec, profile


def tiny_folder(folder, **config):
    """A checkpoint of two layers as the plan reads it: documents, and headers of one tensor."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**TINY, **config}))
    described = {"w": {"dtype": "F16", "shape": [16, 16], "data_offsets": [0, 512]}}
    header = json.dumps(described).encode()
    raw = len(header).to_bytes(8, "little") + header + bytes(512)
    (folder / "model.safetensors").write_bytes(raw)
    (folder / "tokenizer.json").write_text("{}")
    return folder


TINY = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
    "max_position_embeddings": 2048,
    "torch_dtype": "float16",
}
