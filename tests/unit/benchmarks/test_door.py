"""What the benchmark of the door says of runs in pairs."""

import numpy as np
import pytest
from benchmarks.door import cold
from benchmarks.door.__main__ import Measured, interval, row
from benchmarks.door.client import Seen, interval_s


def runs(*cpu_ms, first_ms=300.0):
    return [Measured(each / 1e3, Seen(first_ms / 1e3, 0.32, 0.004)) for each in cpu_ms]


def test_the_interval_is_that_of_the_differences():
    """Whatever both runs of a pair share is in neither."""
    centre, half = interval(np.array([0.01, 0.02, 0.03]))
    assert (centre, half) == (pytest.approx(0.02), pytest.approx(4.3027 * 0.01 / 3**0.5, rel=1e-3))


def test_a_row_has_both_runs_and_what_is_more():
    text, well = row(1024, runs(2.0, 4.0, 3.0), runs(2.02, 4.04, 3.03, first_ms=300.1))
    cells = [cell.strip() for cell in text.strip("|").split("|")]
    assert cells == [
        "1,024", "171", "3.00", "3.03", "+1.0% ± 0.0%", "+0.100 ± 0.000",
        "20.00", "20.00", "4.00", "4.00",
    ]  # fmt: skip
    assert well


@pytest.mark.parametrize(
    "door", [runs(2.1, 4.1, 3.1), runs(2.0, 4.0, 3.0, first_ms=300.3)], ids=["cpu", "ttft"]
)
def test_a_door_that_costs_more_than_it_may_is_said(door):
    assert not row(64, runs(2.0, 4.0, 3.0), door)[1]


def test_all_streams_together_send_what_a_server_can():
    assert interval_s(64) == 0.02
    assert 1024 / interval_s(1024) == pytest.approx(6000)


def test_a_stream_is_run_in_steps_and_every_door_passes_it(capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["cold", "--warm", "--rounds", "2"])
    assert cold.main() == 0
    rows = [line.strip("|").split("|") for line in capsys.readouterr().out.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [
        "no door", "a passage that does nothing", "a passage that counts", "the door",
        "the door, of an engine that tells usage in the stream alone",
    ]  # fmt: skip
    assert all(len(row) == 7 for row in rows)
    assert all(float(cell) > 0 for cell in rows[0][1:])
