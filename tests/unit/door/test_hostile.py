"""Whatever is sent and whatever the key file holds: no exception, and nobody in without a key."""

import asyncio
import json
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from deployctl_door import keys
from deployctl_door.configuration import ConfigurationError, load
from deployctl_door.keyfolder import KeyFolder
from deployctl_door.keys import KeyRing, KeysError

from .conftest import asked

CHAT = "/v1/chat/completions"
METHODS = st.one_of(st.sampled_from(["GET", "POST", "OPTIONS", "HEAD"]), st.text(max_size=8))
SEGMENTS = st.sampled_from(
    ["v1", "chat", "completions", "..", ".", "", "%2e", "metrics", "x", "V1"]
)
PATHS = st.one_of(
    st.lists(SEGMENTS, max_size=5).map(lambda parts: "/" + "/".join(parts)), st.text(max_size=40)
)
NAMES = st.sampled_from([b"authorization", b"x-api-key", b"content-type", b"x-request-id", b"host"])
VALUES = st.one_of(
    st.binary(max_size=40),
    st.sampled_from(
        [b"Bearer", b"Bearer ", b"bearer the-default-ke", b"Basic dTpw", b"Bearer \xff"]
    ),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
FUNCTION_FIXTURES = [HealthCheck.function_scoped_fixture]


@given(METHODS, PATHS, st.lists(st.tuples(NAMES, VALUES), max_size=4), st.binary(max_size=60))
@settings(suppress_health_check=FUNCTION_FIXTURES)
def test_nothing_reaches_the_engine_without_a_key(build, engine, method, path, headers, body):
    given_headers = [(n.decode(), v.decode("latin-1")) for n, v in headers]
    scope = {"method": method, "path": path, "raw": path.encode("utf-8", "surrogatepass")}
    answer = asyncio.run(
        asked(build(), scope["method"], scope["path"], None, body, given_headers, scope["raw"])
    )
    assert answer.status in (200, 401, 404)
    assert all(seen[1] == "/health" for seen in engine.seen)


@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
@settings(suppress_health_check=FUNCTION_FIXTURES)
def test_any_body_is_passed_on_or_refused(build, engine, body):
    answer = asyncio.run(asked(build(), "POST", CHAT, "the-default-key", body))
    assert answer.status in (200, 400)
    assert (answer.status == 200) == bool(engine.seen)
    engine.seen.clear()


@given(st.one_of(st.binary(max_size=300), JSON.map(lambda value: json.dumps(value).encode())))
@settings(suppress_health_check=FUNCTION_FIXTURES)
def test_any_key_file_is_read_or_refused(secrets, content):
    (secrets / "keys.json").write_bytes(content)
    try:
        ring = keys.read(secrets)
    except KeysError:
        return
    assert isinstance(ring, KeyRing)
    assert ring.find("", 0) is None


@given(JSON)
@settings(suppress_health_check=FUNCTION_FIXTURES)
def test_any_configuration_is_read_or_refused(tmp_path, value):
    path = tmp_path / "door.json"
    entry = value if isinstance(value, dict) else {"user": value, "body": value, "secrets": value}
    path.write_text(json.dumps({"version": 1, "operator": [], "probe": [], **entry}))
    with pytest.raises(ConfigurationError):
        load(path)


def test_a_key_file_that_is_written_byte_by_byte(secrets, write_keys):
    """Whenever the door looks, the keys are the old ones or the new ones."""
    write_keys(old="old")
    before = (secrets / "keys.json").read_bytes()
    write_keys(new="new")
    after = (secrets / "keys.json").read_bytes()
    (secrets / "keys.json").write_bytes(before)
    clock = [0.0]
    folder = KeyFolder(secrets, lambda _: None, clock=lambda: clock[0])
    for size in range(len(after) + 1):
        (secrets / "keys.json").write_bytes(after[:size])
        clock[0] += 1
        ring = folder.now()
        assert (ring.find("old", 0) is None) != (ring.find("new", 0) is None)
        assert ring.find("the-default-key", 0)
    assert folder.now().find("new", 0)


def test_the_door_needs_nothing_but_the_standard_library():
    """It runs in any engine's image; 3.10 is the oldest Python of those."""
    import ast
    import sys

    root = Path(keys.__file__).parent
    for file in root.glob("*.py"):
        tree = ast.parse(file.read_text(), feature_version=(3, 10))
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                modules = [node.module or ""]
            else:
                continue
            for module in modules:
                first = module.partition(".")[0]
                assert first == "deployctl_door" or first in sys.stdlib_module_names, file
