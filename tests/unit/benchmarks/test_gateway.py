"""What benchmarks.gateway makes of the runs past the gateway and through it."""

import numpy as np
import pytest
from benchmarks.gateway.__main__ import Heard, Run, added, row


def ran(first_ms, gap_ms, late_ms=0.5, cpu_ms=(4.0, 1.0)):
    gaps = np.full(63, gap_ms / 1e3)
    return Run(np.array([first_ms / 1e3]), gaps, np.array([late_ms / 1e3]), np.array(cpu_ms) / 1e3)


def test_what_is_added_is_of_each_rounds_own_difference():
    past = [ran(303.0, 20.0), ran(313.0, 20.0)]  # the second round was in a bad moment
    through = [ran(303.4, 20.1, cpu_ms=(4.0, 2.0)), ran(313.6, 20.1, cpu_ms=(4.0, 3.0))]
    centre, half = added((past, through), "firsts", 50)
    assert centre == pytest.approx(0.5)
    assert half < 1.5
    cells = [cell.strip() for cell in row(64, (past, through)).strip("|").split("|")]
    assert cells[:3] == ["64", "20", "2"]
    assert cells[5].startswith("+0.100")
    assert cells[7:] == ["4.00", "2.50", "0.50", "0.50"]


def test_a_stream_notes_when_each_text_came():
    class Loop:
        now = 0.0

        def time(self):
            self.now += 1.0
            return self.now

    heard = Heard.__new__(Heard)
    heard._loop, heard._head, heard.first_s, heard._begun = Loop(), b"", None, 0.0
    heard.came = []
    for piece in (
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"data: {1}\n\n",
        b"data: {2}\n\n",
        b"data: [DONE]\n\n",
    ):
        heard.data_received(piece)
    assert len(heard.came) == 2
    assert heard.first_s is not None
