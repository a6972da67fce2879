"""GGUF metadata."""

import struct

import pytest

from deployctl import hub
from deployctl.errors import ModelError
from deployctl.hub import headers


def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def pair(key, kind, payload):
    return text(key) + struct.pack("<I", kind) + payload


def file(*pairs, version=3, count=None, magic=b"GGUF"):
    head = magic + struct.pack("<IQQ", version, 5, len(pairs) if count is None else count)
    return head + b"".join(pairs)


PAIRS = (
    pair("general.architecture", 8, text("llama")),
    pair("llama.block_count", 4, struct.pack("<I", 2)),
    pair("llama.rope.freq_base", 6, struct.pack("<f", 10000.0)),
    pair("odd", 6, struct.pack("<f", float("nan"))),
    pair("flag", 7, b"\x01"),
    pair("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, 2) + text("a") + text("b")),
    pair("scores", 9, struct.pack("<IQ", 6, 3) + bytes(12)),
    pair("llama.context_length", 10, struct.pack("<Q", 2048)),
)


def read(data):
    return headers.gguf_metadata(lambda start, length: data[start : start + length], "x.gguf")


def test_pairs():
    assert read(file(*PAIRS)) == {
        "gguf.version": 3,
        "gguf.tensor_count": 5,
        "general.architecture": "llama",
        "llama.block_count": 2,
        "llama.rope.freq_base": 10000.0,
        "odd": "nan",
        "flag": True,
        "tokenizer.ggml.tokens": {"length": 2},
        "scores": {"length": 3},
        "llama.context_length": 2048,
    }


def test_a_long_text_is_kept_as_its_length():
    found = read(file(pair("tokenizer.chat_template", 8, text("x" * 70_000))))
    assert found["tokenizer.chat_template"] == {"length": 70_000}


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (file(magic=b"GGML"), "not a GGUF"),
        (b"", "cut short"),
        (file(version=1), "version 1"),
        (file(count=2**40), "claims"),
        (file(count=1), "cut short"),
        (file(pair("k", 99, b"")), "unknown type 99"),
        (file(struct.pack("<Q", 2**60)), "a name of"),
        (file(pair("k", 8, struct.pack("<Q", 2**62))), "too large"),
        (file(pair("k", 9, struct.pack("<IQ", 6, 2**62))), "a list of"),
        (file(pair("k", 9, struct.pack("<IQ", 9, 2))), "lists of lists"),
        (file(*PAIRS)[:-3], "cut short"),
    ],
)
def test_what_is_refused(data, says):
    with pytest.raises(ModelError, match=says) as caught:
        read(data)
    assert caught.value.where == "x.gguf"


@pytest.mark.parametrize("whole", [True, False])
def test_a_folder_or_a_file(tmp_path, whole):
    path = tmp_path / "m-Q4_K_M.gguf"
    path.write_bytes(file(*PAIRS))
    found = hub.fetch(str(tmp_path if whole else path))
    assert found.gguf["llama.block_count"] == 2
    assert found.files == {path.name: path.stat().st_size}
