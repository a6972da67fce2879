"""Which files an engine reads of a checkpoint: those and no others are fetched."""

import json

import pytest

from deployctl import hub
from deployctl.errors import ModelError

BESIDE = {
    "README.md": "x",
    ".gitattributes": "x",
    "original/params.json": {},
    "original/consolidated.00.pth": b"x",
    "onnx/model.json": {},
    "model-Q4.gguf": b"x",
    "flax_model.msgpack": b"x",
    "picture.png": b"x",
}
DOCUMENTS = {"tokenizer.json": {}, "chat_template.jinja": "x", "modeling_x.py": "x"}


def listed(kit, files, **info):
    server = kit.hub({"config.json": kit.config, **files}, **info)
    with server.client() as client:
        return hub.listing("org/model", client=client, sleep=lambda _: None)


def names(listing):
    return {file.name for file in listing.files} - {"config.json"}


def test_documents_and_safetensors_alone(kit):
    found = listed(
        kit,
        {**BESIDE, **DOCUMENTS, "model.safetensors": kit.weights, "pytorch_model.bin": b"x"},
    )
    assert names(found) == {*DOCUMENTS, "model.safetensors"}
    assert found.commit == kit.commit
    assert {f.name: f.size for f in found.files}["model.safetensors"] == len(kit.weights)


def test_the_shards_that_the_index_names(kit):
    index = {"weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}}
    shards = {f"model-{n}.safetensors": kit.weights for n in (1, 2)}
    beside = {"model.fp16.safetensors": b"x", "consolidated.safetensors": b"x"}
    index_file = "model.safetensors.index.json"
    found = listed(kit, {**shards, **beside, index_file: json.dumps(index)})
    assert names(found) == {*shards, index_file}


def test_a_shard_that_the_index_names_and_nobody_has(kit):
    index = {"weight_map": {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}}
    files = {"model-1.safetensors": kit.weights, "model.safetensors.index.json": json.dumps(index)}
    with pytest.raises(ModelError, match=r"shard model-2\.safetensors is missing"):
        listed(kit, files)


def test_pickle_where_there_is_nothing_else(kit):
    found = listed(kit, {"pytorch_model.bin": b"x", "training_args.bin": b"x"})
    assert names(found) == {"pytorch_model.bin"}


def test_modules_of_an_embedding_model_have_weights_of_their_own(kit):
    dense = {"2_Dense/config.json": {}, "2_Dense/model.safetensors": kit.weights}
    found = listed(kit, {**dense, "modules.json": [], "model.safetensors": kit.weights})
    assert names(found) == {*dense, "modules.json", "model.safetensors"}


def test_what_vllm_does_not_read_is_not_fetched(kit):
    with pytest.raises(ModelError, match="no weights here that vLLM reads"):
        listed(kit, {"model-Q4.gguf": b"x"})
