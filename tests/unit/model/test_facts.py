"""Formats, counts, and what else a checkpoint says of itself."""

import pytest

from deployctl.errors import ModelError
from deployctl.model import Documents, TensorInfo, facts_from, meaning


@pytest.mark.parametrize(
    ("files", "kind", "engine", "size"),
    [
        ({"model.safetensors": 10, "pytorch_model.bin": 7}, "safetensors", "vllm", 10),
        ({"a-1.safetensors": 3, "a-2.safetensors": 4, "consolidated.safetensors": 7},
         "safetensors", "vllm", 7),
        ({"consolidated.safetensors": 7}, "safetensors", "vllm", 7),
        ({"pytorch_model-1.bin": 5, "pytorch_model-2.bin": 6, "training_args.bin": 9},
         "pickle", "vllm", 11),
        ({"model.pt": 5, "optimizer.pt": 50}, "pickle", "vllm", 5),
        ({"m-Q4_K_M.gguf": 5}, "gguf", "llama.cpp", 5),
        ({"onnx/model.onnx": 5, "x.txt": 1}, "onnx", "onnxruntime", 5),
        ({"training_args.bin": 5}, "unknown", "none", None),
        ({"tf_model.h5": 5}, "unknown", "none", None),
        ({"model.safetensors": None}, "safetensors", "vllm", None),
        ({"sub/model.safetensors": 3}, "unknown", "none", None),
    ],
)  # fmt: skip
def test_formats(facts, llama, files, kind, engine, size):
    found = facts(llama, files=files)
    assert (found.format, found.engine, found.weight_bytes) == (kind, engine, size)
    assert found.pickle == (kind == "pickle")


def tensor(name, dtype, *shape, nbytes=8):
    return TensorInfo(name=name, dtype=dtype, shape=shape, nbytes=nbytes)


def test_parameters_of_a_plain_checkpoint(facts, llama):
    tensors = (tensor("a.weight", "BF16", 10, 20), tensor("b.bias", "F32", 7))
    found = facts(llama, tensors=tensors)
    assert found.parameters == 207
    assert found.headers_read
    assert found.bytes_by_dtype == {"BF16": 8, "F32": 8}
    assert found.weight_bytes == 16


def test_parameters_of_a_packed_one(facts, llama):
    llama["quantization_config"] = {"quant_method": "awq", "bits": 4, "group_size": 128}
    tensors = (
        tensor("l.qweight", "I32", 128, 16),  # eight to a word: 128 x 128
        tensor("l.qzeros", "I32", 1, 16),
        tensor("l.scales", "F16", 1, 128),
        tensor("l.g_idx", "I32", 128),
        tensor("norm.weight", "F16", 128),
    )
    assert facts(llama, tensors=tensors).parameters == 128 * 128 + 128


def test_parameters_in_bytes_and_in_eight_bits(facts, llama):
    llama["quantization_config"] = {"quant_method": "mxfp4"}
    tensors = (tensor("e.gate_up_proj_blocks", "U8", 64), tensor("e.gate_up_proj_scales", "U8", 4))
    assert facts(llama, tensors=tensors).parameters == 128
    llama["quantization_config"] = {"quant_method": "fp8"}
    tensors = (tensor("w.weight", "F8_E4M3", 64), tensor("w.weight_scale_inv", "F32", 1))
    assert facts(llama, tensors=tensors).parameters == 64


def test_without_headers_nothing_is_counted(facts, llama):
    found = facts(llama)
    assert found.parameters is None
    assert not found.headers_read


@pytest.mark.parametrize(
    ("config", "tokenizer", "brings", "needed"),
    [
        ({}, None, False, False),
        ({"auto_map": {"AutoConfig": "x.Y"}}, None, True, False),
        ({"auto_map": {"AutoConfig": "x.Y"}, "model_type": "nobody_knows"}, None, True, True),
        ({}, {"auto_map": {"AutoTokenizer": ["x.Y", None]}}, True, True),
        ({"auto_map": {}}, {"auto_map": None}, False, False),
    ],
)
def test_code_of_its_own_is_needed_only_where_the_engine_has_none(
    facts, llama, config, tokenizer, brings, needed
):
    found = facts({**llama, **config}, tokenizer_config=tokenizer)
    assert (found.brings_code, found.remote_code) == (brings, needed)


@pytest.mark.parametrize(
    ("files", "tokenizer", "expected"),
    [
        ({}, None, None),
        ({}, {}, False),
        ({}, {"chat_template": "x"}, True),
        ({"chat_template.jinja": 5}, {}, True),
    ],
)
def test_chat_template(facts, llama, files, tokenizer, expected):
    found = facts(llama, files={"model.safetensors": 1, **files}, tokenizer_config=tokenizer)
    assert found.chat_template is expected


def test_what_the_documents_say_is_passed_on():
    found = facts_from(
        Documents(
            source="o/m",
            local=False,
            revision="abc",
            gated=True,
            files={"model.gguf": 1},
            generation_config={"top_p": 0.9},
        )
    )
    assert (found.source, found.local, found.revision, found.gated) == ("o/m", False, "abc", True)
    assert found.generation == {"top_p": 0.9}


@pytest.mark.parametrize("config", [{}, {"num_hidden_layers": 2}])
def test_a_config_that_names_no_model(facts, config):
    with pytest.raises(ModelError, match="neither model_type nor architectures"):
        facts(config)


def test_no_language_model(facts):
    found = facts({"model_type": "resnet", "architectures": ["ResNet"], "depths": [3, 4]})
    assert found.architecture is None
    assert [r.code for r in meaning.remarks(found)] == ["not_a_language_model"]
    assert not meaning.served(found)


def test_a_wrong_config_beside_onnx_is_another_engines_business(facts):
    found = facts({"model_type": "x", "num_hidden_layers": "?"}, files={"model.onnx": 1})
    assert found.architecture is None


def test_gguf(facts):
    metadata = {
        "general.architecture": "llama",
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.feed_forward_length": 14336,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.context_length": 8192,
        "tokenizer.ggml.tokens": {"length": 128256},
    }
    found = facts(None, files={"x-Q4_K_M.gguf": 9}, gguf=metadata)
    a, q = found.architecture, found.quantization
    assert (a.num_layers, a.num_heads, a.num_kv_heads, a.head_dim) == (32, 32, 8, 128)
    assert (a.vocab_size, a.max_position_embeddings) == (128256, 8192)
    assert (q.method, q.bits, q.packing) == ("gguf", 4, "Q4_K_M")


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"general.architecture": 3}, {"general.architecture": "x"},
     {"general.architecture": "x", "x.block_count": -1}],
)  # fmt: skip
def test_gguf_that_says_little(facts, metadata):
    found = facts(None, files={"model.gguf": 9}, gguf=metadata)
    assert found.architecture is None
    assert found.engine == "llama.cpp"


GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 128, "desc_act": True, "sym": True}


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"quant_method": "awq", "bits": 4}, "group_size and zero_point"),
        ({"quant_method": "awq", "w_bit": 4, "q_group_size": 128}, "say zero_point"),
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, "desc_act and sym"),
    ],
)
def test_settings_that_the_engine_insists_on(facts, llama, settings, names):
    found = facts({**llama, "quantization_config": settings})
    assert remarks(found) == {"quantization_incomplete": True}
    assert names in meaning.remarks(found)[0].message


def test_packed_weights_that_nothing_explains(facts, llama):
    found = facts(llama, tensors=(tensor("l.qweight", "I32", 8),))
    assert found.packed
    assert remarks(found) == {"quantization_undeclared": True}
    assert not meaning.served(found)


def remarks(found):
    return {r.code: r.blocks for r in meaning.remarks(found)}


def test_remarks(facts, llama):
    llama |= {"model_type": "nobody_knows", "auto_map": {"AutoConfig": "x.Y"}}
    llama["quantization_config"] = GPTQ
    found = facts(llama, files={"model.bin": 1}, gated=True, tokenizer_config={})
    assert remarks(found) == {
        "pickle": False,
        "act_order": False,
        "remote_code": False,
        "gated": False,
        "chat_template": False,
    }
    assert meaning.served(found)


@pytest.mark.parametrize("method", ["bitsandbytes", "hqq", "aqlm"])
def test_a_method_that_the_engine_does_not_have(facts, llama, method):
    llama["quantization_config"] = {"quant_method": method, "bits": 4}
    found = facts(llama)
    assert remarks(found) == {"quantization_unknown": True}
    assert not meaning.served(found)


def test_settings_where_the_engine_does_not_look(facts, llama):
    settings = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}
    found = facts(llama, quantize_config=settings, quantize_config_file="quantize_config.json")
    assert remarks(found) == {"quantization_file": False}
    assert "quantization=gptq" in meaning.remarks(found)[0].fix


def test_a_method_on_its_way_out(facts, llama):
    llama["quantization_config"] = {"quant_method": "fbgemm_fp8"}
    assert remarks(facts(llama)) == {"quantization_deprecated": False}


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True},
         "awq, 4 bits, groups of 128, zero points: "),
        ({"quant_method": "gptq", "bits": 4, "group_size": -1, "desc_act": True, "sym": False},
         "gptq, 4 bits, one scale a column, act-order, asymmetric: "),
        ({"quant_method": "hqq"}, "hqq: an unknown method"),
    ],
)  # fmt: skip
def test_description(facts, llama, settings, text):
    llama["quantization_config"] = settings
    assert meaning.describe(facts(llama).quantization).startswith(text)


def test_a_layer_is_numbered_in_digits_of_ours():
    from deployctl.model.weights import layer_bytes

    names = ("layers.².a", "layers.1.a", "layers.٣.a", f"layers.{'9' * 5000}.a", "layers.7.a")
    tensors = [TensorInfo(name=n, dtype="F16", shape=(1,), nbytes=2) for n in names]
    assert layer_bytes(tensors, 2, None) == 2 * 3  # all but those of layers 3 and 7
