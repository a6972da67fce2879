"""What the kernel of one machine offers and another's does not: priorities, and finer clocks."""

import os

import pytest
from benchmarks.fidelity.cpu import spent
from benchmarks.fidelity.runner import first_in_line, last_words


def test_the_group_gets_its_own_priority_back(tmp_path):
    file = tmp_path / "autogroup"
    file.write_text("/autogroup-12 nice 3\n")
    with first_in_line(file):
        assert file.read_text() == "-20"
    assert file.read_text() == "3"


@pytest.mark.parametrize("there", [True, False])
def test_without_a_group_nothing_is_done(tmp_path, there):
    file = tmp_path / "autogroup"
    if there:
        file.touch()
    with first_in_line(file):
        pass
    assert file.exists() == there
    assert not there or file.read_text() == ""


def test_cpu_time_by_the_finest_count_there_is(tmp_path):
    ticks = os.sysconf("SC_CLK_TCK")
    (tmp_path / "stat").write_text(f"7 (a (b) c) S {' '.join(['0'] * 10)} {ticks} {ticks // 2} 0")
    assert spent(tmp_path) == 1.5
    (tmp_path / "schedstat").touch()
    assert spent(tmp_path) == 1.5
    (tmp_path / "schedstat").write_text("1250000000 3 4\n")
    assert spent(tmp_path) == 1.25


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            "Traceback …\nOSError: no such library: a.so\n\n - leaked function\n",
            "OSError: no such ",
        ),
        ("starting\n  httpx.ConnectError: refused\n", "httpx.ConnectError: refused"),
        ("starting\nno luck\n\n", "no luck"),
        ("", ""),
    ],
)
def test_a_client_without_a_result_is_asked_why(tmp_path, log, said):
    (tmp_path / "client.log").write_text(log)
    assert last_words(tmp_path / "client.log").startswith(said)
    assert bool(said) == bool(last_words(tmp_path / "client.log"))


def test_a_client_that_wrote_no_log_has_no_last_words(tmp_path):
    assert last_words(tmp_path / "client.log") == ""
