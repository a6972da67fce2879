"""Bytes of a corpus, changed: by what breaks parsers, and by chance.

A corpus is a folder of `corpus/`, and what tests/data holds of its kind. An input that broke a
parser is put there as a file of its own.
"""

import contextlib
import copy
import json
from pathlib import Path

import yaml
from hypothesis import strategies as st

HERE = Path(__file__).parent
DATA = HERE.parents[1] / "data"
MORE = {
    "metrics": sorted((DATA / "metrics").iterdir()),
    "nvidia-smi": [p for p in sorted((DATA / "nvidia-smi").iterdir()) if p.suffix != ".md"],
    "log": sorted((DATA / "vllm-log").iterdir()),
}
# What a server, a file or a program may hold where nobody expects it.
NASTY = [
    *(b"", b" ", b"\n", b"\r", b"\t", b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf"),
    *(b"\x1b[2J", b"\x1b]0;x\x07", b"\x9b", b"\x08", "\u202e".encode(), "\u2028".encode()),
    *(b"null", b"true", b"{}", b"[]", b'""', b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":"),
    *(b"0", b"-1", b"1e999", b"-1e999", b"NaN", b"Infinity", b"1e300", b"0.1", b"1e-300"),
    *(str(2**31).encode(), str(2**63).encode(), str(10**30).encode(), b"9" * 5000),
    *("²".encode(), "٣".encode(), "ａ".encode(), "🎉".encode(), b"\\ud800", b"\\u0000"),
    *(
        b"[" * 2000,
        b'{"a":' * 500,
        b"a" * 5000,
        b"%s",
        b"{0}",
        b"{x}",
        b"$x",
        b"../..",
        b"/dev/null",
    ),
    *(
        b"[/x]",
        b"[link=x]",
        b"<b>",
        b"&amp;",
        b"'",
        b"`",
        b"|",
        b"&a",
        b"*a",
        b"!!python/x",
        b"---\n",
    ),
]


def seeds(name):
    """The corpus of a parser."""
    folder = HERE / "corpus" / name
    files = [*MORE.get(name, ()), *(sorted(folder.iterdir()) if folder.is_dir() else ())]
    return [file.read_bytes() for file in files]


def changed(data, kind, at, length, nasty):
    """One change at a place, which is a share of the whole."""
    begin = int(at * len(data))
    end = min(len(data), begin + length)
    middle = {
        "insert": nasty + data[begin:end],
        "replace": nasty,
        "repeat": data[begin:end] * 3,
        "delete": b"",
        "value": nasty,
        "cut": b"",
    }[kind]
    if kind == "value":  # what stands between two separators
        while begin > 0 and data[begin - 1 : begin] not in (b":", b",", b"[", b" ", b"\n", b"="):
            begin -= 1
        end = begin
        while end < len(data) and data[end : end + 1] not in (b",", b"}", b"]", b"\n", b" "):
            end += 1
    return data[:begin] + middle + (b"" if kind == "cut" else data[end:])


KINDS = ("insert", "replace", "value", "value", "repeat", "delete", "cut")
ODD = [  # values where another kind is expected
    *(None, True, False, 0, -1, 1, 2, 2**31, 2**63, 10**30, 10**400, 0.1, -0.0, 1e300, 1e-300),
    *(
        float("nan"),
        float("inf"),
        "",
        " ",
        "0",
        "-1",
        "1e999",
        "\u00b2",
        "\u0663",
        "\ud800",
        "\x00",
        "\n",
    ),
    *(
        "\x1b[2J",
        "\u202e",
        "a" * 5000,
        "[/x]",
        "<b>",
        "../..",
        "/dev/null",
        "%s",
        "{0}",
        "null",
        "auto",
    ),
    *([], {}, [[]], [None], [None] * 3, {"a": {"b": [1]}}, {"": 0}, [2**62] * 40, ["a"] * 300),
]


def odd(source, document):
    """A document with a value or three that nobody expects."""
    document = copy.deepcopy(document)
    for _ in range(source.randint(1, 3)):
        path = source.choice(list(_places(document)))
        value = copy.deepcopy(source.choice(ODD))
        if not path:
            return value
        inner = document
        for part in path[:-1]:
            inner = inner[part]
        if isinstance(inner, list) and source.random() < 0.2:
            inner.insert(path[-1], inner[path[-1]])
        elif source.random() < 0.2:
            del inner[path[-1]]
        else:
            inner[path[-1]] = value
    return document


def _places(value, path=()):
    yield path
    pairs = value.items() if isinstance(value, dict) else ()
    for key, each in enumerate(value) if isinstance(value, list) else pairs:
        yield from _places(each, (*path, key))


def _meant(source, data):
    """The same kind of document with odd values; None of what is no JSON, YAML or stream of it."""
    rows = data.split(b"\n")
    at = source.randrange(len(rows))
    with contextlib.suppress(ValueError):
        return json.dumps(odd(source, json.loads(data))).encode()
    with contextlib.suppress(ValueError):
        rows[at] = json.dumps(odd(source, json.loads(rows[at].removeprefix(b"data: ")))).encode()
        return b"\n".join(
            [*rows[:at], b"data: " * data.startswith((b"data", b":")) + rows[at], *rows[at + 1 :]]
        )
    with contextlib.suppress(ValueError, yaml.YAMLError):
        documents = list(yaml.safe_load_all(data.decode()))
        if all(isinstance(each, dict) for each in documents):
            return yaml.safe_dump_all([odd(source, each) for each in documents]).encode()
    return None


def at_random(source, data, most=3):
    """An input with changes: in what it says, or in its bytes. `source`: a random.Random."""
    if source.random() < 0.6 and (meant := _meant(source, data)) is not None:
        return meant
    for _ in range(source.randint(1, most)):
        data = changed(
            data,
            source.choice(KINDS),
            source.random(),
            source.randint(0, 40),
            source.choice(NASTY),
        )
    return data


@st.composite
def mutated(draw, corpus):
    """An input of a corpus with some changes; or a few bytes of chance."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.binary(max_size=64))
    source = draw(st.randoms(use_true_random=False))
    return at_random(source, draw(st.sampled_from(corpus)), most=5)
