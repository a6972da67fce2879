"""The bench that replays a surface: what it draws, what it costs, what is true of it."""

import statistics
from dataclasses import replace

import pytest
from benchmarks.tuning.surface.bench import SurfaceBench

from deployctl.tuning.trial import Configuration, Failure, Invalid, Load, Observation, Started
from surface_parts import flat, named, peak, truth

BASELINE = Configuration()
QUIET = {"noise": {}}
OOM = {"kind": "out_of_memory", "reason": "CUDA out of memory"}


def bench(about, seed=0):
    found = SurfaceBench(about.surface, seed, about)
    assert found.start(BASELINE) == Started(40.0)
    return found


def test_time_is_that_of_starts_windows_and_what_is_around_them():
    found = bench(truth(flat))
    seen = found.measure(Load("rate", 5.0), 30, 1)
    assert seen.spent_s == 35
    assert found.clock_s == 75
    assert (found.starts, found.measurements) == (1, 1)


def test_the_first_start_may_take_longer():
    about = truth(flat)
    point = about.surface.points[0]
    slow = about.surface.model_copy(
        update={"points": (point.model_copy(update={"first_startup_s": 90.0}),)}
    )
    found = SurfaceBench(slow, 0)
    first = Configuration.of(point.settings)
    assert [found.start(first).seconds for _ in range(3)] == [90, 40, 40]


def test_the_same_seed_draws_the_same_and_another_does_not():
    about = truth(peak)
    load = Load("rate", 10.0)
    one, same, other = (bench(about, seed).measure(load, 30, 1) for seed in (1, 1, 2))
    assert one == same
    assert one != other


def test_a_load_that_is_far_from_the_limit_holds_or_does_not():
    about = truth(flat)
    found = bench(about)
    assert found.measure(Load("rate", 8.0), 60, 1).held == "yes"
    beyond = found.measure(Load("rate", 30.0), 60, 1)
    assert beyond.held == "no"
    assert beyond.requests_per_s < 23
    assert beyond.ttft_p95_s > 5
    assert found.measure(Load("rate", 8.0), 5, 1).held == "unclear"  # 40 requests are too few


def test_percentiles_vary_as_those_of_so_many_requests_do():
    found = bench(truth(flat, **QUIET))
    short = [found.measure(Load("rate", 5.0), 20, 1).ttft_p95_s for _ in range(300)]
    long = [found.measure(Load("rate", 5.0), 320, 1).ttft_p95_s for _ in range(300)]
    ratio = statistics.stdev(short) / statistics.stdev(long)
    assert ratio == pytest.approx(4, rel=0.3)  # √(1600 ÷ 100)


def test_starts_differ_by_the_noise_between_starts():
    about = truth(flat, noise={"between_starts": 0.1})
    found = SurfaceBench(about.surface, 0, about)
    speeds = []
    for _ in range(300):
        found.start(BASELINE)
        speeds.append(found.measure(Load("rate", 60.0), 600, 1).requests_per_s)
    assert statistics.stdev(speeds) / statistics.mean(speeds) == pytest.approx(0.1, rel=0.2)


def test_drift_slows_what_is_measured_later():
    about = truth(flat, noise={}, drift=[[0, 1.0], [1000, 0.5]])
    found = bench(about)
    early = found.measure(Load("rate", 60.0), 100, 1).requests_per_s
    found.clock_s = 2000.0
    late = found.measure(Load("rate", 60.0), 100, 1).requests_per_s
    assert late / early == pytest.approx(0.5 / 0.95, rel=0.1)


def test_failures_at_the_plan_the_start_and_under_load():
    space = {"max_num_seqs": (32, 64, 128, 256)}
    fails = [
        ({"max_num_seqs": 32}, {**OOM, "at": "plan", "kind": "refused_by_plan"}),
        ({"max_num_seqs": 64}, {**OOM, "at": "start", "spent_s": 12}),
        ({"max_num_seqs": 256}, {**OOM, "at": "load", "above": 6.0}),
    ]
    about = truth(flat, space=space, current={"max_num_seqs": 128}, failures=fails)
    found = bench(about)
    assert about.refused(named(max_num_seqs=32)).kind == "refused_by_plan"
    assert about.refused(named(max_num_seqs=99)).kind == "refused_by_plan"
    assert about.refused(named(max_num_seqs=64)) is None
    assert found.start(named(max_num_seqs=32)).kind == "refused_by_plan"
    assert found.refusals == 1
    assert found.start(named(max_num_seqs=64)) == Failure("out_of_memory", OOM["reason"], 12.0)
    assert isinstance(found.start(named(max_num_seqs=256)), Started)
    assert isinstance(found.measure(Load("rate", 5.0), 10, 1), Observation)
    assert isinstance(found.measure(Load("rate", 7.0), 10, 1), Failure)
    with pytest.raises(AssertionError, match="nothing runs"):
        found.measure(Load("rate", 5.0), 10, 1)
    assert about.score(named(max_num_seqs=64)) is None
    assert about.score(named(max_num_seqs=256)) <= 6.0
    assert about.best() == about.score(BASELINE) > 15


def test_invalid_measurements_come_as_often_as_said():
    found = bench(truth(flat, noise={"invalid": 0.2}))
    seen = [found.measure(Load("rate", 5.0), 10, 1) for _ in range(500)]
    assert 60 < sum(isinstance(s, Invalid) for s in seen) < 140


@pytest.mark.parametrize("goal", ["goodput", "throughput", "latency", "cost"])
def test_the_true_best_is_that_of_the_fastest(goal):
    about = truth(peak, problem={"goal": goal, "first": {"kind": "rate", "value": 10.0}})
    fast = named(max_num_seqs=64, max_num_batched_tokens=8192)
    assert about.score(fast) == about.best()
    if goal == "goodput":
        assert 0.85 * 28.06 < about.best() < 28.06
    better = about.best() < about.score(BASELINE)
    assert better == (goal in ("latency", "cost"))


def test_the_price_makes_dollars_of_gpu_seconds():
    seconds = truth(flat, problem={"goal": "cost", "gpus": 2}).best()
    dollars = truth(flat, problem={"goal": "cost", "gpus": 2, "usd_per_hour": 7.2}).best()
    assert dollars / seconds == pytest.approx(7.2 / 3600 / 2)


def test_settings_that_equal_the_baseline_s_may_be_named():
    about = truth(peak)
    same = named(max_num_seqs=128, max_num_batched_tokens=2048)
    assert about.score(same) == about.score(BASELINE)


def test_figures_between_two_loads_lie_between():
    curve = truth(flat).curve(BASELINE)
    low, high = curve.at(6.0), curve.at(10.0)
    middle = curve.at(8.0)
    assert low["ttft_p95_s"] < middle["ttft_p95_s"] < high["ttft_p95_s"]
    assert middle["requests_per_s"] == pytest.approx(8.0, rel=0.01)
    assert curve.at(0.5)["requests_per_s"] == pytest.approx(0.5)


def test_the_problem_is_what_the_file_says():
    about = truth(flat, problem={"gpus": 2, "usd_per_hour": 3.0})
    problem = about.problem(7, budget_s=60.0)
    assert (problem.seed, problem.budget_s, problem.gpus) == (7, 60.0, 2)
    assert problem.has_slo
    assert replace(problem, seed=0) == about.problem(0, budget_s=60.0)
    assert not truth(flat, problem={"slo": None}).problem(0).has_slo


def test_the_problem_says_at_which_share_of_good_requests_the_slo_turns():
    def turns(**slo):
        return truth(flat, problem={"slo": slo}).problem(0).turns

    assert turns(ttft_p95_s=0.5, itl_p95_s=0.05) == 0.95
    assert turns(ttft_p50_s=0.5, e2e_p95_s=5.0) == 0.5
    assert turns(itl_p50_s=0.05) == 0.95  # gaps are pooled: no share of requests follows
