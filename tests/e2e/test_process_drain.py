"""Requests under way while their engine is stopped, on target `process` with the fake engine."""

import signal
import urllib.error
import urllib.request

import pytest
from tests.e2e.stream_parts import Stream

from process_shell import PATIENCE_S, until


def refused(port):
    """Whether a new request is told to come again later."""
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/models", timeout=PATIENCE_S).close()
    except urllib.error.HTTPError as error:
        return error.code == 503 and error.headers["Retry-After"] is not None
    return False


@pytest.mark.parametrize("verb", ["down", "up"])
def test_a_stream_under_way_ends_whole_and_nobody_new_comes_in(shell, verb):
    assert shell.up(token_s="0.05")[0] == 0
    stream = Stream(shell.port, tokens=100)
    words = shell.up_words(token_s="0.01") if verb == "up" else ["down", "tiny"]
    process = shell.start(*words)
    until(lambda: refused(shell.port))
    assert stream.is_alive()
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert "waiting for 1 request under way" in err
    assert "cutting" not in err
    assert stream.whole, stream.error
    assert shell.history()[0] == (1, "removed" if verb == "down" else "superseded")
    assert ("tiny did not answer for" in err) is (verb == "up")
    if verb == "up":  # whose door is open
        assert Stream(shell.port, tokens=3).whole


def test_nothing_under_way_is_not_waited_for(shell):
    assert shell.up()[0] == 0
    assert Stream(shell.port, tokens=3).whole
    code, _, err = shell.run("down", "tiny")
    assert (code, "waiting" in err) == (0, False)


def test_ctrl_c_cuts_what_is_waited_for(shell):
    assert shell.up(token_s="0.5")[0] == 0
    stream = Stream(shell.port, tokens=10_000)
    process = shell.start("down", "tiny")
    until(lambda: refused(shell.port))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    assert shell.left() == []
    assert not stream.whole
    assert shell.run("down", "tiny")[0] == 0


def test_ctrl_c_during_an_update_brings_the_former_revision_back(shell):
    assert shell.up(token_s="0.5")[0] == 0
    Stream(shell.port, tokens=10_000)
    process = shell.start(*shell.up_words(token_s="0.01"))
    until(lambda: refused(shell.port))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130, err
    until(lambda: shell.run("status", "tiny")[0] == 0)
    assert shell.history() == [(1, "deployed"), (2, "failed")]
    assert Stream(shell.port, tokens=3).whole
