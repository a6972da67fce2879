"""From two readings to a row, and the order of rows."""

import pytest

from deployctl.operations.top.row import SORTS, Row, busiest, figures_of, sorted_by
from deployctl_door.account import Account
from top_parts import PAGE, busy, figures, reading, silent, times

HERE, THERE = "http://127.0.0.1:1", "http://127.0.0.1:2"
STARTED = "process_start_time_seconds 1.79550622596e+09"


def door(refused):
    account = Account(log=False)
    for _ in range(refused):
        account.refused("ci", "limit")
    return account.metrics().decode()


def test_two_readings_of_a_recorded_page():
    seen, keys = figures_of({HERE: reading()}, {HERE: reading(times(PAGE, 2), at=4.0)})
    assert (seen.seconds, seen.restarted) == (4.0, False)
    assert seen.requests_per_s == 63 / 4
    assert seen.generation_tokens_per_s == 4032 / 4
    assert seen.prompt_tokens_per_s == 8696 / 4
    assert seen.ttft_s.observed == 63
    assert seen.ttft_s.p50 == pytest.approx(0.01 + 0.01 * (31.5 - 22) / 37, abs=1e-6)
    assert keys == ()


def test_an_engine_that_was_not_read_before_counts_as_it_stands():
    seen, keys = figures_of({}, {HERE: reading(door=door(5))})
    assert seen.generation_tokens == 0
    assert seen.generation_tokens_per_s is None
    assert (seen.running, seen.ttft_s) == (0, None)
    assert keys == ()


def test_a_restarted_engine_gives_no_negative_rate_and_what_it_did_since():
    before, after = reading(times(PAGE, 3), door=door(9)), reading(PAGE, 2.0, door=door(4))
    seen, keys = figures_of({HERE: before}, {HERE: after})
    assert seen.restarted
    assert seen.generation_tokens_per_s == 4032 / 2
    assert [(use.key, use.refusals) for use in keys] == [("ci", 4)]


def test_another_process_is_seen_though_no_counter_fell():
    other = times(PAGE, 2).replace(STARTED, "process_start_time_seconds 1.79550699e+09")
    seen, _ = figures_of({HERE: reading()}, {HERE: reading(other, 2.0)})
    assert seen.restarted
    assert seen.generation_tokens == 2 * 4032


def test_of_several_engines_one_that_restarts_or_comes_later_spoils_nothing():
    twice = times(PAGE, 2)
    before = {HERE: reading(), THERE: reading(twice)}
    now = {HERE: reading(twice, 2.0), THERE: reading(at=2.0), "new": reading(twice, 2.0)}
    seen, _ = figures_of(before, now)
    assert seen.generation_tokens == 4032 + 4032  # one went on, one began anew; the new one waits
    assert seen.restarted


def test_keys_of_several_doors_are_added_up():
    before = {HERE: reading(door=door(1)), THERE: reading(door=door(2))}
    now = {HERE: reading(at=2.0, door=door(4)), THERE: reading(at=2.0, door=door(3))}
    _, (use,) = figures_of(before, now)
    assert (use.key, use.refused) == ("ci", {"limit": 4})


def test_rates_of_a_row():
    assert busy().per_s(3) == 1.5
    assert busy().refusals == 6
    assert Row("chat").per_s(3) is None


def test_the_greatest_comes_first_and_what_is_not_known_last():
    low, high = busy(service="b", figures=figures(waiting=1)), busy(service="c")
    rows = [silent("a"), low, high]
    assert [row.service for row in sorted_by(rows, "waiting")] == ["c", "b", "a"]
    assert [row.service for row in sorted_by(rows, "waiting", turned=True)] == ["b", "c", "a"]
    assert [row.service for row in sorted_by(rows, "service", turned=True)] == ["c", "b", "a"]


@pytest.mark.parametrize("name", SORTS)
def test_every_order_takes_every_row(name):
    rows = [busy(service="b"), silent("c"), Row("a")]
    assert {row.service for row in sorted_by(rows, name)} == {"a", "b", "c"}


def test_the_busiest_key_comes_first():
    (use,) = busy().keys
    more = use._replace(key="alice", output_tokens=81)
    assert busiest([use, more]) == [more, use]
