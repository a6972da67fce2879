"""The runner with the search that deployctl uses: what is written is all that the search knows."""

import pytest

from deployctl.tuning import study as studies
from deployctl.tuning.runner import Runner
from deployctl.tuning.search import strategy
from deployctl.tuning.trial import Failure, Parameter
from tune_parts import KneeBench, header

SPACE = (Parameter("max_num_seqs", (8, 16, 32, 64), 16),)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "study"


def run(folder, bench, **about):
    given = {"parameters": SPACE, "budget_s": 1800.0, **about}
    fresh = not (folder / studies.FILE).exists()
    study = studies.create(folder, header(**given)) if fresh else studies.opened(folder)
    search = strategy(study.header.problem())
    runner = Runner(study, search, bench)
    runner.replay()
    return runner.run(), study


def test_the_best_is_found_and_the_same_is_read_from_the_file(folder):
    bench = KneeBench()
    answer, study = run(folder, bench)
    assert answer.verdict == "winner"
    assert answer.winner.configuration.settings == {"max_num_seqs": 32}
    assert answer.improvement[1] > 1
    assert study.server_s <= study.header.budget_s
    again = KneeBench()
    assert run(folder, again)[0] == answer
    assert again.calls == ["stop"]


def test_interrupted_again_and_again_it_comes_to_the_same_end(folder):
    whole, undisturbed = run(folder.with_name("whole"), KneeBench())
    for _ in range(60):
        answer, study = run(folder, KneeBench({4: KeyboardInterrupt()}))
        if answer.verdict != "interrupted":
            break
    assert answer == whole
    assert [(done.step, done.result) for done in study.done] == [
        (done.step, done.result) for done in undisturbed.done
    ]


def test_a_baseline_that_misses_the_slo_is_no_reason_to_stop(folder):
    class Slow(KneeBench):
        LIMITS = {**KneeBench.LIMITS, None: 0.0, 16: 0.0}  # noqa: RUF012

    answer, study = run(folder, Slow())
    assert answer.baseline is None or answer.baseline.slo_met is not True
    assert answer.verdict in ("winner", "no_clear_winner")
    assert any(s.configuration.settings == {"max_num_seqs": 32} for s in answer.standings)
    assert study.trials > 1


def test_nothing_holds_the_slo(folder):
    answer, _ = run(folder, KneeBench(limit=0.0))
    assert answer.verdict == "nothing_feasible"
    assert answer.winner is None
    assert answer.why


def test_a_budget_too_small_for_one_trial_ends_with_a_word(folder):
    answer, study = run(folder, KneeBench(startup_s=45.0), budget_s=30.0)
    assert answer.verdict in ("no_clear_winner", "nothing_feasible")
    assert answer.winner is None
    assert answer.why
    assert study.trials <= 1


def test_no_engine_comes_up(folder):
    silent = Failure("never_healthy", "no answer within 60 s", 60.0)
    answer, study = run(folder, KneeBench(dict.fromkeys(range(1, 100), silent)))
    assert answer.verdict == "nothing_feasible"
    assert study.server_s <= study.header.budget_s + 60


def test_trials_are_limited(folder):
    _, study = run(folder, KneeBench(), max_trials=3)
    assert study.trials <= 3
