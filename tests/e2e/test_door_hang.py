"""An engine that hangs behind its door is found, though vLLM's /health says that it is well."""

import contextlib
import json
import re
import subprocess
import sys
import time

import pytest
from tests.e2e.guarded import stopped, total
from tests.e2e.streams import COMPLETION, GOES, LONG, events, request, streaming
from tests.e2e.wire import Wire

from process_shell import PATIENCE_S, until

pytestmark = pytest.mark.vllm


@pytest.fixture
def engine(keyed_engine):
    return keyed_engine


@pytest.fixture
def core(engine):
    return engine.core()


STALL_S = 1.0


@pytest.fixture
def look(engine):
    """The words of the look at progress, the token's file last."""
    door = engine.run / "door"
    token = door / json.loads((door / "door.json").read_text())["probe_token"]
    words = [sys.executable, "-I", "-S", door / "alive.py", engine.port, 5, STALL_S, token]
    return [*map(str, words)]


def looked(words):
    return subprocess.run(words, capture_output=True, text=True, timeout=60)


def found_dead(engine, words):
    """Looks until the engine counts as dead, which is to be no sooner and not much later than it
    stalls so long; None where it turns out to have no request."""
    begun = time.monotonic()
    while not (seen := looked(words)).returncode:
        if engine.running() == 0 and unanswered(engine) == 0:
            return None
        assert time.monotonic() - begun < PATIENCE_S
    assert STALL_S <= time.monotonic() - begun < STALL_S + 10
    assert re.search(r"^1 requests and no progress for \d+ s$", seen.stderr, re.MULTILINE)
    assert engine.ask("GET", "/health").status == 200
    return seen


def unanswered(engine):
    return total(engine.figures(), "deployctl_door_requests_unanswered")


def test_a_hung_engine_is_found_though_health_says_it_is_well(engine, core, look):
    assert looked(look).returncode == 0
    for _ in range(GOES):
        with contextlib.closing(Wire(engine.port)) as wire:
            chunks = streaming(wire, engine, "/v1/completions", COMPLETION, max_tokens=LONG)
            next(chunks)
            with stopped(core):
                dead = found_dead(engine, look)
            found, end = events(chunks)  # it goes on as if nothing had been
        assert end == b"[DONE]"
        assert len(found) > LONG / 2
        assert looked(look).returncode == 0
        if dead:
            break
    else:
        pytest.fail("the engine's core had always ended its request when it was stopped")
    # Without its token the look is refused, and that is no good sign.
    look[-1] = str(engine.secrets / "api_key")
    assert "/metrics says 401" in looked(look).stderr


def test_an_engine_that_hung_while_it_was_idle_is_found_too(engine, core, look):
    until(lambda: engine.running() == 0)
    with contextlib.closing(Wire(engine.port)) as wire:
        with stopped(core):
            assert looked(look).returncode == 0  # it has nothing to do, and does nothing
            wire.send(request(engine, "/v1/completions", {**COMPLETION, "max_tokens": 3}))
            until(lambda: unanswered(engine) == 1)
            assert engine.running() == 0  # as it said last
            assert found_dead(engine, look)
            assert looked([*look[:4], "--ready", *look[4:]]).returncode == 0
        assert wire.read().status == 200
    assert looked(look).returncode == 0
