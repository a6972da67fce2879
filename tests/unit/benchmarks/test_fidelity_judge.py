"""Errors against the truth, and the runs that prove nothing."""

import json

import pytest
from benchmarks.fidelity import judge, truth
from benchmarks.fidelity.readings import Account, Reading
from benchmarks.fidelity.truth import Sent, Truth


def sent(stream=0, *, role=None, fault=None, texts=(10.3, 10.32, 10.34)):
    return Sent(stream, 10.0, texts, role, len(texts), fault, True, 10.4, 0.0)


def known(*streams, late_p99=0.0, late_max=0.0, lain=0.0, blocked=0):
    return Truth({s.stream: s for s in streams}, late_p99, late_max, lain, blocked, 1.0)


def held(streams, *readings, failed=0):
    return judge.judge(known(*streams), Account(readings, failed, 0))


def ms(errors):
    return [round(error * 1000, 3) for error in errors]


def test_errors_are_reported_less_true():
    found = held([sent()], Reading(0, 0.302, 5.0, (0.021, 0.020)))
    assert ms(found.ttft_s) == [2.0]
    assert ms(found.gap_s) == [1.0, 0.0]
    assert found.compared == 1


def test_lag_is_beyond_the_quickest_chunk_of_the_run_on_whatever_clock():
    late = Reading(1, 0.307, 5.0, (0.02, 0.02))
    found = held([sent(0), sent(1)], Reading(0, 0.302, 5.0, (0.02, 0.02)), late)
    assert ms(found.lag_s) == [0.0, 0.0, 0.0, 5.0, 5.0, 5.0]


def test_who_counts_the_role_chunk_is_compared_with_it_and_it_is_said():
    found = held([sent(role=10.25)], Reading(0, 0.25, 5.0, (0.05, 0.02, 0.02)))
    assert found.role_counted == 1
    assert ms(found.ttft_s) == [0.0]
    assert ms(found.ttft_by_text_s) == [-50.0]
    assert ms(found.gap_s) == [0.0, 0.0, 0.0]


def test_who_gives_no_gaps_is_compared_by_the_mean():
    found = held([sent()], Reading(0, 0.3, 5.0, None, 0.021))
    assert found.gap_s == []
    assert ms(found.mean_gap_s) == [1.0]
    role = held([sent(role=10.25)], Reading(0, 0.2501, 5.0, None, 0.03))
    assert role.role_counted == 1


def test_two_events_of_one_write_have_no_gap_between_them():
    texts = (10.3, 10.3, 10.34)
    assert ms(held([sent(texts=texts)], Reading(0, 0.3, 5.0, (0.0, 0.04))).gap_s) == [0.0, 0.0]
    merged = held([sent(texts=texts)], Reading(0, 0.3, 5.0, (0.04,)))
    assert merged.merged == 1
    assert ms(merged.gap_s) == [0.0]


def test_gaps_of_no_known_kind_are_counted():
    found = held([sent()], Reading(0, 0.3, 5.0, (0.01,) * 7))
    assert (found.misread, found.gap_s) == (1, [])


def test_failures_missed_and_invented():
    streams = [sent(0), sent(1), sent(2, fault="truncated"), sent(3, fault="truncated")]
    good = [Reading(n, 0.3, 5.0, (0.02, 0.02)) for n in range(4)]
    right = held(streams, *good[:2], failed=2)
    assert (right.missed, right.invented) == (0, 0)
    missed = held(streams, *good[:3], failed=1)
    assert (missed.missed, missed.invented) == (1, 0)
    invented = held(streams, *good[:1], failed=3)
    assert (invented.missed, invented.invented) == (0, 1)


def test_a_success_that_names_no_stream_is_unknown():
    assert held([sent()], Reading(None, 0.3), Reading(99, 0.3)).unknown == 2


def test_the_rate_is_that_of_arrivals():
    streams = [Sent(n, 10.0 + n / 50, (11.0,), None, 1, None, True, 12.0, 0.0) for n in range(51)]
    account = Account(tuple(Reading(n, 0.3) for n in range(51)), 0, 0)
    assert judge.arrivals(known(*streams), account) == pytest.approx(50)
    assert judge.window(known(*streams), account) == (10.0, 12.0)


def test_spread():
    assert judge.spread([]) is None
    assert judge.spread([-0.001, 0.002]) == {
        "p50_ms": 1.5, "p99_ms": 1.99, "max_ms": 2.0, "count": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"late_p99": 0.003}, "1% of writes were over 3.0 ms late"),
        ({"late_max": 0.025}, "a write was 25.0 ms late"),
        ({"lain": 0.003}, "may have lain 3.0 ms unread"),
        ({"blocked": 2}, "2 writes met a full buffer"),
    ],
)
def test_a_run_in_which_the_server_was_late_is_invalid(fields, said):
    assert known(sent()).reasons == []
    (reason,) = known(sent(), **fields).reasons
    assert said in reason


def test_the_log_is_read_and_a_missing_end_refused(tmp_path):
    row = {
        "stream": 0, "begun": 10.0, "lain": 0.0001, "role": None, "texts": [10.3, 10.32],
        "tokens": 2, "fault": None, "whole": True, "ended": 10.4,
    }  # fmt: skip
    own = {"scenario": "one_token", "late_s": [0.0001, 0.03], "blocked": 0, "cpu_s": 0.5}
    path = tmp_path / "log"
    path.write_text(json.dumps(row) + "\n" + json.dumps(own) + "\n")
    read = truth.read(path)
    assert read.streams[0].texts == (10.3, 10.32)
    assert read.late_max_s == 0.03
    assert len(read.reasons) == 2
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="left no log"):
        truth.read(path)
