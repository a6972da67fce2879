"""Configs of published checkpoints, as far as the numbers go, and a way to read them."""

import pytest

from deployctl.model import Documents, facts_from

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0},
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
WEIGHTS = {"config.json": 1, "model.safetensors": 1000}


@pytest.fixture
def llama():
    """Llama 3.1 8B; tests change what they are about."""
    return {**LLAMA}


@pytest.fixture
def facts():
    """`facts(config, files=…, …)`: the facts of a checkpoint with that config.json."""

    def read(config, files=None, **documents):
        return facts_from(
            Documents(source="/m", local=True, config=config, files=files or WEIGHTS, **documents)
        )

    return read


@pytest.fixture
def arch(facts):
    """`arch(config)`: its architecture."""
    return lambda config, **documents: facts(config, **documents).architecture
