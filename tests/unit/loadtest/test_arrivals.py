import statistics
from itertools import islice, pairwise

import pytest

from deployctl_loadtest import arrivals


def first(count, *schedule):
    return list(islice(arrivals.schedule(*schedule), count))


def gaps(times):
    return [b - a for a, b in pairwise(times)]


def test_constant_arrivals_begin_at_once_and_never_drift():
    times = first(100_001, 10.0, "constant", "s")
    assert times[0] == 0
    assert times[-1] == pytest.approx(10_000, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "cv"), [("poisson", 1.0), ("gamma:1", 1.0), ("gamma:3", 3.0), ("gamma:0.25", 0.25)]
)
def test_random_arrivals_have_the_rate_and_the_burstiness_asked_for(kind, cv):
    found = gaps(first(40_000, 20.0, kind, "s"))
    mean = statistics.fmean(found)
    assert mean == pytest.approx(1 / 20, rel=0.06)
    assert statistics.stdev(found) / mean == pytest.approx(cv, rel=0.06)
    assert min(found) >= 0


def test_poisson_counts_vary_as_their_mean():
    times = first(20_000, 10.0, "poisson", "s")
    counts = [0] * 1500
    for at in times:
        if at < 1500:
            counts[int(at)] += 1
    assert statistics.variance(counts) == pytest.approx(statistics.fmean(counts), rel=0.15)


def test_a_seed_fixes_them():
    assert first(50, 5.0, "gamma:2", "a") == first(50, 5.0, "gamma:2", "a")
    assert first(50, 5.0, "gamma:2", "a") != first(50, 5.0, "gamma:2", "b")


def test_in_a_ramp_the_rate_grows_evenly():
    times = first(2000, 100.0, "constant", "s", 10.0)
    # The area below the line from 0 to 100/s: 1/s² × t² ÷ 2 × 10.
    for second in (2, 5, 10):
        assert sum(at < second for at in times) == pytest.approx(5 * second**2, abs=2)
    after = [at for at in times if at >= 10]
    assert gaps(after) == pytest.approx([0.01] * (len(after) - 1))
    assert all(gap > 0 for gap in gaps(times))


def test_what_is_no_kind_is_refused():
    for wrong in ("", "even", "gamma", "gamma:", "gamma:x", "gamma:0", "gamma:-1", "gamma:nan"):
        with pytest.raises(ValueError, match=r"gamma|CV"):
            arrivals.burstiness(wrong)
