"""Which layers see everything. Expected patterns are those of the published models."""

import pytest

F, S, C, L = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"


@pytest.fixture
def layers(arch, llama):
    """`layers(model_type, count, …)`: the window, and each layer's kind by its first letter."""

    def read(model_type, count, **fields):
        a = arch({**llama, "model_type": model_type, "num_hidden_layers": count, **fields})
        return a.sliding_window, "".join(kind[0] for kind in a.layer_types)

    return read


@pytest.mark.parametrize(
    ("model_type", "count", "fields", "expected"),
    [
        ("llama", 4, {}, (None, "")),
        ("llama", 4, {"layer_types": [F] * 4}, (None, "")),
        ("mistral", 3, {"sliding_window": 4096}, (4096, "sss")),
        ("mistral", 3, {"sliding_window": None}, (None, "")),
        ("mistral", 3, {}, (None, "")),
        ("phi3", 2, {"sliding_window": 2047}, (2047, "ss")),
        ("phi3", 2, {"sliding_window": 0}, (None, "")),
        ("qwen2", 4, {"sliding_window": 4096, "use_sliding_window": False}, (None, "")),
        ("qwen2", 4, {"sliding_window": 4096}, (None, "")),
        (
            "qwen2",
            4,
            {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 2},
            (4096, "ffss"),
        ),
        (
            "qwen2",
            4,
            {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 4},
            (None, ""),
        ),
        (
            "qwen2_moe",
            4,
            {"sliding_window": 4096, "use_sliding_window": True, "max_window_layers": 3},
            (4096, "sfsf"),
        ),
        ("gemma2", 4, {"sliding_window": 4096}, (4096, "sfsf")),
        ("gemma2", 4, {}, (4096, "sfsf")),
        ("gemma3_text", 7, {"sliding_window": 512}, (512, "sssssfs")),
        ("gemma3_text", 4, {"sliding_window": 512, "sliding_window_pattern": 2}, (512, "sfsf")),
        ("gemma3n_text", 6, {}, (512, "ssssfs")),
        ("gemma4_text", 8, {}, (512, "sssssfsf")),
        ("cohere2", 5, {"sliding_window": 4096}, (4096, "sssfs")),
        ("gpt_oss", 4, {"sliding_window": 128}, (128, "sfsf")),
        ("olmo3", 5, {"sliding_window": 4096}, (4096, "sssfs")),
        (
            "exaone4",
            6,
            {"sliding_window": 4096, "sliding_window_pattern": "LLLG"},
            (4096, "sssfsf"),
        ),
        ("exaone4", 4, {"sliding_window": None}, (None, "")),
        ("llama4_text", 5, {"attention_chunk_size": 8192}, (8192, "cccfc")),
        ("llama4_text", 4, {"no_rope_layers": [1, 0, 1, 1]}, (8192, "cfcc")),
        ("qwen3_next", 5, {}, (None, "lllfl")),
        ("jamba", 8, {"attn_layer_period": 8, "attn_layer_offset": 4}, (None, "llllflll")),
        ("lfm2", 4, {"full_attn_idxs": [2]}, (None, "ccfc")),
        ("minimax", 3, {"attn_type_list": [0, 0, 1]}, (None, "llf")),
        ("kimi_linear", 4, {"linear_attn_config": {"full_attn_layers": [4]}}, (None, "lllf")),
        ("nemotron_h", 4, {"hybrid_override_pattern": "M-*E"}, (None, "lmfm")),
        ("x", 2, {"sliding_window": 256, "layer_types": [S, F]}, (256, "sf")),
        ("x", 2, {"layers_block_type": ["mamba", "attention"]}, (None, "lf")),
        ("x", 2, {"sliding_window": 64, "layer_types": [S, F, F]}, (64, "sf")),
    ],
)
def test_kinds(layers, model_type, count, fields, expected):
    window, kinds = layers(model_type, count, **fields)
    assert (window, kinds) == expected
