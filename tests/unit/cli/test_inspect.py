"""`deployctl inspect`: the card, the JSON document, and what it refuses."""

import json
import struct
import sys

import pytest

from deployctl import hub
from deployctl.cli import app, inspect
from deployctl.model import Documents, TensorInfo, facts_from

AWQ = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "num_hidden_layers": 28,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152064,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "torch_dtype": "float16",
    "quantization_config": {
        "quant_method": "awq",
        "bits": 4,
        "group_size": 128,
        "zero_point": True,
        "version": "gemm",
    },
}
MOE = {
    "architectures": ["DeepseekV3ForCausalLM"],
    "model_type": "deepseek_v3",
    "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "kv_lora_rank": 512,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_shared_experts": 1,
    "moe_intermediate_size": 2048,
    "first_k_dense_replace": 3,
    "vocab_size": 129280,
    "max_position_embeddings": 163840,
    "torch_dtype": "bfloat16",
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}
GEMMA = {
    "architectures": ["Gemma3ForConditionalGeneration"],
    "model_type": "gemma3",
    "vision_config": {"hidden_size": 1152},
    "torch_dtype": "bfloat16",
    "text_config": {
        "model_type": "gemma3_text",
        "hidden_size": 2560,
        "intermediate_size": 10240,
        "num_hidden_layers": 34,
        "sliding_window": 1024,
    },
}
GPTQ = {
    **AWQ,
    "quantization_config": {
        "quant_method": "gptq",
        "bits": 4,
        "group_size": 128,
        "desc_act": True,
        "sym": True,
    },
}


def tensors(*rows):
    return tuple(TensorInfo(name=n, dtype=d, shape=s, nbytes=b) for n, d, s, b in rows)


CARDS = {
    "awq": Documents(
        source="Qwen/Qwen2.5-7B-Instruct-AWQ",
        local=False,
        revision="b25037543e9394b818fdfca67ab2a00ecc7dd641",
        config=AWQ,
        files={"model.safetensors": 5_570_000_000},
        tokenizer_config={"chat_template": "x"},
        tensors=tensors(
            ("model.layers.0.mlp.down_proj.qweight", "I32", (18944, 448), 33_947_648),
            ("model.embed_tokens.weight", "F16", (152064, 3584), 1_089_994_752),
        ),
    ),
    "moe": Documents(
        source="/models/v3", local=True, config=MOE, files={"m.safetensors": 688 << 30}
    ),
    "gemma": Documents(
        source="google/gemma",
        local=False,
        gated=True,
        config=GEMMA,
        files={"m.safetensors": 9 << 30},
    ),
    "pickle": Documents(
        source="/models/old",
        local=True,
        config=GPTQ,
        files={"pytorch_model.bin": 6 << 30},
        tokenizer_config={},
    ),
    "gguf": Documents(source="/models/q4", local=True, files={"m-Q4_K_M.gguf": 4 << 30}),
    "onnx": Documents(source="/models/onnx", local=True, files={"onnx/model.onnx": 1 << 30}),
}


@pytest.mark.parametrize("name", CARDS)
def test_the_card(golden, name):
    golden(f"inspect/{name}.txt", inspect.text(facts_from(CARDS[name])) + "\n")


def test_the_document(golden):
    document = inspect.document(facts_from(CARDS["awq"]))
    golden("inspect/awq.json", json.dumps(document, indent=2) + "\n")


@pytest.fixture
def checkpoint(tmp_path):
    header = json.dumps({"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "config.json").write_text(json.dumps(AWQ))
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    return tmp_path


@pytest.fixture
def run(monkeypatch, capsys):
    """`run(…)`: exit code, stdout and stderr of `deployctl inspect …`."""
    for name in ("DEPLOYCTL_MODEL", "DEPLOYCTL_REVISION", "DEPLOYCTL_HF_TOKEN_FILE", "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setitem(hub.fetch.__kwdefaults__, "sleep", lambda _: None)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["deployctl", "inspect", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            app.main()
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return call


def test_a_folder(run, checkpoint):
    code, out, err = run(checkpoint)
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == f"model         {checkpoint}"
    assert out.splitlines()[-1] == "vLLM serves it."
    assert "\x1b" not in out


@pytest.mark.parametrize("how", ["argument", "option", "environment"])
def test_three_ways_to_name_the_model(run, checkpoint, monkeypatch, how):
    if how == "environment":
        monkeypatch.setenv("DEPLOYCTL_MODEL", str(checkpoint))
    arguments = {"argument": [checkpoint], "option": ["--model", checkpoint], "environment": []}[
        how
    ]
    code, out, _ = run(*arguments, "--output", "json")
    document = json.loads(out)
    assert code == 0
    assert document["version"] == 1
    assert document["served"] is True
    assert document["source"] == str(checkpoint)
    assert document["quantization"]["method"] == "awq"
    assert "raw" not in document["architecture"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "a model is required"),
        (["/no/such/folder"], "there is no such folder"),
        (["../.."], "no config.json"),
        (["a/b/c"], "neither an existing folder nor a Hub id"),
        (["x; rm"], "neither an existing folder nor a Hub id"),
        (["--", "-rf"], "neither an existing folder nor a Hub id"),
        (["a\nb"], "unprintable"),
        (["org/model", "--revision", "../x"], "not a branch, tag or commit"),
        (["org/model", "--hf-token-file", "/no/such/file"], "cannot read the Hub token"),
    ],
)
def test_bad_input(run, arguments, says, tmp_path, monkeypatch):
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    first, *rest = err.splitlines()
    assert first.startswith("error: ")
    assert says in first
    assert any(line.startswith(" hint: ") for line in rest)


def test_a_broken_config_has_a_line(run, checkpoint):
    (checkpoint / "config.json").write_text('{\n  "a": }')
    code, _, err = run(checkpoint)
    assert code == 2
    assert f"at: {checkpoint}/config.json:2:8" in err


def test_a_truncated_shard_is_named(run, checkpoint):
    file = checkpoint / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    code, _, err = run(checkpoint)
    assert code == 2
    assert "cut short" in err
    assert str(file) in err


def test_no_network(run):
    code, _, err = run("org/model", "--revision", "main")
    assert code == 4
    assert "cannot be reached" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("value", "text"),
    [(999, "999"), (135_000_000, "135 M"), (7_615_616_512, "7.62 B"), (671 * 10**9, "671 B")],
)
def test_counts_for_people(value, text):
    assert inspect.count(value) == text
