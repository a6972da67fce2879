"""Which answer which surface gets, and what is in it."""

from dataclasses import replace

import pytest
from benchmarks.tuning.surface.bench import SurfaceBench

from deployctl.tuning.search import strategy
from deployctl.tuning.search.ledger import BASELINE
from deployctl.tuning.search.stepwise import Stepwise
from deployctl.tuning.trial import Failure, Invalid, Measure, Start
from surface_parts import BATCH, CURRENT, flat, named, peak, play, truth

OOM = "CUDA out of memory"
GPU = {"gpu_memory_utilization": (0.85, 0.9, 0.95), "max_num_seqs": (64, 128, 256)}
GPU_NOW = {"gpu_memory_utilization": 0.9, "max_num_seqs": 128}


def test_the_best_of_a_peak_wins_with_its_evidence():
    about = truth(peak)
    search, _, told = play(about)
    answer = search.answer()
    assert answer.verdict == "winner"
    assert answer.winner.configuration == named(max_num_seqs=64, max_num_batched_tokens=8192)
    assert answer.winner.slo_met
    assert answer.winner.low < answer.winner.objective < answer.winner.high
    ratio, low, high = answer.improvement
    assert low < 1.4 < high
    assert 1.2 < ratio < 1.6
    assert answer.standings[0].configuration == answer.winner.configuration
    phases = [step.phase for step, _ in told]
    assert phases[0] == "baseline"
    assert phases[-1] == "final"
    assert {"screen", "final"} <= set(phases)


def test_the_baseline_is_measured_first_and_again_at_the_end():
    for about in (truth(peak), truth(flat)):
        _, _, told = play(about)
        starts = [step.configuration for step, _ in told if isinstance(step, Start)]
        assert starts[0] == BASELINE
        assert BASELINE in starts[-2:]


def test_defaults_that_are_best_are_said_to_be():
    about = truth(
        lambda s: 20.0 if (s["max_num_seqs"], s["max_num_batched_tokens"]) == (128, 2048) else 12.0
    )
    answers = [play(about, seed)[0].answer() for seed in range(10)]
    assert {a.verdict for a in answers} == {"baseline_best"}
    assert all(a.winner is None for a in answers)
    true = about.score(BASELINE)
    assert all(a.baseline.objective == pytest.approx(true, rel=0.15) for a in answers)


def test_nothing_that_holds_its_slo_is_feasible():
    about = truth(flat, problem={"slo": {"ttft_p95_s": 0.01}})
    answer = play(about)[0].answer()
    assert answer.verdict == "nothing_feasible"
    assert answer.winner is None
    assert answer.baseline.slo_met is False


def test_a_baseline_that_misses_its_slo_loses_to_what_keeps_it():
    about = truth(lambda s: 20.0 if s["max_num_seqs"] == 64 else 0.0001)
    search, _, _ = play(about)
    answer = search.answer()
    assert answer.verdict == "winner"
    assert answer.winner.configuration.settings["max_num_seqs"] == 64
    assert answer.improvement is None
    assert "misses the SLO" in answer.why


def test_a_baseline_that_fails_to_start_loses_to_what_runs():
    fails = ({"max_num_seqs": 128}, {"at": "start", "kind": "start_refused", "reason": "no room"})
    answer = play(truth(peak, failures=(fails,)))[0].answer()
    assert answer.verdict == "winner"
    assert answer.baseline.objective is None
    assert "no room" in answer.why
    assert answer.failures[0] == (BASELINE, Failure("start_refused", "no room", 40.0))


def test_everything_fails():
    fails = ({}, {"at": "start", "kind": "start_refused", "reason": "no driver", "spent_s": 3})
    search, bench, _ = play(truth(peak, failures=(fails,)))
    answer = search.answer()
    assert answer.verdict == "nothing_feasible"
    assert len(answer.failures) == bench.starts


def test_a_budget_for_nothing_but_the_baseline():
    about = truth(peak)
    answer = play(about, problem=replace(about.problem(0), budget_s=120.0))[0].answer()
    assert answer.verdict == "no_clear_winner"
    assert answer.winner is None
    assert "budget" in " ".join(answer.notes)


def test_a_budget_too_small_for_one_trial():
    about = truth(peak)
    problem = replace(
        about.problem(0), budget_s=10.0, prior=lambda c: replace(about.prior(c), startup_s=60.0)
    )
    search = strategy(problem)
    assert search.ask() is None
    assert search.answer().verdict == "no_clear_winner"
    assert "budget" in search.answer().why


def test_interrupted_has_the_best_so_far():
    about = truth(peak)
    whole = len(play(about)[2])
    search, _, _ = play(about, stop=whole * 2 // 3)
    answer = search.answer()
    assert answer.verdict == "interrupted"
    assert about.score(answer.winner.configuration) > 1.1 * about.score(BASELINE)
    assert play(about, stop=2)[0].answer().winner is None


def test_more_of_what_ran_out_of_memory_is_not_tried():
    fails = (
        {"gpu_memory_utilization": 0.95},
        {"at": "load", "kind": "out_of_memory", "reason": OOM},
    )
    about = truth(flat, space=GPU, current=GPU_NOW, failures=(fails,))
    search, _, _ = play(about)
    high = [c for c, _ in search.answer().failures]
    assert len(high) == 1  # one was tried, those with more sequences followed from it
    assert search.answer().verdict != "winner"


def test_a_failure_is_never_a_score():
    fails = (
        {"max_num_batched_tokens": 8192},
        {"at": "load", "kind": "died_under_load", "reason": "x"},
    )
    about = truth(peak, failures=(fails,))
    answer = play(about)[0].answer()
    assert answer.verdict in ("winner", "no_clear_winner")
    if answer.winner is not None:
        assert "max_num_batched_tokens" not in answer.winner.configuration.settings
    failed = {c for c, _ in answer.failures}
    assert failed
    ranks = [s.configuration for s in answer.standings]
    assert all(ranks.index(c) >= len(ranks) - len(failed) - 5 for c in failed)


def test_an_invalid_measurement_is_made_again_and_then_set_aside():
    about = truth(peak)
    search = Stepwise(about.problem(0))
    bench = SurfaceBench(about.surface, 0, about)
    search.tell(search.ask(), bench.start(BASELINE))
    first = search.ask()
    for _ in range(3):
        assert search.ask() == first
        search.tell(first, Invalid("the client was late", 20.0))
    assert search.ask() != first
    assert any("set aside" in note for note in search.answer().notes)


@pytest.mark.parametrize(
    ("goal", "slo"),
    [
        ("goodput", True), ("goodput", False), ("throughput", True), ("throughput", False),
        ("latency", True), ("latency", False), ("cost", True), ("cost", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["rate", "users"])
def test_every_goal_has_its_best(goal, slo, kind):
    problem = {"goal": goal, "first": {"kind": kind, "value": 4.0}, "usd_per_hour": 0.8}
    if not slo:
        problem["slo"] = None
    about = truth(peak, problem=problem)
    answer = play(about)[0].answer()
    true = about.score(answer.winner.configuration) if answer.winner else about.score(BASELINE)
    best = about.best()
    assert true == pytest.approx(best, rel=0.06)
    if answer.winner:
        assert answer.winner.objective == pytest.approx(true, rel=0.15)
        assert answer.improvement[0] > 1


def test_cost_without_a_price_is_in_gpu_seconds():
    about = truth(peak, problem={"goal": "cost", "gpus": 2})
    answer = play(about)[0].answer()
    assert answer.winner.objective == pytest.approx(about.best(), rel=0.15)
    assert about.best() > 100


def test_drift_is_said_and_does_not_win():
    slow = {"drift": [[0, 1.0], [1200, 0.75], [7200, 0.5]]}
    answers = [play(truth(flat, **slow), seed)[0].answer() for seed in range(20)]
    assert not [a for a in answers if a.verdict == "winner"]
    assert sum(any("drifted" in note for note in a.notes) for a in answers) >= 10


def test_how_the_model_is_split_comes_before_batch_settings():
    space = {**BATCH, "tensor_parallel_size": (1, 2, 4)}
    about = truth(
        lambda s: peak(s) * {1: 1.3, 2: 1.1, 4: 1.0}[s["tensor_parallel_size"]],
        space=space, current={**CURRENT, "tensor_parallel_size": 4}, problem={"gpus": 4},
    )  # fmt: skip
    search, _, told = play(about)
    starts = [step.configuration for step, _ in told if isinstance(step, Start)]
    assert starts[1].settings == {"tensor_parallel_size": 2}
    assert starts[2].settings == {"tensor_parallel_size": 1}
    assert search.answer().winner.configuration.settings["tensor_parallel_size"] == 1


def test_one_start_serves_several_loads():
    _, _, told = play(truth(peak))
    assert sum(isinstance(step, Measure) for step, _ in told) > 1.5 * sum(
        isinstance(step, Start) for step, _ in told
    )


def test_preemptions_beyond_the_limit_do_not_make_a_baseline_infeasible():
    storm = {"at": "load", "kind": "preemption_storm", "reason": "131 preemptions", "above": 25.0}
    about = truth(peak, failures=(({"max_num_seqs": 128}, storm),))
    for seed in range(5):
        search, _, told = play(about, seed)
        answer = search.answer()
        assert answer.baseline.objective == pytest.approx(about.score(BASELINE), rel=0.2)
        assert answer.verdict == "winner"
        assert answer.improvement[0] > 1.1
    assert any(isinstance(result, Failure) for _, result in told)


def test_what_runs_out_of_memory_under_load_is_infeasible_whatever_held_before():
    fails = {"at": "load", "kind": "out_of_memory", "reason": OOM, "above": 25.0}
    about = truth(peak, failures=(({"max_num_seqs": 64}, fails),))
    answer = play(about)[0].answer()
    assert any(f.kind == "out_of_memory" for _, f in answer.failures)
    assert answer.winner is None or answer.winner.configuration.settings["max_num_seqs"] != 64
