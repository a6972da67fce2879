"""Safetensors headers: what a damaged file looks like, and that it is named."""

import json
import struct

import pytest

from deployctl.errors import ModelError
from deployctl.hub.headers import header_length, parse_header, shards

W = "m/model.safetensors"


def header(table: object) -> bytes:
    return json.dumps(table).encode()


def entry(dtype: str = "F16", shape: object = (2,), offsets: object = (0, 4)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def test_tensors_come_in_the_order_of_their_bytes() -> None:
    raw = header(
        {
            "__metadata__": {"format": "pt"},
            "late": entry("I32", [2, 1], [4, 12]),
            "early": entry("F16", [2], [0, 4]),
            "scalar": entry("F8_E4M3", [], [12, 13]),
            "packed": entry("F4", [4], [13, 15]),
        }
    )
    found = parse_header(raw, 8 + len(raw) + 15, W)
    assert [(t.name, t.dtype, t.shape, t.nbytes) for t in found] == [
        ("early", "F16", (2,), 4),
        ("late", "I32", (2, 1), 8),
        ("scalar", "F8_E4M3", (), 1),
        ("packed", "F4", (4,), 2),
    ]


def test_an_empty_tensor_and_a_dtype_of_the_future() -> None:
    raw = header({"none": entry("F32", [0], [0, 0]), "new": entry("F2_X", [8], [0, 2])})
    assert sum(t.nbytes for t in parse_header(raw, None, W)) == 2


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ([], "not a table"),
        ({"a": 1}, "no usable entry"),
        ({"a": entry(dtype="")}, "no dtype"),
        ({"a": entry(dtype="\x1b[2J")}, "no dtype"),
        ({"a": {"shape": [1], "data_offsets": [0, 1]}}, "no dtype"),
        ({"a": entry(shape=[-1])}, "shape"),
        ({"a": entry(shape=[True])}, "shape"),
        ({"a": entry(shape=[1.0])}, "shape"),
        ({"a": entry(shape="x")}, "shape"),
        ({"a": entry(shape=[2**62] * 40)}, "do not match"),
        ({"a": entry("X", shape=[2**62] * 40)}, "do not match"),
        ({"a": entry(offsets=[0])}, "data_offsets"),
        ({"a": entry(offsets=[4, 0])}, "do not match"),
        ({"a": entry(offsets=[0, "4"])}, "data_offsets"),
        ({"a": entry(offsets=[0, 5])}, "do not match"),
        ({"a": entry(shape=[2**40, 2**40])}, "do not match"),
        ({"a": entry(offsets=[4, 8])}, "gap"),
        ({"a": entry(), "b": entry()}, "overlaps"),
    ],
)
def test_a_broken_header_names_file_and_tensor(table: object, says: str) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        parse_header(header(table), None, W)
    assert caught.value.where == W
    assert caught.value.hint


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff\xff", b"[" * 100_000])
def test_a_header_that_is_no_json(raw: bytes) -> None:
    with pytest.raises(ModelError, match="not JSON"):
        parse_header(raw, None, W)


def test_a_file_shorter_or_longer_than_its_header_says() -> None:
    raw = header({"a": entry()})
    assert parse_header(raw, 8 + len(raw) + 4, W)
    with pytest.raises(ModelError, match="cut short"):
        parse_header(raw, 8 + len(raw) + 3, W)
    with pytest.raises(ModelError, match="longer"):
        parse_header(raw, 8 + len(raw) + 5, W)


@pytest.mark.parametrize(
    ("first", "size", "says"),
    [
        (b"", 0, "no header"),
        (b"1234567", 7, "no header"),
        (struct.pack("<Q", 2**63), 10**9, "claims"),
        (struct.pack("<Q", 100_000_001), 10**12, "claims"),
        (struct.pack("<Q", 0), 8, "claims"),
        (struct.pack("<Q", 93), 100, "ends inside its header"),
        (b"version https://git-lfs.github.com/spec/v1", 130, "LFS pointer"),
    ],
)
def test_a_length_that_cannot_be(first: bytes, size: int, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        header_length(first, size, W)


def test_a_length() -> None:
    assert header_length(struct.pack("<Q", 92), 100, W) == 92
    assert header_length(struct.pack("<Q", 92), None, W) == 92


def test_an_index() -> None:
    index = {"weight_map": {"a": "x.safetensors", "b": "y.safetensors", "c": "x.safetensors"}}
    assert shards(index, W) == {"x.safetensors": ["a", "c"], "y.safetensors": ["b"]}


@pytest.mark.parametrize(
    "table",
    [None, [], {}, {"a": 1}, {"a": "../x"}, {"a": "/etc/x"}, {"a": ""}, {"a": ".x"}, {"a": "x\n"}],
)
def test_an_index_with_tricks(table: object) -> None:
    with pytest.raises(ModelError):
        shards({"weight_map": table}, W)
