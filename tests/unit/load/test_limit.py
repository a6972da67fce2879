from dataclasses import replace

import pytest

from deployctl.load import gate, limit, slo
from deployctl.load.limit import SearchResult
from deployctl.load.summary import summarize
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample, WorkerReport
from deployctl_loadtest.series import Point

SETUP = Setup(
    None, "http://h:1", "m", "chat", 0, 100, 0, 10, 5, True, 1, 60,
    mode="open", rate=10.0, arrivals="constant",
)  # fmt: skip
SLO = slo.parse("ttft_p90=500ms")
SECONDS = 100.0


def queue(rate, capacity, *, e2e=0.5, ttft=0.1):
    """What a run at `rate` leaves where at most `capacity` requests a second are served."""
    samples = []
    free = 0.0
    for number in range(int(rate * SECONDS)):
        due = number / rate
        begun = max(due, free)
        free = begun + 1 / capacity
        cut = begun + e2e > SECONDS
        timing = {} if begun + ttft > SECONDS else {"ttft_s": begun - due + ttft}
        if not cut:
            timing |= {"chunk_gaps_s": [0.1] * 4, "e2e_s": begun - due + e2e, "output_tokens": 5}
        samples.append(
            Sample(
                worker="w",
                started_at_s=due,
                scheduled_at_s=due,
                lateness_s=0.0,
                outcome="incomplete" if cut else "ok",
                duration_s=min(SECONDS, begun + e2e) - due,
                **timing,
            )
        )
    return samples


def measured(samples, *, cpu=0.2, dropped=0, setup=SETUP):
    ticks = range(1, int(SECONDS) + 1)
    report = WorkerReport(
        "w", 1.8e9, SECONDS, len(samples), [(at, cpu) for at in ticks],
        [(at, 0.001) for at in ticks], dropped=dropped,
    )  # fmt: skip
    result = summarize(
        setup, samples, [report], lost=0, started="2026-11-24T00:00:00+00:00", tools={},
        server=None,
    )  # fmt: skip
    return replace(result, slo=gate.evaluate(SLO, samples, result.window_s))


def decided(samples, **more):
    return limit.decide(measured(samples, **more), samples)


def test_a_load_that_is_served_held():
    assert decided(queue(10, 20)) == ("yes", "every objective met")


def test_a_missed_objective_is_told():
    held, why = decided(queue(10, 9))
    assert held == "no"
    assert "ttft_p90" in why


def test_a_queue_that_grows_is_not_held_however_lenient_the_slo():
    samples = queue(10, 9)
    assert limit.growth(samples, (0.0, SECONDS)) > 30
    lenient = replace(
        measured(samples), slo=gate.evaluate(slo.parse("ttft_p50=50s"), samples, (0.0, SECONDS))
    )
    held, why = limit.decide(lenient, samples)
    assert held == "no"
    assert "queue grew" in why
    # One that fills at the begin and then stays is none.
    assert limit.growth(queue(10, 11, e2e=5.0), (0.0, SECONDS)) == 0


def test_few_requests_are_unclear():
    few = queue(10, 20)[:20]
    assert decided(few, setup=replace(SETUP, requests=20))[0] == "unclear"


def test_of_less_load_than_was_asked_for_nothing_is_concluded():
    samples = [sample for k, sample in enumerate(queue(10, 20)) if k % 2]
    held, why = decided(samples)
    assert held == "client"
    assert "500 of 1,000 requests" in why


def test_of_a_client_at_its_limit_nothing_is_concluded():
    held, why = decided(queue(10, 20), cpu=0.95)
    assert held == "client"
    assert "--workers" in why
    assert decided(queue(10, 20), dropped=5)[0] == "no"


def test_a_client_that_sends_late_is_no_service_that_is_slow():
    late = [
        replace(s, started_at_s=s.started_at_s + 0.4, lateness_s=0.4, ttft_s=0.7)
        for s in queue(10, 20)
        if s.outcome == "ok"
    ]
    held, why = limit.decide(measured(late), late)
    assert held == "client"
    assert "400 ms" in why


def test_goodput_has_an_interval():
    samples = queue(10, 20)
    for sample in samples[::5]:
        sample.ttft_s = 2.0
    value, low, high = slo.goodput(SLO, samples, (0.0, SECONDS))
    assert value == pytest.approx(8, abs=0.1)
    assert 7.5 < low < value < high < 8.5


def test_the_answer_in_a_sentence():
    result = measured(queue(10, 20))
    points = [Point(4, "a", result, "yes", "met"), Point(8, "b", result, "unclear", "too few")]
    good = {4.0: (3.9, 3.7, 4.0)}

    def text(found):
        return limit.answer(found, "ttft_p90=500ms", "rate", points, good).text

    found = text(SearchResult("found", 4.0, 4.3))
    assert "held at 4 requests/s (goodput 3.9/s, 95% interval 3.7 to 4) and not at 4.3" in found
    unresolved = text(SearchResult("unresolved", 4.0, None))
    assert unresolved.startswith("Unresolved")
    assert "at 8 the measurements are inconclusive (too few)" in unresolved
    assert "did not hold" in text(SearchResult("never_held", None, 0.1))
    assert "limit is beyond" in text(SearchResult("not_reached", 4.0, None))
    assert "client was the limit" in text(SearchResult("client_limited", 4.0, None))
    broken_off = limit.answer(None, "ttft_p90=500ms", "rate", points, good)
    assert (broken_off.status, broken_off.holds) == ("interrupted", 4)
