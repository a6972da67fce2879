"""JSON read with distrust."""

import json

import pytest

from deployctl.errors import ModelError
from deployctl.hub.jsonfile import parse_object


def test_an_object() -> None:
    assert parse_object(b'{"a": [1, {"b": null}]}', "config.json") == {"a": [1, {"b": None}]}


def test_an_error_has_line_and_column() -> None:
    with pytest.raises(ModelError) as caught:
        parse_object(b'{\n  "a": 1,\n  "b": }', "m/config.json")
    assert caught.value.where == "m/config.json:3:8"
    assert caught.value.message == "not JSON: expecting value"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "not JSON"),
        (b"[1]", "a list where"),
        (b"null", "null where"),
        (b"true", "true or false where"),
        (b'"x"', "text where"),
        (b"7", "a number where"),
        (b'\xef\xbb\xbf{"a": 1}', "byte order mark"),
        (b'{"a": "\xff"}', "not UTF-8 text .byte 7"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "thousands of digits"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b'{"a":' * 80 + b"1" + b"}" * 80, "nested too deeply"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "Git LFS pointer"),
        (b'{"a": 1} x', "extra data"),
    ],
)
def test_what_is_refused(data: bytes, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        parse_object(data, "config.json")


def test_numbers_that_json_cannot_say_become_text() -> None:
    parsed = parse_object(b'{"a": NaN, "b": [-Infinity], "c": 1e999, "d": 1.5}', "config.json")
    assert parsed == {"a": "NaN", "b": ["-Infinity"], "c": "1e999", "d": 1.5}
    json.dumps(parsed, allow_nan=False)


def test_lone_surrogates_are_replaced_in_keys_and_values() -> None:
    parsed = parse_object(b'{"\\ud800": "a\\udfff", "k": ["\\ud83d\\ude00"]}', "config.json")
    assert parsed == {"?": "a?", "k": ["\U0001f600"]}
