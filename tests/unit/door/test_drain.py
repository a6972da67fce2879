"""When a door closes by a file."""

import os
import time

import pytest

from deployctl_door.drain import CHECK_S, Drain


@pytest.fixture
def clock():
    now = [100.0]

    def read():
        return now[0]

    read.now = now
    return read


def test_it_refuses_some_seconds_after_the_file_was_put_there_though_nobody_asked(tmp_path, clock):
    file = tmp_path / "drain"
    drain = Drain(file, 10.0, clock)
    assert not drain.began
    file.touch()
    os.utime(file, (time.time() - 9, time.time() - 9))
    clock.now[0] += CHECK_S
    assert drain.began
    assert not drain.refuses
    clock.now[0] += 2.0
    assert drain.refuses


def test_a_file_of_a_clock_that_is_ahead_begins_now(tmp_path, clock):
    file = tmp_path / "drain"
    file.touch()
    os.utime(file, (time.time() + 3600, time.time() + 3600))
    drain = Drain(file, 10.0, clock)
    assert drain.began
    clock.now[0] += 9.0
    assert not drain.refuses
    clock.now[0] += 1.0
    assert drain.refuses


def test_a_file_that_cannot_be_looked_at_begins_nothing(tmp_path, clock):
    for file in (tmp_path / "none", tmp_path / ("x" * 300), tmp_path / "a\0b"):
        assert not Drain(file, 0.0, clock).began
