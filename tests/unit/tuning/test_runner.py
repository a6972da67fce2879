"""The runner: every fact is written before the next, and nothing is done twice."""

import errno
import os

import pytest

from deployctl.errors import InterruptedByUserError, StateError, TargetError
from deployctl.tuning import study as studies
from deployctl.tuning.events import Done, Interrupted, Restarted
from deployctl.tuning.runner import Begun, Runner
from deployctl.tuning.trial import Failure, Invalid, Measure, Start
from tune_parts import SEQS, FakeBench, GridSearch, header

DIED = Failure("died_under_load", "killed by signal 9", 6.0)
CALLS = 12  # of an undisturbed run: four starts, each with two measurements


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "study"


def run(folder, bench, search=None, tell=lambda event: None):
    fresh = not (folder / studies.FILE).exists()
    study = studies.create(folder, header()) if fresh else studies.opened(folder)
    search = search or GridSearch()
    runner = Runner(study, search, bench, tell)
    runner.replay()
    return runner.run(), study, search


def worked(bench):
    return [call for call in bench.calls if call != "stop"]


def test_a_run_records_every_step_and_stops_the_engine(folder):
    bench, heard = FakeBench(), []
    answer, study, search = run(folder, bench, tell=heard.append)
    assert answer.verdict == "winner"
    assert answer.winner.configuration.settings == {"max_num_seqs": 32}
    assert bench.calls[-1] == "stop"
    assert len(worked(bench)) == CALLS == len(study.done)
    assert [(done.step, done.result) for done in studies.opened(folder).done] == search.told
    assert study.trials == len(SEQS)
    begun = [event for event in heard if isinstance(event, Begun)]
    assert [event.step for event in begun] == [done.step for done in study.done]
    assert [event for event in heard if isinstance(event, Done)] == study.done


def test_each_measurement_has_prompts_of_its_own(folder):
    bench = FakeBench()
    run(folder, bench)
    assert len(set(bench.seeds)) == len(bench.seeds) == 8


@pytest.mark.parametrize("number", range(1, CALLS + 1))
def test_interrupted_at_any_call_and_gone_on_with(folder, number):
    undisturbed = run(folder.with_name("whole"), FakeBench())[0]
    bench = FakeBench({number: KeyboardInterrupt()})
    answer, study, _ = run(folder, bench)
    assert answer.verdict == "interrupted"
    assert bench.calls[-1] == "stop"
    assert isinstance(study.events[-1], Interrupted)
    assert len(study.done) == number - 1
    again = FakeBench()
    answer, study, _ = run(folder, again)
    assert answer == undisturbed
    # The call that was interrupted, and what came after it: nothing else but a start for
    # measurements whose engine is gone.
    calls = worked(again)
    restarts = [event for event in study.events if isinstance(event, Restarted)]
    assert len(restarts) == (0 if number % 3 == 1 else 1)
    assert len(calls) == CALLS - (number - 1) + len(restarts)
    assert study.trials == len(SEQS)


def test_a_restart_counts_as_server_time(folder):
    run(folder, FakeBench({2: KeyboardInterrupt()}))
    _, study, _ = run(folder, FakeBench())
    assert study.server_s == 4 * 3.0 + 8 * 12.5 + 3.0


def test_a_restart_that_fails_is_the_measurements_failure(folder):
    run(folder, FakeBench({2: KeyboardInterrupt()}))
    refused = Failure("out_of_memory", "No available memory for the cache blocks.", 9.0)
    _, study, search = run(folder, FakeBench({1: refused}))
    step, result = search.told[1]
    assert isinstance(step, Measure)
    assert result == Failure("out_of_memory", refused.reason, 0.0)
    assert study.server_s == 4 * 3.0 + 6 * 12.5 + 9.0


def test_an_engine_that_dies_in_the_third_trial_is_a_fact(folder):
    bench = FakeBench({8: DIED})
    answer, study, _ = run(folder, bench)
    assert answer.winner.configuration.settings == {"max_num_seqs": 32}
    assert answer.failures == ((study.done[6].step.configuration, DIED),)
    assert [d.trial for d in study.done if isinstance(d.result, Failure)] == [3]


def test_a_server_that_never_becomes_healthy_is_not_measured(folder):
    silent = Failure("never_healthy", "no answer within 300 s", 300.0)
    bench = FakeBench(dict.fromkeys(range(1, CALLS), silent))
    answer, study, _ = run(folder, bench)
    assert answer.verdict == "nothing_feasible"
    assert [call.split()[0] for call in worked(bench)] == ["start"] * len(SEQS)
    assert study.server_s == 300.0 * len(SEQS)


def test_a_busy_client_makes_a_measurement_invalid_and_not_slow(folder):
    bench = FakeBench({2: Invalid("the client was the bottleneck", 12.0)})
    _, study, search = run(folder, bench)
    assert isinstance(search.told[1][1], Invalid)
    assert studies.opened(folder).done[1].result == search.told[1][1]
    assert len(study.done) == CALLS


@pytest.mark.parametrize("number", [1, 2, 5])
def test_what_no_configuration_can_help_ends_the_run(folder, number):
    bench = FakeBench({number: TargetError("no Docker engine answers")})
    with pytest.raises(TargetError, match="no Docker"):
        run(folder, bench)
    assert bench.calls[-1] == "stop"
    study = studies.opened(folder)
    assert study.events[-1] == Interrupted("no Docker engine answers")
    assert len(study.done) == number - 1


def test_a_full_disk_stops_the_engine_and_the_study_goes_on_later(folder, monkeypatch):
    bench = FakeBench()
    real, asked = os.fsync, []

    def full(descriptor):
        asked.append(descriptor)
        if len(asked) >= 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StateError) as caught:
        run(folder, bench)
    monkeypatch.undo()
    assert "disk is full" in caught.value.hint
    assert bench.calls[-1] == "stop"
    assert len(studies.opened(folder).done) == 4  # after the header
    answer, _, _ = run(folder, FakeBench())
    assert answer == run(folder.with_name("whole"), FakeBench())[0]


def test_an_interrupt_while_the_engine_is_stopped_is_asked_again(folder):
    bench = FakeBench({13: InterruptedByUserError("again")})
    stops = []

    def stop():
        stops.append(bench.running)
        if len(stops) == 1:
            raise KeyboardInterrupt
        bench.running = None

    bench.stop = stop
    answer, _, _ = run(folder, bench)
    assert answer.verdict == "winner"
    assert len(stops) == 2
    assert bench.running is None


def test_a_study_of_another_search_is_not_gone_on_with(folder):
    run(folder, FakeBench({6: KeyboardInterrupt()}))
    with pytest.raises(StateError) as caught:
        run(folder, FakeBench(), GridSearch(order=(None, 16, 8)))
    assert "step 4 was a start of max_num_seqs=8" in caught.value.message
    assert "a start of max_num_seqs=16" in caught.value.message
    shorter = GridSearch(order=(None,))
    with pytest.raises(StateError, match="it would be the end"):
        run(folder, FakeBench(), shorter)


def test_other_words_of_the_same_search_do_not_matter(folder):
    run(folder, FakeBench({6: KeyboardInterrupt()}))

    class Reworded(GridSearch):
        def ask(self):
            step = super().ask()
            if isinstance(step, Start):
                return type(step)(step.configuration, step.phase, "in other words")
            return step

    assert run(folder, FakeBench(), Reworded())[0].verdict == "winner"
