"""Names and orders between a GGUF file and a checkpoint."""

import numpy as np
import pytest

from deployctl.demo import source
from deployctl.errors import TargetError


@pytest.mark.parametrize(
    ("gguf", "checkpoint"),
    [
        ("token_embd.weight", "model.embed_tokens.weight"),
        ("output_norm.weight", "model.norm.weight"),
        ("blk.0.attn_q.weight", "model.layers.0.self_attn.q_proj.weight"),
        ("blk.29.ffn_down.weight", "model.layers.29.mlp.down_proj.weight"),
        ("blk.7.ffn_norm.weight", "model.layers.7.post_attention_layernorm.weight"),
    ],
)
def test_tensors_are_renamed(gguf, checkpoint):
    assert source.checkpoint_name(gguf) == checkpoint


@pytest.mark.parametrize("name", ["blk.0.attn_q.bias", "rope_freqs.weight", "blk.x", ""])
def test_an_unknown_tensor_is_named(name):
    with pytest.raises(TargetError, match="unknown tensor"):
        source.checkpoint_name(name)


def test_rope_pairs_become_halves():
    # One head of four outputs: GGUF has the pairs (0,2) and (1,3) beside each other.
    interleaved = np.float32([[0], [2], [1], [3]])
    assert source.undo_rope_order(interleaved, heads=1).ravel().tolist() == [0, 1, 2, 3]


def test_heads_keep_to_themselves():
    two = np.arange(16, dtype=np.float32).reshape(8, 2)
    whole = source.undo_rope_order(two, heads=2)
    assert np.array_equal(whole[:4], source.undo_rope_order(two[:4], heads=1))


def test_the_random_model_is_the_same_each_time_and_of_the_stated_shape():
    first, second = (dict(source.random(64).weights) for _ in range(2))
    assert first.keys() == second.keys()
    assert all(np.array_equal(first[name], second[name]) for name in first)
    assert len(first) == source.random(64).total
    assert first["model.embed_tokens.weight"].shape == (64, 128)


def test_a_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(source, "PACKAGE", "deployctl_no_such_package")
    with pytest.raises(TargetError) as caught:
        source.find_gguf()
    assert "pip install" in caught.value.hint
