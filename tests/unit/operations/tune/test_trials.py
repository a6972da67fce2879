"""Trials as whoever watches is told of them."""

import itertools

import pytest

from deployctl.operations.tune.trials import Trials
from deployctl.tuning.events import Done
from deployctl.tuning.runner import Begun
from deployctl.tuning.trial import Failure, Measure, Start, Started
from tune_parts import LOADS, configuration, observation


@pytest.fixture
def told():
    return []


@pytest.fixture
def trials(told):
    clock = itertools.count(100.0)
    return Trials("tiny", "goodput", told.append, lambda: next(clock))


def done(listener, number, seqs, *results):
    """A trial: its start, and a measurement for each further result."""
    for at, result in enumerate(results):
        step = Start(configuration(seqs), "screen", "w")
        if at:
            step = Measure(LOADS[0], 10.0, "screen", "w")
        listener(Begun(step, configuration(seqs), number))
        listener(Done(step, result, number))


def test_a_trial_is_a_region_from_its_start_to_its_last_figures(trials, told):
    done(trials, 1, None, Started(3.0), observation(LOADS[0]), observation(LOADS[0], 2.5))
    assert told == []  # it may go on
    done(trials, 2, 64, Failure("out_of_memory", "no room", 4.0))
    first = told.pop()
    assert (first.kind, first.service, first.at_s, first.end_s) == ("trial", "tiny", 100.0, 103.0)
    assert first.text.startswith("trial 1 of tiny: baseline · held · 2.5 good of 2.5 requests/s")
    assert not first.failed
    trials.end()
    (second,) = told
    assert second.failed
    assert second.text == "trial 2 of tiny: max_num_seqs=64 · failed (out of memory): no room"
    trials.end()
    assert len(told) == 1


def test_one_that_was_cut_short_before_anything_came_of_it_is_none(trials, told):
    trials(Begun(Start(configuration(8), "screen", "w"), configuration(8), 1))
    trials.end()
    assert told == []
