"""keys.json: what is read here is read by the door too, and what is not known is kept."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployctl.errors import StateError
from deployctl.targets import keyfile
from deployctl_door import keys as door

PATH = Path("keys.json")
HASH = keyfile.hash_of("secret")
NOW = datetime(2026, 12, 1, tzinfo=UTC)


def document(*entries, **more):
    return json.dumps({"version": 1, "keys": list(entries), **more}).encode()


def entry(name="alice", **more):
    return {"name": name, "sha256": HASH, **more}


GOOD = [
    document(),
    document(revoked=["default"]),
    document(entry()),
    document(entry(), entry("bob", sha256=keyfile.hash_of("another"))),
    document(entry(note="laptop", created="2026-11-26T00:00:00+00:00")),
    document(entry(expires="2026-12-31T00:00:00+00:00")),
    document(entry(expires="2026-12-31T00:00Z")),
    document(entry(expires="2026-12-31T00:00:00.123456+01:00")),
    document(entry(expires=None, models=None, limits=None)),
    document(entry(models=["a", "b"])),
    document(entry(models=[])),
    document(entry(limits={})),
    document(entry(limits={"concurrent": 1, "requests_per_minute": 0, "tokens_per_minute": None})),
    document(entry(colour="red"), shape={"round": [1, {"a": None}]}),
]
BAD = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe",
    b'{"version": 1}',
    b'{"keys": []}',
    b'{"version": 0, "keys": []}',
    b'{"version": "1", "keys": []}',
    b'{"version": 1, "keys": {}}',
    document("alice"),
    document({"name": "alice"}),
    document(entry(sha256="ab")),
    document(entry(sha256=HASH.upper())),
    document(entry("")),
    document(entry("-alice")),
    document(entry("a b")),
    document(entry("operator")),
    document(entry("anyone")),
    document(entry("a" * 64)),
    document(entry("alice\n")),
    document(entry(), entry()),
    document(entry(expires="tomorrow")),
    document(entry(expires="2026-12-31")),
    document(entry(expires="2026-12-31T00:00:00")),
    document(entry(expires="2026-13-31T00:00:00Z")),
    document(entry(expires=1)),
    document(entry(models=[1])),
    document(entry(models=1)),
    document(entry(limits={"concurrent": -1})),
    document(entry(limits={"concurrent": True})),
    document(entry(limits={"concurrent": 1.5})),
    document(entry(limits={"concurrent": "1"})),
    document(entry(limits={"a_day": 1})),
    document(entry(limits=[1])),
    b'{"version": 1, "keys": [], "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"version": 1, "keys": [], "deep": ' + b"[" * 400 + b"]" * 400 + b"}",
]


def of_the_door(folder, content):
    folder.mkdir(exist_ok=True)
    (folder / "keys.json").write_bytes(content)
    return door.read(folder)


@pytest.mark.parametrize("content", GOOD)
def test_the_door_reads_what_is_read_here_before_and_after_it_is_written(tmp_path, content):
    keys = keyfile.parse(content, PATH)
    ring = of_the_door(tmp_path, content)
    assert [key.name for key in ring.keys] == [key.name for key in keys.keys]
    again = of_the_door(tmp_path, keys.content())
    assert again == ring
    assert json.loads(keys.content()) == json.loads(content)


@pytest.mark.parametrize("content", BAD)
def test_what_is_damaged_says_so(content):
    with pytest.raises(StateError, match="damaged") as caught:
        keyfile.parse(content, PATH)
    assert caught.value.where == str(PATH)
    assert "mv keys.json" in caught.value.hint


def test_a_newer_version_says_so():
    with pytest.raises(StateError, match="newer deployctl"):
        keyfile.parse(b'{"version": 2, "keys": "of another kind"}', PATH)


def test_what_no_door_would_read_is_refused():
    with pytest.raises(StateError, match="4 MiB"):
        keyfile.parse(b" " * (keyfile.LARGEST + 1), PATH)


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=6,
)
_ENTRIES = st.fixed_dictionaries(
    {
        "name": st.sampled_from(["alice", "bob", "", "a b", "operator"]) | _VALUES,
        "sha256": st.just(HASH),
    },
    optional={
        "expires": st.sampled_from(["2026-12-31T00:00:00+00:00", "0001-01-01T00:00:00+14:00"])
        | _VALUES,
        "models": st.lists(st.text(max_size=3), max_size=2) | _VALUES,
        "limits": st.dictionaries(
            st.sampled_from(["concurrent", "tokens_per_minute", "x"]), st.integers() | _VALUES
        ),
        "x": _VALUES,
    },
)


@settings(max_examples=60)
@given(st.lists(_ENTRIES, max_size=3), st.lists(st.text(max_size=3), max_size=2) | _VALUES)
def test_whatever_is_read_here_the_door_reads(entries, revoked):
    content = document(*entries, revoked=revoked)
    try:
        keys = keyfile.parse(content, PATH)
    except StateError:
        return
    for written in (content, keys.content(), keys.revoking_default("secret").content()):
        door._named(PATH, written)


def test_changes():
    alice = keyfile.NamedKey(name="alice", sha256=HASH, expires="2026-12-01T00:00:00+00:00")
    keys = keyfile.EMPTY.with_key(alice)
    assert keys.find("alice") == alice
    assert keys.find("bob") is None
    assert (keys.owner(HASH), keys.owner("0" * 64)) == ("alice", None)
    assert keys.without("alice") == keyfile.EMPTY
    revoked = keys.revoking_default("the-default-key")
    assert revoked.revoking_default("again") == revoked
    assert (revoked.revoked, revoked.former) == (
        ("default",), (keyfile.hash_of("the-default-key"),),
    )  # fmt: skip
    assert revoked.lifted("default") == keys.model_copy(update={"former": revoked.former})
    assert keys.revoking_default(None).former == ()
    assert alice.expired(NOW)
    assert not alice.expired(NOW.replace(year=2025))


def test_no_file_is_no_keys(tmp_path):
    assert keyfile.read(tmp_path / "keys.json") is None


def test_a_file_that_may_not_be_read_says_so(tmp_path):
    (tmp_path / "keys.json").mkdir()
    with pytest.raises(StateError, match="cannot read the keys"):
        keyfile.read(tmp_path / "keys.json")
