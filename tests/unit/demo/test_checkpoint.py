"""The checkpoint's folder: whole or not there, kept if finished, never over a stranger's."""

import errno
import json
import os

import numpy as np
import pytest

from deployctl.demo import checkpoint, source
from deployctl.errors import InputError, TargetError


def ignore(what, done, total):
    assert 0 <= done <= total
    assert what


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """No packages: a stand-in tokenizer of 64 words and weights straight from numpy."""

    def tokenizer(gguf_file, work, progress):
        (work / "tokenizer.json").write_text("{}")
        return 64

    def weights(origin, fmt, work, progress):
        for name, weight in origin.weights:
            for key, tensor in checkpoint.quantized_tensors(name, weight, fmt).items():
                assert tensor.size, key
        (work / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(source, "find_gguf", lambda: tmp_path / "model.gguf")
    monkeypatch.setattr(checkpoint, "_save_tokenizer", tokenizer)
    monkeypatch.setattr(checkpoint, "_save_weights", weights)


def leftovers(folder):
    return [p.name for p in folder.iterdir() if ".building-" in p.name]


def test_a_build_leaves_the_whole_folder_and_nothing_else(parts, tmp_path):
    built = checkpoint.build(tmp_path / "out" / "m", "awq", "tiny", ignore)
    assert sorted(p.name for p in built.folder.iterdir()) == [
        "config.json",
        "deployctl-demo.json",
        "generation_config.json",
        "model.safetensors",
        "tokenizer.json",
    ]
    assert not built.reused
    assert not leftovers(tmp_path / "out")
    config = json.loads((built.folder / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "awq"
    assert config["vocab_size"] == 64


def test_a_finished_build_is_kept(parts, tmp_path, monkeypatch):
    first = checkpoint.build(tmp_path / "m", "gptq", "tiny", ignore)
    monkeypatch.setattr(source, "find_gguf", lambda: pytest.fail("it was built again"))
    again = checkpoint.build(tmp_path / "m", "gptq", "tiny", ignore)
    assert again == first._replace(reused=True)


@pytest.mark.parametrize("other", [("gptq", "tiny"), ("awq", "full")])
def test_another_build_in_the_folder_is_not_overwritten(parts, tmp_path, other):
    checkpoint.build(tmp_path / "m", "awq", "tiny", ignore)
    with pytest.raises(InputError, match="something else"):
        checkpoint.build(tmp_path / "m", *other, ignore)


def test_a_strangers_folder_is_refused_and_untouched(parts, tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError) as caught:
        checkpoint.build(tmp_path, "awq", "tiny", ignore)
    assert caught.value.where == str(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_an_empty_folder_is_filled(parts, tmp_path):
    (tmp_path / "m").mkdir()
    assert checkpoint.build(tmp_path / "m", "awq", "tiny", ignore).stored_bytes > 0


@pytest.mark.parametrize("there", [True, False])
def test_where_a_link_leads_it_is_built(parts, tmp_path, there):
    """It failed at the end, where the whole checkpoint was to take the link's place."""
    if there:
        (tmp_path / "m").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "m")
    assert checkpoint.build(tmp_path / "link", "awq", "tiny", ignore).folder == tmp_path / "m"
    assert checkpoint.build(tmp_path / "link", "awq", "tiny", ignore).reused


def test_a_mount_point_is_refused_before_anything_is_read(parts, tmp_path, monkeypatch):
    monkeypatch.setattr(source, "find_gguf", lambda: pytest.fail("it was built"))
    monkeypatch.setattr(checkpoint.Path, "is_mount", lambda self: self == tmp_path)
    with pytest.raises(InputError, match="mount point"):
        checkpoint.build(tmp_path, "awq", "tiny", ignore)


def test_a_failure_half_way_leaves_nothing(parts, tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint, "_save_weights", full)
    with pytest.raises(TargetError, match="No space left") as caught:
        checkpoint.build(tmp_path / "m", "awq", "tiny", ignore)
    assert "df -h" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_what_a_killed_build_left_is_removed_and_a_living_ones_is_not(parts, tmp_path):
    dead, alive = tmp_path / ".m.building-999999999", tmp_path / f".m.building-{os.getppid()}"
    dead.mkdir()
    alive.mkdir()
    checkpoint.build(tmp_path / "m", "awq", "tiny", ignore)
    assert leftovers(tmp_path) == [alive.name]


def test_losing_a_race_to_the_same_build_is_no_failure(parts, tmp_path, monkeypatch):
    def meanwhile(*args):
        (tmp_path / "m").mkdir()
        (tmp_path / "m" / checkpoint.MARKER).write_text(
            json.dumps(
                {
                    "recipe": checkpoint.RECIPE,
                    "format": "awq",
                    "size": "tiny",
                    "group_size": checkpoint.GROUP_SIZE,
                }
            )
        )

    monkeypatch.setattr(checkpoint, "_save_config", meanwhile)
    assert checkpoint.build(tmp_path / "m", "awq", "tiny", ignore).reused
    assert not leftovers(tmp_path)


def test_only_linear_weights_are_quantized():
    kinds = {}
    for name, weight in source.random(64).weights:
        for key, tensor in checkpoint.quantized_tensors(name, weight, "awq").items():
            kinds[key] = tensor.dtype
    assert kinds["model.embed_tokens.weight"] == np.float16
    assert kinds["model.norm.weight"] == np.float16
    assert kinds["model.layers.0.self_attn.q_proj.qweight"] == np.int32
    assert "model.layers.0.self_attn.q_proj.weight" not in kinds
