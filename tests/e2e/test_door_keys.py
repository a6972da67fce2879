"""Key files that are damaged while an engine runs: who could get in still can, and nobody else."""

import json
import time

import pytest
from tests.e2e.guarded import EXPIRED, REVOKED, TEAM, place, ring

from process_shell import until

pytestmark = pytest.mark.vllm

WARNING = '"door": "warning"'
NEW = "the-key-of-a-newcomer"
HELD = {"team": 200, "default": 200, "revoked": 401, "expired": 401, "wrong": 401, "nobody": 401}


def answers(engine):
    """How the engine answers whom."""
    keys = (TEAM, engine.key, REVOKED, EXPIRED, "wrong-key", None)
    asked = [engine.ask("GET", "/v1/models", key=key).status for key in keys]
    return dict(zip(HELD, asked, strict=True))


def warnings(engine, begin):
    """What the door has complained of since then."""
    lines = [line for line in engine.log()[begin:].splitlines() if WARNING in line]
    return [json.loads(line[line.index("{") :])["message"] for line in lines]


def in_its_place(path):
    """A folder where a file belongs: nobody can read it, not even root."""
    path.unlink()
    path.mkdir()


def damage(path):
    """Ways to make a key file unreadable, with what the log is to say."""
    good = path.read_bytes()
    newer = good.replace(b'"version": 1', b'"version": 2')
    return {
        "half-written": (lambda: place(path, good[: len(good) // 2]), "damaged"),
        "empty": (lambda: place(path, b""), "damaged"),
        "not text": (lambda: place(path, b"{\xff}"), "damaged"),
        "no keys": (lambda: place(path, b'{"version": 1}'), "damaged"),
        "huge": (lambda: place(path, b" " * (5 << 20)), "larger than"),
        "newer": (lambda: place(path, newer), "version 2, and this door knows 1"),
        "missing": (path.unlink, "is gone"),
        "a folder": (lambda: in_its_place(path), "cannot be read: not a regular file"),
    }


def damage_of_a_secret(path):
    """The same for a file that holds one secret."""
    return {
        "empty": (lambda: place(path, b""), "does not hold one secret"),
        "not text": (lambda: place(path, b"\xff\xfe"), "not text"),
        "two": (lambda: place(path, b"one two"), "does not hold one secret"),
        "missing": (path.unlink, "is gone"),
        "a folder": (lambda: in_its_place(path), "cannot be read: not a regular file"),
    }


def mend(engine, path, content):
    """Makes a file good again; returns when the door has read it."""
    if path.is_dir():
        path.rmdir()
    place(path, content)
    for held, status in ((ring(("new", NEW)), 200), (ring(), 401)):
        place(engine.secrets / "keys.json", held)
        until(lambda s=status: engine.ask("GET", "/v1/models", key=NEW).status == s)


@pytest.mark.parametrize(
    ("file", "ways"),
    [
        ("keys.json", damage),
        ("api_key", damage_of_a_secret),
        ("operator_token", damage_of_a_secret),
    ],
)
def test_a_damaged_file_lets_nobody_in_and_nobody_out(keyed_engine, file, ways):
    engine, path = keyed_engine, keyed_engine.secrets / file
    good = path.read_bytes()
    assert answers(engine) == HELD
    for name, (spoil, said) in ways(path).items():
        begin = len(engine.log())
        try:
            spoil()
            until(lambda b=begin: answers(engine) and warnings(engine, b))
            assert answers(engine) == HELD, name
            assert engine.figures(), name  # with the operator's token
        finally:
            mend(engine, path, good)
        (message,) = warnings(engine, begin)  # said once
        assert message.startswith(f"{engine.run}/secrets/{file}: "), name
        assert said in message, name
        assert message.endswith("; the keys read before go on being valid"), name


def test_a_key_that_is_revoked_is_out_within_a_second(keyed_engine):
    def status():
        return keyed_engine.ask("GET", "/v1/models", key=NEW).status

    place(keyed_engine.secrets / "keys.json", ring(("new", NEW)))
    until(lambda: status() == 200)
    begun = time.monotonic()
    place(keyed_engine.secrets / "keys.json", ring())
    until(lambda: status() == 401)
    assert time.monotonic() - begun < 1.0 + 2.0  # of a machine that does other things too
    assert answers(keyed_engine) == HELD
