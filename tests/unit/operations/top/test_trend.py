"""What was, in cells of equal time."""

from deployctl.operations.top.row import Row
from deployctl.operations.top.trend import KEPT_S, Moment, Trend, moment
from top_parts import busy


def output(each):
    return each.output


def trend(*points):
    made = Trend()
    for at, value in points:
        made.add(Moment(at, output=value))
    return made


def test_cells_have_the_greatest_of_their_time_and_gaps():
    made = trend((100.0, 1.0), (102.0, 3.0), (111.0, 5.0), (112.0, None))
    assert made.cells(output, 112.0, 5.0, 4) == [None, 3.0, None, 5.0]
    assert made.newest(output) is None


def test_what_was_shown_stays_when_time_goes_on():
    made = trend((101.0, 1.0), (107.0, 2.0))
    assert made.cells(output, 109.9, 5.0, 3) == [None, 1.0, 2.0]
    assert made.cells(output, 110.0, 5.0, 3) == [1.0, 2.0, None]


def test_what_is_too_old_is_let_go():
    made = trend((0.0, 1.0), (KEPT_S + 1, 2.0))
    assert made.cells(output, KEPT_S + 1, 2 * KEPT_S, 1) == [2.0]


def test_nothing_yet():
    assert Trend().cells(output, 5.0, 5.0, 2) == [None, None]
    assert Trend().newest(output) is None


def test_what_is_kept_of_a_row():
    assert moment(7.0, busy()) == Moment(
        7.0, 3, 2, 1.5, 12345.0, 100.0, 0.25, 0.009, 0.5, 3.0
    )  # fmt: skip
    assert moment(7.0, Row("chat")) == Moment(7.0)
