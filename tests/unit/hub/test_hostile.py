"""Whatever bytes a file holds, the answer is documents or an error of ours, and soon."""

import json
import struct
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployctl import hub
from deployctl.errors import DeployctlError, ModelError
from deployctl.hub import headers, jsonfile, source

SETTINGS = settings(max_examples=100, deadline=20_000)

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=5), st.dictionaries(st.text(max_size=9), inner, max_size=5)
    ),
    max_leaves=20,
)
entries = st.fixed_dictionaries(
    {},
    optional={
        "dtype": st.one_of(st.sampled_from(sorted(headers.BITS)), values),
        "shape": st.one_of(st.lists(st.integers(-1, 2**65), max_size=4), values),
        "data_offsets": st.one_of(st.lists(st.integers(-1, 2**65), max_size=3), values),
    },
)


def showable(error):
    assert error.exit_code == 2
    assert error.message.isprintable()
    assert error.where
    assert error.where.isprintable()


def refusal(call, *arguments):
    """The result, or None for a ModelError that a terminal can show."""
    try:
        return call(*arguments)
    except ModelError as error:
        return showable(error)


@SETTINGS
@given(st.binary(max_size=200))
@example(b'{"a": 1e999999}')
@example(b'{"\\ud800": "\\udfff"}')
@example(b"[" * 50_000)
def test_arbitrary_json_bytes(data):
    found = refusal(jsonfile.parse_object, data, "config.json")
    if found is not None:
        json.dumps(found, allow_nan=False).encode()


@SETTINGS
@given(values)
def test_arbitrary_json(value):
    found = refusal(jsonfile.parse_object, json.dumps(value).encode(), "config.json")
    assert (found is not None) == isinstance(value, dict)
    json.dumps(found, allow_nan=False)


@SETTINGS
@given(st.dictionaries(st.text(max_size=9), st.one_of(entries, values), max_size=4), st.integers(0))
def test_arbitrary_tables_of_tensors(table, size):
    raw = json.dumps(table).encode()
    for file_size in (None, size):
        found = refusal(headers.parse_header, raw, file_size, "x.safetensors")
        for tensor in found or ():
            assert tensor.nbytes >= 0


@SETTINGS
@given(st.binary(max_size=120))
@example(struct.pack("<Q", 2**64 - 1))
@example(struct.pack("<Q", 2) + b"{}")
@example(struct.pack("<Q", 4) + b"null")
def test_arbitrary_safetensors_files(data):
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "config.json").write_text("{}")
        Path(folder, "model.safetensors").write_bytes(data)
        refusal(hub.fetch, folder)


@SETTINGS
@given(values)
def test_arbitrary_indexes(value):
    refusal(headers.shards, {"weight_map": value}, "index")


@SETTINGS
@given(st.binary(max_size=200))
def test_arbitrary_gguf_files(data):
    for content in (data, b"GGUF" + struct.pack("<IQQ", 3, 1, 3) + data):
        refusal(headers.gguf_metadata, lambda s, n, c=content: c[s : s + n], "x.gguf")


@SETTINGS
@given(st.text(max_size=120), st.one_of(st.none(), st.text(max_size=60)))
def test_arbitrary_names(name, revision):
    try:
        found = source.locate(name, revision)
    except DeployctlError as error:
        showable(error)
        return
    if isinstance(found, source.HubId):
        assert found.name.isascii()
        assert not set(found.name) & set(" ;|&$`'\"\\<>(){}[]*?!~#\n\r\t")
        assert ".." not in found.name
