"""A closed loop of few users: they are whole, and half as many may be none."""

import math

import pytest

from deployctl.tuning.search.ledger import BASELINE, Run
from deployctl.tuning.search.reading import believe, read
from deployctl.tuning.trial import Load, Measure, Observation, Prior, Problem, Start
from surface_parts import COLUMNS, play, truth

LIMIT = {128: 1, 16: 8, 4: 4}  # users at which the SLO still holds, by max_num_seqs
SPACE = {"max_num_seqs": (4, 16, 128), "tensor_parallel_size": (1, 2)}
CURRENT = {"max_num_seqs": 128, "tensor_parallel_size": 1}
USERS = (1, 2, 3, 4, 6, 8, 9, 12)


def rows(settings):
    """More users are served more, the more the fewer there are; ITL leaps beyond the limit."""
    slow = 0.05 if settings["tensor_parallel_size"] == 2 else 1.0
    found = []
    for users in USERS:
        rate = slow * 12 * users / (1 + users)
        itl = (0.01 if users <= LIMIT[settings["max_num_seqs"]] else 0.06) / slow
        e2e = users / rate
        found.append(
            [users, rate, rate * 32, 0.02, 0.04, itl * 0.8, itl, e2e * 0.9, e2e * 1.4]
        )  # fmt: skip
    return found


@pytest.fixture(scope="module")
def few():
    about = truth(
        lambda settings: 1.0, space=SPACE, current=CURRENT,
        problem={
            "first": {"kind": "users", "value": 4}, "budget_s": 3600,
            "slo": {"ttft_p95_s": 1.0, "itl_p95_s": 0.03},
        },
    )  # fmt: skip
    document = about.surface.model_dump()
    for point in document["points"]:
        point["rows"] = rows({**CURRENT, **point["settings"]})
    assert tuple(document["columns"]) == tuple(COLUMNS)
    return type(about)(type(about.surface).model_validate(document))


@pytest.mark.parametrize("seed", range(3))
def test_what_holds_more_users_wins_against_one_that_holds_one(few, seed):
    search, _, told = play(few, seed)
    answer = search.answer()
    assert (answer.verdict, answer.winner.configuration.settings) == (
        "winner",
        {"max_num_seqs": 16},
    )
    # What one user had, and nothing between one user and two.
    assert answer.baseline.objective == pytest.approx(6.0, rel=0.08)
    assert answer.winner.objective == pytest.approx(12 * 8 / 9, rel=0.08)
    held = {}
    running = None
    for step, result in told:
        if isinstance(step, Start):
            running = (step.configuration, len(held))
            held[running] = []
        elif isinstance(step, Measure) and isinstance(result, Observation):
            held[running].append(result.load.value)
    # Each start of the baseline came down to the one user that it can have.
    assert all(1.0 in loads for (c, _), loads in held.items() if c == BASELINE)


def test_a_split_that_serves_a_twentieth_is_left_for_good(few):
    _, _, told = play(few, 1)
    starts = [step.configuration for step, _ in told if isinstance(step, Start)]
    assert sum("tensor_parallel_size" in c.settings for c in starts) == 1
    assert {c.settings.get("max_num_seqs") for c in starts} == {None, 4, 16}


def test_the_true_best_of_a_closed_loop_is_that_of_whole_users(few):
    assert few.score(BASELINE) == pytest.approx(6.0)


@pytest.mark.parametrize("seed", range(4))
def test_little_time_is_enough_for_the_finals(few, seed):
    search, _, _ = play(few, seed, problem=few.problem(seed, budget_s=480))
    answer = search.answer()
    assert (answer.verdict, answer.winner.configuration.settings) == (
        "winner",
        {"max_num_seqs": 16},
    )


def test_a_load_that_was_decided_is_not_decided_again(few):
    """The baseline breaks at two users in its first start: later ones are seen with one alone."""
    _, _, told = play(few, 1)
    loads = []
    for step, result in told:
        if isinstance(step, Start):
            loads.append((step, []))
        elif isinstance(result, Observation):
            loads[-1][1].append(result.load.value)
    finals = [seen for step, seen in loads if step.phase == "final"]
    assert {1.0, 2.0} <= set(loads[0][1])
    assert len(finals) >= 4
    assert sum(len(seen) == 1 for seen in finals) >= 0.75 * len(finals)


PROBLEM = Problem(
    goal="goodput", parameters=(), budget_s=600, max_trials=None, seed=0,
    first=Load("users", 4), has_slo=True, gpus=1, usd_per_hour=None, output_tokens=32,
    refused=lambda _: None, prior=lambda _: Prior(),
)  # fmt: skip


def seen(users, rate, share, held):
    """A window of 20 s."""
    good = rate * share
    return Observation(
        load=Load("users", users), seconds=20.0, spent_s=24.0, held=held, requests_per_s=rate,
        output_tokens_per_s=rate * 32, goodput_per_s=good, goodput_low=good * 0.97,
        goodput_high=min(rate, good * 1.03), ok=round(rate * 20), failed=0, incomplete=0,
    )  # fmt: skip


def reading(*windows):
    run = Run(BASELINE, "screen", 0, 0.0, 25.0, list(windows))
    return read(PROBLEM, run, believe(PROBLEM, [run]))


def test_more_users_who_are_served_no_more_are_not_the_better_load():
    found = reading(seen(4, 10.0, 0.99, "yes"), seen(8, 10.0, 0.96, "yes"))
    assert found.load == Load("users", 4)
    assert math.exp(found.value) == pytest.approx(9.9)
    assert found.most - found.value < 0.05  # nor are those between


def test_users_inside_a_bracket_are_served_no_more_than_those_above_it():
    found = reading(seen(2, 5.0, 1.0, "yes"), seen(6, 8.0, 0.4, "no"))
    assert math.exp(found.value) == pytest.approx(5.0)
    assert math.exp(found.most) == pytest.approx(8.0)
    next_to_it = reading(seen(2, 5.0, 1.0, "yes"), seen(3, 8.0, 0.4, "no"))
    assert math.exp(next_to_it.most) < 5.3
    assert next_to_it.error < found.error
