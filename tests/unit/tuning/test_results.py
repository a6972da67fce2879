"""What a window says of an engine: the requests of the window, and not those from before it."""

import dataclasses

import pytest

from deployctl.load import gate
from deployctl.load import slo as slos
from deployctl.load.summary import summarize
from deployctl.tuning.results import observe
from deployctl.tuning.search import measures
from deployctl.tuning.trial import Load
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample, WorkerReport

SETUP = Setup(None, "http://h:1", "m", "chat", 8, 10, 2, 10, 5, True, 1, 60)  # window: 2 s to 12 s
SLO = slos.parse("ttft_p90=500ms")


def answers(count, start, *, ttft=0.1, warmup=False):
    return [
        Sample(
            worker="w", started_at_s=start, outcome="ok", warmup=warmup, ttft_s=ttft,
            chunk_gaps_s=[0.5, 0.5], e2e_s=ttft + 1, output_tokens=3,
        )
        for _ in range(count)
    ]  # fmt: skip


def cut(count, waited):
    """Without a first chunk at the end."""
    return [
        Sample(worker="w", started_at_s=12 - waited, outcome="incomplete", duration_s=waited)
        for _ in range(count)
    ]


def seen(*groups, slo=SLO):
    samples = [sample for group in groups for sample in group]
    report = WorkerReport("w", 1.8e9, 12.0, 0, [(5.0, 0.2)], [(5.0, 0.001)])
    result = summarize(
        SETUP, samples, [report], lost=0, started="2026-11-24T00:00:00+00:00", tools={},
        server=None,
    )  # fmt: skip
    if slo is not None:
        result = dataclasses.replace(result, slo=gate.evaluate(slo, samples, result.window_s))
    return observe(result, samples, slo, Load("users", 8), spent_s=12.0)


FIRST = answers(8, 1.9, ttft=0.9, warmup=True)  # all at once, and they end in the window
REST = answers(72, 5.0)


def test_the_first_users_who_all_come_at_once_spoil_no_window():
    told = seen(FIRST, REST, cut(8, 0.2))
    assert told.requests_per_s == 8.0
    assert told.goodput_per_s == 8.0
    assert measures.share(told) == 1.0
    assert told.goodput_low < 8.0 == told.goodput_high


def test_what_waits_beyond_the_limit_when_the_end_cuts_it_is_not_good():
    told = seen(FIRST, REST, cut(8, 0.6))
    assert measures.share(told) == pytest.approx(72 / 80)
    assert told.goodput_per_s == pytest.approx(8 * 72 / 80)


def test_a_failure_is_not_good_and_counts_once():
    failed = [Sample(worker="w", started_at_s=5.0, outcome="truncated", duration_s=1.0)] * 18
    told = seen(FIRST, REST, failed)
    assert (told.ok, told.failed) == (72, 18)
    assert measures.share(told) == pytest.approx(0.8)
    assert told.goodput_per_s == pytest.approx(8.0)


def test_nothing_answered_is_nothing_good():
    for told in (seen(cut(8, 5.0)), seen(FIRST, cut(8, 5.0))):
        assert (told.goodput_per_s, measures.share(told), measures.ended(told)) == (0.0, 0.0, 0.0)


def test_without_an_slo_every_answer_is_good():
    told = seen(FIRST, REST, slo=None)
    assert told.goodput_low == told.goodput_per_s == told.goodput_high == 8.0
