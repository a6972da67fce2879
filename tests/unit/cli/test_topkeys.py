"""Keys of `deployctl top`, from a terminal that is restored whatever happens."""

import os
import pty
import signal
import termios
import threading

import pytest

from deployctl.cli.top.keyboard import keyboard, keys_in
from deployctl.errors import InterruptedByUserError


def test_keys_of_a_terminal():
    assert keys_in(b"\x1b[Aj\x1bOB\r\x1b[5~q\x1b") == [
        "up", "j", "down", "enter", "pageup", "q", "escape",
    ]  # fmt: skip
    assert keys_in(b"\x1b[1;5Z\xff\x00") == []


@pytest.fixture
def terminal():
    far, near = pty.openpty()
    yield far, near
    os.close(far)
    os.close(near)


def test_keys_come_one_by_one_and_the_terminal_is_restored(terminal):
    far, near = terminal
    before = termios.tcgetattr(near)
    with keyboard(near) as keys:
        during = termios.tcgetattr(near)[3]
        assert not during & (termios.ICANON | termios.ECHO)
        assert during & termios.ISIG  # Ctrl-C interrupts
        assert keys.pressed(0) == []
        os.write(far, b"s")
        assert keys.pressed(60) == ["s"]
    assert termios.tcgetattr(near) == before


def test_a_key_that_a_slow_line_cuts_in_two_is_one(terminal, monkeypatch):
    far, near = terminal
    with keyboard(near) as keys:
        monkeypatch.setattr("deployctl.cli.top.keyboard._REST_S", 60.0)
        rest = threading.Timer(0.01, os.write, (far, b"[A"))
        os.write(far, b"\x1b")
        rest.start()
        assert keys.pressed(60) == ["up"]
        rest.join()
        monkeypatch.setattr("deployctl.cli.top.keyboard._REST_S", 0.0)
        os.write(far, b"\x1b")
        assert keys.pressed(60) == ["escape"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_the_terminal_is_restored_whatever_happens(terminal, error):
    before = termios.tcgetattr(terminal[1])
    with pytest.raises(error), keyboard(terminal[1]):
        raise error
    assert termios.tcgetattr(terminal[1]) == before


def test_the_terminal_is_restored_when_the_program_is_ended(terminal):
    before, handler = termios.tcgetattr(terminal[1]), signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedByUserError), keyboard(terminal[1]):
        os.kill(os.getpid(), signal.SIGTERM)
    assert termios.tcgetattr(terminal[1]) == before
    assert signal.getsignal(signal.SIGTERM) == handler


def test_a_terminal_that_is_gone_is_the_end():
    far, near = pty.openpty()
    with keyboard(near) as keys:
        os.close(far)
        assert keys.pressed(60) == ["q"]
    os.close(near)
