"""What holds of every search, whatever comes of its steps."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployctl.tuning.search.stepwise import Stepwise
from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Invalid,
    Measure,
    Observation,
    Start,
    Started,
)
from surface_parts import flat, peak, play, truth

PEAK = truth(peak)
SMALL = {"max_num_seqs": (64, 128, 256), "max_num_batched_tokens": (2048, 8192)}
FLAT = truth(flat, space=SMALL)


@pytest.mark.parametrize("seed", [0, 1])
def test_any_prefix_of_tells_leads_to_the_same_next_step(seed):
    whole, _, told = play(PEAK, seed)
    assert len(told) > 20
    for length in range(0, len(told), 5):
        again = Stepwise(PEAK.problem(seed))
        for step, result in told[:length]:
            assert again.ask() == step
            again.tell(step, result)
        assert again.ask() == told[length][0]
        assert again.ask() == again.ask()
    assert whole.ask() is None


def test_the_same_tells_give_the_same_answer():
    search, _, told = play(PEAK, 3)
    again = Stepwise(PEAK.problem(3))
    for step, result in told:
        again.tell(step, result)
    assert again.answer() == search.answer()


@pytest.mark.parametrize("budget", [30, 90, 200, 400, 900, 1800, 3600])
def test_the_budget_is_exceeded_by_one_step_at_most(budget):
    problem = replace(PEAK.problem(0), budget_s=float(budget))
    search, bench, told = play(PEAK, 0, problem=problem)
    last = getattr(told[-1][1], "spent_s", getattr(told[-1][1], "seconds", 0.0))
    assert bench.clock_s - last < budget
    assert search.answer().verdict in ("winner", "no_clear_winner", "baseline_best")


@pytest.mark.parametrize("most", [1, 2, 3, 5, 8])
def test_no_more_engines_are_started_than_allowed(most):
    problem = replace(PEAK.problem(0), max_trials=most)
    search, bench, _ = play(PEAK, 0, problem=problem)
    assert bench.starts <= most
    assert search.answer().baseline is not None


def test_what_the_planner_refuses_is_never_started():
    about = truth(lambda s: None if s["max_num_seqs"] == 64 else peak(s))
    for seed in range(5):
        search, bench, _ = play(about, seed)
        assert bench.refusals == 0
        refused = [c for c, f in search.answer().failures if f.kind == "refused_by_plan"]
        assert refused
        assert {c.settings["max_num_seqs"] for c in refused} == {64}


def test_fewer_tokens_than_sequences_are_reached_with_fewer_sequences():
    """The scheduler refuses them alone, and the best is there."""
    about = truth(
        lambda s: (
            None
            if s["max_num_batched_tokens"] < s["max_num_seqs"]
            else 20.0
            if s["max_num_batched_tokens"] <= 32
            else 10.0
        ),
        space={"max_num_batched_tokens": (16, 32, 64, 2048), "max_num_seqs": (4, 16, 128)},
        current={"max_num_batched_tokens": 2048, "max_num_seqs": 128},
    )
    for seed in range(5):
        search, bench, _ = play(about, seed)
        answer = search.answer()
        assert answer.verdict == "winner"
        assert answer.winner.configuration.settings["max_num_batched_tokens"] in (16, 32)
        assert bench.refusals == 0


def test_from_a_corner_the_sequences_are_tried_first():
    """Few tokens are what helps here, and few sequences cost: both came with the corner."""
    about = truth(
        lambda s: (
            10.0
            * (2.0 if s["max_num_batched_tokens"] == 512 else 1.0)
            * (0.9 if s["max_num_seqs"] == 16 else 1.0)
        ),
        space={"max_num_batched_tokens": (256, 512, 1024, 2048), "max_num_seqs": (16, 64, 128)},
        current={"max_num_batched_tokens": 2048, "max_num_seqs": 128},
    )
    for seed in range(5):
        _, _, told = play(about, seed)
        tried = [step.configuration.settings for step, _ in told if isinstance(step, Start)]
        corner = {"max_num_batched_tokens": 512, "max_num_seqs": 16}
        assert tried[:2] == [{}, corner]
        assert tried[2] == {**corner, "max_num_seqs": 64}


@pytest.mark.parametrize("seeds", [40, pytest.param(200, marks=pytest.mark.night)])
def test_nothing_wins_where_nothing_matters(seeds):
    answers = [play(FLAT, seed)[0].answer() for seed in range(seeds)]
    assert sum(a.verdict == "winner" for a in answers) <= 0.02 * seeds
    assert sum(a.verdict == "no_clear_winner" for a in answers) >= 0.95 * seeds


def test_a_wrong_winner_is_hardly_ever_named():
    best = PEAK.best()
    answers = [play(PEAK, seed)[0].answer() for seed in range(50)]
    scores = [PEAK.score(a.winner.configuration) for a in answers if a.verdict == "winner"]
    assert len(scores) >= 47
    assert sum(worth < 0.95 * best for worth in scores) <= 1


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.sampled_from(["goodput", "throughput", "latency"]))
def test_it_ends_and_asks_only_what_can_be_done(random, goal):
    search = Stepwise(replace(PEAK.problem(0), goal=goal))
    running, steps = False, 0
    while (step := search.ask()) is not None:
        steps += 1
        assert steps < 2000
        remaining = search.remaining()
        assert remaining[0] >= 1
        assert 0 <= remaining[1] <= 7200
        search.tell(step, result := _anything(random, step))
        if isinstance(step, Start):
            assert isinstance(step.configuration, Configuration)
            running = isinstance(result, Started)
        else:
            assert running, "measured what does not run"
            assert step.seconds > 0
            assert step.load.value > 0
            running = not isinstance(result, Failure)
        search.answer()
    assert search.remaining() == (0, 0.0)


def _anything(random, step):
    luck = random.random()
    if luck < 0.06:
        kind = random.choice(["out_of_memory", "died_under_load", "preemption_storm"])
        return Failure(kind, "bad luck", 30.0)
    if isinstance(step, Start):
        return Started(random.uniform(10, 90))
    assert isinstance(step, Measure)
    if luck < 0.2:
        return Invalid("the client was late", 20.0)
    if luck < 0.25:  # nothing came to an end
        return Observation(step.load, step.seconds, step.seconds, "no", 0, 0, 0, 0, 0, 0, 0, 0)
    rate, share = random.uniform(0.1, 40), random.random() ** 0.2
    count = round(rate * step.seconds)
    return Observation(
        load=step.load, seconds=step.seconds, spent_s=step.seconds + 5,
        held=random.choice(["yes", "no", "unclear"]),
        requests_per_s=rate, output_tokens_per_s=rate * 32, goodput_per_s=rate * share,
        goodput_low=rate * share * 0.9, goodput_high=min(rate, rate * share * 1.1),
        ok=count, failed=0, incomplete=0, e2e_p50_s=1.0, e2e_p95_s=random.uniform(1, 3),
    )  # fmt: skip
