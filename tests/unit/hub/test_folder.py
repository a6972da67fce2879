"""A checkpoint's folder, whole and broken."""

import os

import pytest

from deployctl import hub
from deployctl.errors import ModelError
from deployctl.hub import checkpoint
from deployctl.hub import folder as folder_module


def refused(path):
    with pytest.raises(ModelError) as caught:
        hub.fetch(str(path))
    return caught.value


def test_a_whole_checkpoint(tmp_path, kit):
    kit.write(
        tmp_path,
        {
            "config.json": kit.config,
            "generation_config.json": {"temperature": 0.7},
            "tokenizer_config.json": {"chat_template": "x"},
            "quantize_config.json": {"bits": 4},
            "model.safetensors": kit.weights,
            "onnx/model.onnx": b"12345",
            ".git/objects/x": b"1",
        },
    )
    found = hub.fetch(str(tmp_path))
    assert found.source == str(tmp_path)
    assert found.local
    assert found.revision is None
    assert found.config == kit.config
    assert found.generation_config == {"temperature": 0.7}
    assert found.tokenizer_config == {"chat_template": "x"}
    assert found.quantize_config == {"bits": 4}
    assert found.quantize_config_file == "quantize_config.json"
    assert found.files["model.safetensors"] == len(kit.weights)
    assert found.files["onnx/model.onnx"] == 5
    assert not any(name.startswith(".git") for name in found.files)
    assert [(t.name, t.nbytes) for t in found.tensors] == [("a.weight", 64), ("b.weight", 12)]


@pytest.mark.parametrize(
    "files",
    [
        {"preprocessor_config.json": {"max_pixels": 5}, "processor_config.json": {}},
        {"processor_config.json": {"image_processor": {"max_pixels": 5}}},
    ],
)
def test_how_a_model_that_sees_takes_images(tmp_path, kit, files):
    kit.write(tmp_path, {"config.json": {**kit.config, "vision_config": {}}, **files})
    assert hub.fetch(str(tmp_path)).image_processor == {"max_pixels": 5}
    # Who sees nothing has none, whatever lies beside; and what is no object counts as absent.
    kit.write(tmp_path, {"config.json": kit.config})
    assert hub.fetch(str(tmp_path)).image_processor is None


def test_an_image_processor_that_is_none(tmp_path, kit):
    seeing = {"config.json": {**kit.config, "vision_config": {}}}
    kit.write(tmp_path, {**seeing, "processor_config.json": {"image_processor": 3}})
    assert hub.fetch(str(tmp_path)).image_processor is None
    kit.write(tmp_path, {**seeing, "preprocessor_config.json": b"["})
    assert "/preprocessor_config.json:1" in refused(tmp_path).where


def test_modelopts_file_comes_before_the_others(tmp_path, kit):
    kit.write(tmp_path, {"config.json": {}, "quant_config.json": {}, "hf_quant_config.json": {}})
    assert hub.fetch(str(tmp_path)).quantize_config_file == "hf_quant_config.json"


def test_a_relative_folder_is_made_absolute(tmp_path, kit, monkeypatch):
    kit.write(tmp_path / "m", {"config.json": kit.config})
    monkeypatch.chdir(tmp_path)
    assert hub.fetch("./m").source == str(tmp_path / "m")
    assert hub.fetch("m").source == str(tmp_path / "m")


def test_a_missing_folder(tmp_path):
    error = refused(tmp_path / "absent")
    assert error.message == "there is no such folder"
    assert error.where == str(tmp_path / "absent")
    assert error.hint


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("adapter_config.json", "LoRA"),
        ("params.json", "Mistral"),
        ("model_index.json", "diffusers"),
        ("notes.txt", "holds config.json"),
    ],
)
def test_a_folder_without_config(tmp_path, kit, name, hint):
    kit.write(tmp_path, {name: {}})
    error = refused(tmp_path)
    assert "no config.json" in error.message
    assert error.where == str(tmp_path)
    assert hint in error.hint


def test_a_folder_without_config_is_not_searched(tmp_path, kit, monkeypatch):
    kit.write(tmp_path, {"deep/er/x.txt": b""})
    scanned = []
    scan = folder_module._scan
    monkeypatch.setattr(folder_module, "_scan", lambda *a: scanned.append(a) or scan(*a))
    refused(tmp_path)
    assert len(scanned) == 1


def test_a_file_in_place_of_a_folder(tmp_path, kit):
    kit.write(tmp_path, {"model.safetensors": kit.weights})
    assert "a file, not" in refused(tmp_path / "model.safetensors").message


def test_broken_json_is_named_with_its_line(tmp_path, kit):
    kit.write(tmp_path, {"config.json": '{\n"a": }'})
    assert refused(tmp_path).where == f"{tmp_path}/config.json:2:6"


def test_a_document_that_is_too_large(tmp_path, kit, monkeypatch):
    monkeypatch.setattr(checkpoint, "MAX_JSON", 64)
    kit.write(tmp_path, {"config.json": {"a": "x" * 100}})
    error = refused(tmp_path)
    assert "larger than" in error.message
    assert error.where == f"{tmp_path}/config.json"


def test_a_folder_with_too_many_files(tmp_path, kit, monkeypatch):
    monkeypatch.setattr(folder_module, "MAX_FILES", 3)
    kit.write(tmp_path, {"config.json": {}, **{f"{i}.txt": b"" for i in range(4)}})
    assert "more than 3 files" in refused(tmp_path).message


@pytest.mark.parametrize("keep", [0, 7, 8, 60, -1])
def test_a_truncated_shard(tmp_path, kit, keep):
    kit.write(tmp_path, {"config.json": kit.config, "model.safetensors": kit.weights[:keep]})
    error = refused(tmp_path)
    assert "cut short" in error.message
    assert error.where == f"{tmp_path}/model.safetensors"
    assert error.exit_code == 2


def test_an_unfetched_lfs_pointer(tmp_path, kit):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"
    kit.write(tmp_path, {"config.json": kit.config, "model.safetensors": pointer})
    assert "git lfs pull" in refused(tmp_path).hint


def sharded(kit, weight_map):
    first = kit.safetensors({"a": ("F16", [2], 4)})
    second = kit.safetensors({"b": ("F16", [2], 4)})
    return {
        "config.json": kit.config,
        "model-1.safetensors": first,
        "model-2.safetensors": second,
        "consolidated.safetensors": first,
        "model.safetensors.index.json": {"weight_map": weight_map},
    }


def test_shards_of_an_index(tmp_path, kit):
    kit.write(tmp_path, sharded(kit, {"a": "model-1.safetensors", "b": "model-2.safetensors"}))
    assert [t.name for t in hub.fetch(str(tmp_path)).tensors] == ["a", "b"]


def test_without_an_index_mistrals_second_copy_does_not_count(tmp_path, kit):
    files = sharded(kit, {})
    del files["model.safetensors.index.json"]
    kit.write(tmp_path, files)
    assert [t.name for t in hub.fetch(str(tmp_path)).tensors] == ["a", "b"]


def test_a_missing_shard(tmp_path, kit):
    kit.write(tmp_path, sharded(kit, {"a": "model-1.safetensors", "c": "model-3.safetensors"}))
    error = refused(tmp_path)
    assert error.message == "shard model-3.safetensors is missing"
    assert error.where.endswith("model.safetensors.index.json")


def test_a_shard_of_another_checkpoint(tmp_path, kit):
    kit.write(tmp_path, sharded(kit, {"a": "model-1.safetensors", "x": "model-2.safetensors"}))
    error = refused(tmp_path)
    assert "'x' is not in the shard" in error.message
    assert error.where.endswith("model-2.safetensors")


def test_links_as_the_hubs_cache_has_them(tmp_path, kit):
    kit.write(tmp_path / "blobs", {"1": kit.config, "2": kit.weights})
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").symlink_to("../blobs/1")
    (snapshot / "model.safetensors").symlink_to("../blobs/2")
    assert len(hub.fetch(str(snapshot)).tensors) == 2


def test_a_link_to_nowhere(tmp_path, kit):
    kit.write(tmp_path, {"config.json": kit.config})
    (tmp_path / "model.safetensors").symlink_to("gone")
    assert refused(tmp_path).message == "the link is broken"


def test_a_link_to_itself(tmp_path):
    (tmp_path / "config.json").symlink_to("config.json")
    assert "cannot be read" in refused(tmp_path).message


def test_a_link_out_to_a_loop_of_folders(tmp_path, kit):
    kit.write(tmp_path, {"config.json": kit.config})
    (tmp_path / "loop").symlink_to(tmp_path)
    assert list(hub.fetch(str(tmp_path)).files) == ["config.json"]


def test_a_named_pipe_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "config.json")
    assert refused(tmp_path).message == "this is not a regular file"


def test_a_device(tmp_path):
    (tmp_path / "config.json").symlink_to("/dev/zero")
    assert refused(tmp_path).message == "this is not a regular file"


def test_a_folder_in_place_of_config(tmp_path):
    (tmp_path / "config.json").mkdir()
    assert "no config.json" in refused(tmp_path).message


def test_a_file_that_may_not_be_read(tmp_path, kit, monkeypatch):
    kit.write(tmp_path, {"config.json": kit.config})

    def denied(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folder_module.os, "open", denied)
    assert refused(tmp_path).message == "cannot be read: permission denied"


def test_file_names_that_no_terminal_should_see(tmp_path, kit):
    kit.write(tmp_path, {"config.json": kit.config, "a\x1b[2J.bin": b""})
    assert list(hub.fetch(str(tmp_path)).files) == ["config.json"]


def test_the_hubs_cache_when_offline(tmp_path, kit, monkeypatch):
    root = tmp_path / "hub" / "models--org--model"
    kit.write(root / "snapshots" / kit.commit, {"config.json": kit.config})
    kit.write(root / "refs", {"main": kit.commit})
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for revision in (None, "main", kit.commit):
        found = hub.fetch("org/model", revision=revision)
        assert (found.source, found.local, found.revision) == ("org/model", False, kit.commit)


@pytest.mark.parametrize("revision", [None, "v2"])
def test_offline_and_not_in_the_cache(tmp_path, monkeypatch, revision):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(hub.HubError) as caught:
        hub.fetch("org/model", revision=revision)
    assert caught.value.exit_code == 4


def test_a_template_in_a_file_of_its_own(tmp_path, kit):
    files = {"config.json": kit.config, "model.safetensors": kit.weights}
    named = {"chat_template.json": {"chat_template": "of a processor"}}
    assert hub.fetch(str(kit.write(tmp_path, files))).chat_template is None
    assert hub.fetch(str(kit.write(tmp_path, named))).chat_template == "of a processor"
    # For requests with tools, the tokenizer's comes before the processor's.
    kit.write(tmp_path, {"tokenizer_config.json": {"chat_template": "of a tokenizer"}})
    assert hub.fetch(str(tmp_path)).chat_template is None
    kit.write(tmp_path, {"chat_template.jinja": "{{ tools }}"})
    assert hub.fetch(str(tmp_path)).chat_template == "{{ tools }}"


@pytest.mark.parametrize(
    ("card", "named"),
    [
        ("---\nbase_model: org/one\n---\n# A model", ("org/one",)),
        ("---\nbase_model:\n- org/one\n- org/two\n---\n", ("org/one", "org/two")),
        ("---\nbase_model: [1, null, org/one]\n---\n", ("org/one",)),
        ("---\nbase_model: org/one\n", ()),
        ("---\n[broken\n---\n", ()),
        ("---\n- a list\n---\n", ()),
        ("# A model\n---\nbase_model: org/one\n---\n", ()),
        ("", ()),
    ],
)
def test_what_a_card_says_it_was_made_of(tmp_path, kit, card, named):
    files = {"config.json": kit.config, "model.safetensors": kit.weights, "README.md": card}
    assert hub.fetch(str(kit.write(tmp_path, files))).base_models == named


def test_the_headers_of_all_shards_have_one_budget(tmp_path, kit, monkeypatch):
    files = {f"model-{n:05d}-of-00010.safetensors": kit.weights for n in range(1, 11)}
    kit.write(tmp_path, {"config.json": kit.config, **files})
    assert len(hub.fetch(str(tmp_path)).tensors) == 20
    size = int.from_bytes(kit.weights[:8], "little")
    monkeypatch.setattr(checkpoint, "MAX_HEADERS", 10 * size - 1)
    error = refused(tmp_path)
    assert "too large, all together" in error.message
    assert error.where.endswith("model-00010-of-00010.safetensors")
    assert error.hint
    monkeypatch.setattr(checkpoint, "MAX_HEADERS", 10 * size)
    marks = sum(map(kit.weights[8 : 8 + size].count, (b",", b":", b"[", b"{")))
    monkeypatch.setattr(checkpoint, "MAX_MARKS", 10 * marks - 1)
    assert "too large, all together" in refused(tmp_path).message
    monkeypatch.setattr(checkpoint, "MAX_SHARDS", 9)
    assert "more than 9 files" in refused(tmp_path).message
