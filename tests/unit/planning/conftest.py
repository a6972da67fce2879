"""Configs of published models, and a short way from one to its plan."""

import pytest

from deployctl.hardware import load_profile
from deployctl.model import Documents, facts_from
from deployctl.planning.make import make_plan
from deployctl.spec import ServiceSpec

CONFIGS = {
    "llama-8b": {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
        "max_position_embeddings": 131072,
        "torch_dtype": "bfloat16",
    },
    "qwen2.5-7b": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": 28,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
    },
    "gemma3-1b": {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "num_hidden_layers": 26,
        "hidden_size": 1152,
        "intermediate_size": 6912,
        "num_attention_heads": 4,
        "num_key_value_heads": 1,
        "head_dim": 256,
        "vocab_size": 262144,
        "tie_word_embeddings": True,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
        "sliding_window": 512,
        "sliding_window_pattern": 6,
    },
    "qwen2-72b": {
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "num_hidden_layers": 80,
        "hidden_size": 8192,
        "intermediate_size": 29568,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "vocab_size": 152064,
        "tie_word_embeddings": False,
        "max_position_embeddings": 32768,
        "torch_dtype": "bfloat16",
    },
}
CONFIGS["experts"] = {
    **CONFIGS["llama-8b"],
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "hidden_size": 2048,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}
AWQ = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": False, "sym": True}
FILES = {"config.json": 1, "model.safetensors": 1}


@pytest.fixture
def config():
    """`config("llama-8b", quantization_config=…)`: a published config with changes."""

    def get(name, **changes):
        return {**CONFIGS[name], **changes}

    return get


@pytest.fixture
def facts():
    """Facts of a config, as a local safetensors checkpoint whose headers were not read."""

    def get(config, files=FILES, **more):
        return facts_from(
            Documents(source="/models/m", local=True, config=config, files=files, **more)
        )

    return get


@pytest.fixture
def plan(facts):
    """`plan(config, gpu="l4", max_model_len=4096, …)`."""

    def get(config, gpu="h100", files=FILES, image_processor=None, **settings):
        spec = ServiceSpec(model="/models/m", gpu=gpu, **settings)
        known = facts(config, files, image_processor=image_processor)
        return make_plan(spec, known, load_profile(gpu))

    return get


@pytest.fixture
def codes():
    """The codes of a plan's reasons."""
    return lambda plan: [reason.code for reason in plan.reasons]


@pytest.fixture
def warned():
    """The codes of a plan's warnings."""
    return lambda plan: [warning.code for warning in plan.warnings]
