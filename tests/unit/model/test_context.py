"""How many tokens, and how rotary scaling changes it."""

import pytest


@pytest.mark.parametrize(
    ("fields", "longest", "usual"),
    [
        ({}, 8192, 8192),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, 16384, 16384),
        ({"rope_scaling": {"rope_type": "dynamic", "factor": 4}}, 32768, 32768),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, 8192, 8192),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, 8192, 8192),
        ({"rope_scaling": {"type": "linear", "factor": None}}, 8192, 8192),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [1]}}, 8192, 8192),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2}}, 16384, 16384),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 8},
                                 "sliding_attention": {"rope_type": "default"}}},
            65536,
            65536,
        ),
        (
            {"rope_scaling": {"type": "longrope"}, "original_max_position_embeddings": 4096},
            8192,
            4096,
        ),
        ({"rope_scaling": {"type": "su"}, "original_max_position_embeddings": 4096}, 8192, 4096),
        ({"rope_scaling": {"type": "longrope"}}, 8192, 8192),
        ({"max_seq_len": 2048}, 2048, 2048),
        ({"model_max_length": 131072}, 131072, 131072),
        ({"max_position_embeddings": None, "seq_length": 4096}, 4096, 4096),
        ({"max_position_embeddings": None}, 2048, 2048),
        ({"max_position_embeddings": None, "model_type": "unheard_of"}, 2048, 2048),
    ],
)  # fmt: skip
def test_lengths(arch, llama, fields, longest, usual):
    a = arch({**llama, "max_position_embeddings": 8192, "rope_scaling": None, **fields})
    assert (a.max_position_embeddings, a.default_model_len) == (longest, usual)


def test_gemma_3_is_scaled_already(arch, llama):
    config = {**llama, "model_type": "gemma3_text"}
    config["rope_scaling"] = {"rope_type": "linear", "factor": 8.0}
    assert arch(config).max_position_embeddings == 131072
