"""Intervals: against textbook values, and how often they hold the truth in 150 simulated runs."""

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployctl.load import intervals
from deployctl.load.intervals import Interval

RUNS = 150
# An interval that holds in 95% of all runs holds in fewer of 150 once in 1,000 times.
LEAST = 133


def test_binomial_quantiles_are_those_of_the_definition():
    for n, p in ((1, 0.3), (12, 0.95), (40, 0.5), (300, 0.01)):
        below = 0.0
        for k in range(n + 1):
            total = below + math.comb(n, k) * p**k * (1 - p) ** (n - k)
            # In between, for rounding decides at a probability itself.
            if total - below > 1e-6 and total < 1 - 1e-9:
                assert intervals.binomial_quantile(n, p, (below + total) / 2) == k
            below = total


def test_t_quantiles_are_those_of_the_table():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 5: 2.571, 10: 2.228, 29: 2.045, 1000: 1.962}
    for degrees, value in table.items():
        assert intervals.t_quantile(0.975, degrees) == pytest.approx(value, rel=2e-4)
    assert intervals.t_quantile(0.998, 3) == pytest.approx(8.0526, rel=1e-5)


def test_the_exact_interval_of_a_share():
    # 3 of 20, and the rule of three: Clopper-Pearson's published bounds.
    few = intervals.proportion([(1, 1)] * 3 + [(0, 1)] * 17)
    assert few.low == pytest.approx(0.0321, abs=1e-3)
    assert few.high == pytest.approx(0.3789, abs=1e-3)
    none = intervals.proportion([(0, 1)] * 100)
    assert none == Interval(0.0, pytest.approx(0.0362, abs=1e-4))
    every = intervals.proportion([(1, 1)] * 100)
    assert every == Interval(pytest.approx(0.9638, abs=1e-4), 1.0)
    assert intervals.proportion([]) == Interval(0.0, 1.0)


def test_the_order_statistics_of_a_median():
    # 20 independent values: the 6th to the 15th hold the median with 95.9%.
    values = [[float(i)] for i in range(1, 21)]
    assert intervals.quantile(values, 0.5) == Interval(6.0, 15.0)


def test_a_tail_needs_enough_values_to_be_bounded():
    assert intervals.needed(0.95) == 72
    assert intervals.needed(0.99) == 368
    few = [[float(i)] for i in range(30)]
    assert intervals.quantile(few, 0.95).high == math.inf
    assert intervals.quantile(few, 0.05).low == -math.inf
    many = [[float(i % 97)] for i in range(1000)]
    assert intervals.quantile(many, 0.99).high <= 96
    assert intervals.quantile([], 0.5) == Interval(-math.inf, math.inf)


def coverage(draw, share, truth):
    held = 0
    for seed in range(RUNS):
        low, high = intervals.quantile(draw(random.Random(seed)), share)
        held += low <= truth <= high
    return held


@pytest.mark.parametrize(("share", "count"), [(0.5, 25), (0.5, 200), (0.95, 200), (0.99, 900)])
def test_percentiles_of_independent_requests_are_held(share, count):
    truth = -math.log(1 - share)
    held = coverage(lambda r: [[r.expovariate(1)] for _ in range(count)], share, truth)
    assert held >= LEAST


def test_gaps_that_resemble_each_other_within_an_answer_are_held():
    """60 answers of 30 gaps; an answer's own pace makes most of what its gaps differ by."""

    def draw(r):
        groups = []
        for _ in range(60):
            pace = math.exp(r.gauss(0, 0.5))
            groups.append([pace * math.exp(r.gauss(0, 0.1)) for _ in range(30)])
        return groups

    truth = math.exp(1.2816 * math.hypot(0.5, 0.1))
    assert coverage(draw, 0.9, truth) >= LEAST - 4
    # Taken for 1,800 independent values, the interval holds the truth far too seldom.
    naive = coverage(lambda r: _shuffled(draw(r), r), 0.9, truth)
    assert naive < 0.8 * RUNS


def _shuffled(groups, r):
    values = [[v] for group in groups for v in group]
    r.shuffle(values)
    return values


def test_requests_that_meet_the_same_queue_are_held():
    """A series with correlation 0.8 from one request to the next."""

    def draw(r):
        level, values = r.gauss(0, 1), []
        for _ in range(600):
            level = 0.8 * level + 0.6 * r.gauss(0, 1)
            values.append([level])
        return values

    assert coverage(draw, 0.5, 0.0) >= LEAST - 4
    assert coverage(draw, 0.9, 1.2816) >= LEAST - 4


def test_failures_that_come_in_bursts_widen_the_share():
    spread = [(int(i % 20 == 0), 1) for i in range(400)]
    burst = [(int(100 <= i < 120), 1) for i in range(400)]
    a, b = intervals.proportion(spread), intervals.proportion(burst)
    assert a.low <= 0.05 <= a.high
    assert b.high - b.low > 2 * (a.high - a.low)


def test_the_mean_of_a_series_is_held():
    held = 0
    for seed in range(RUNS):
        r = random.Random(seed)
        low, high = intervals.mean([r.expovariate(1) for _ in range(120)])
        held += low <= 1 <= high
    assert held >= LEAST
    assert intervals.mean([1.0]) == Interval(-math.inf, math.inf)


def test_a_ratio_is_held_and_a_difference_too():
    ratios = differences = 0
    for seed in range(RUNS):
        r = random.Random(seed)
        a = [[r.lognormvariate(0, 0.4)] for _ in range(150)]
        b = [[1.2 * r.lognormvariate(0, 0.4)] for _ in range(150)]
        old, new = intervals.quantile(a, 0.5), intervals.quantile(b, 0.5)
        before, after = sorted(a)[75][0], sorted(b)[75][0]
        low, high = intervals.ratio(before, old, after, new)
        ratios += low <= 1.2 <= high
        low, high = intervals.difference(before, old, after, new)
        differences += low <= 0.2 <= high
    assert ratios >= LEAST
    assert differences >= LEAST


def test_a_bound_that_is_open_stays_open():
    low, high = intervals.ratio(1.0, Interval(0.9, 1.1), 2.0, Interval(1.8, math.inf))
    assert low == pytest.approx(1.74, abs=0.02)
    assert high == math.inf
    assert intervals.ratio(1.0, Interval(0.9, math.inf), 2.0, Interval(1.8, 2.2)).low == 0
    assert intervals.difference(1, Interval(-math.inf, 2), 1, Interval(0, 2)).high == math.inf


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.lists(st.floats(0, 1e6), min_size=1, max_size=6), min_size=1, max_size=80),
    st.sampled_from([0.05, 0.5, 0.9, 0.99]),
)
def test_an_interval_holds_its_own_percentile_and_grows_with_confidence(groups, share):
    ordered = sorted(v for g in groups for v in g)
    value = ordered[max(0, math.ceil(share * len(ordered)) - 1)]
    narrow = intervals.quantile(groups, share, 0.90)
    wide = intervals.quantile(groups, share, 0.99)
    assert wide.low <= narrow.low <= value <= narrow.high <= wide.high


@settings(max_examples=150, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_a_shares_interval_holds_the_share(hits):
    low, high = intervals.proportion([(int(hit), 1) for hit in hits])
    assert 0 <= low <= sum(hits) / len(hits) <= high <= 1
