"""The supervisor's log: bounded, and no line is lost where no new file can be made."""

import os

import pytest

from deployctl.targets.process.supervisor import _Log


@pytest.fixture
def log(tmp_path):
    made = _Log(tmp_path / "engine.log", 10)
    yield made
    os.close(made._descriptor)


def test_a_full_file_is_put_aside(log, tmp_path):
    for line in (b"one 345\n", b"two 345\n", b"three 7\n"):
        log.write(line)
    assert (tmp_path / "engine.log").read_bytes() == b"three 7\n"
    assert (tmp_path / "engine.log.1").read_bytes() == b"two 345\n"


def test_where_it_cannot_be_it_goes_on_and_closes_nothing_of_others(log, tmp_path, monkeypatch):
    """No new file on a full disk: its descriptor was closed all the same, so that every later line
    was lost, and whatever had its number next was closed with each of them."""
    log.write(b"one 345\n")
    open_ = os.open

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    log.write(b"two 345\n")
    monkeypatch.setattr(os, "open", open_)
    other = os.open(tmp_path, os.O_RDONLY)
    log.write(b"three 7\n")
    os.fstat(other)
    os.close(other)
    assert (tmp_path / "engine.log.1").read_bytes() == b"one 345\ntwo 345\n"
    assert (tmp_path / "engine.log").read_bytes() == b"three 7\n"


def test_what_is_written_in_part_is_written_on(log, tmp_path, monkeypatch):
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
    log.write(b"one 345\n")
    assert (tmp_path / "engine.log").read_bytes() == b"one 345\n"
