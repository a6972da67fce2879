import dataclasses

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deployctl.errors import InputError
from deployctl.load import aggregate, slo
from deployctl.load import gate as gates
from deployctl.load.locust import Ended
from deployctl.load.summary import summarize
from deployctl_loadtest.result import Setup
from deployctl_loadtest.sample import Sample, WorkerReport

SETUP = Setup(None, "http://h:1", "m", "chat", 2, 10, 2, 10, 5, True, 1, 60)
WINDOW = (2.0, 12.0)


def sample(start=3.0, outcome="ok", *, ttft=0.1, gaps=(0.02,) * 4, **values):
    timing = {
        "ttft_s": ttft,
        "chunk_gaps_s": list(gaps),
        "e2e_s": ttft + sum(gaps),
        "output_tokens": 1 + len(gaps),
    }
    if outcome != "ok":
        timing = {}
    more = {**timing, **values}
    return Sample(worker="w", started_at_s=start, outcome=outcome, **more)


def judged(text, samples):
    return gates.evaluate(slo.parse(text), samples, WINDOW)


def only(text, samples):
    (objective,) = judged(text, samples).objectives
    return objective


def test_an_slo_is_read():
    read = slo.parse("ttft_p95=500ms, itl_p99=0.05s,tpot_p50=1s,e2e_p99.9=1m,error_rate=0.1%")
    assert [(t.name, t.measure, t.share, t.limit) for t in read.terms] == [
        ("ttft_p95", "ttft", 0.95, 0.5),
        ("itl_p99", "itl", 0.99, 0.05),
        ("tpot_p50", "tpot", 0.5, 1.0),
        ("e2e_p99.9", "e2e", pytest.approx(0.999), 60.0),
        ("error_rate", None, 0.0, pytest.approx(0.001)),
    ]
    assert slo.parse("error_rate=0.02").terms[0].limit == 0.02


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("ttft_p95", "not name=limit"),
        ("ttft_p95=", "not name=limit"),
        ("ttft=1s", "unknown objective 'ttft'"),
        ("latency_p95=1s", "unknown objective 'latency_p95'"),
        ("ttft_p0=1s", "not a percentile"),
        ("ttft_p100=1s", "unknown objective"),
        ("ttft_p95=500", "has no unit"),
        ("ttft_p95=fast", "not a duration"),
        ("ttft_p95=0ms", "above 0 s"),
        ("ttft_p95=1s,ttft_p95=2s", "given twice"),
        ("error_rate=1s", "not a share"),
        ("error_rate=2", "more than 100%"),
        ("error_rate=150%", "more than 100%"),
        ("error_rate=-1%", "not a share"),
    ],
)
def test_what_is_wrong_with_an_slo_is_said(text, message):
    with pytest.raises(InputError, match=message) as caught:
        slo.parse(text)
    assert caught.value.where.startswith("--slo")


def test_met_missed_and_unresolved():
    # TTFT of 101 to 300 ms: a p95 of 290 ms.
    samples = [sample(ttft=0.1 + ((i * 37) % 200 + 1) / 1000) for i in range(200)]
    met = only("ttft_p95=500ms", samples)
    assert met.verdict == "met"
    assert met.value == pytest.approx(0.290, abs=0.001)
    assert met.low < met.value < met.high < 0.31
    assert (met.samples, met.confidence, met.note) == (200, 0.95, None)
    assert only("ttft_p95=200ms", samples).verdict == "missed"
    near = only("ttft_p95=291ms", samples)
    assert near.verdict == "unresolved"
    assert "includes the limit" in near.note


def test_few_requests_bound_no_tail():
    few = only("ttft_p95=10s", [sample() for _ in range(30)])
    assert (few.verdict, few.high) == ("unresolved", None)
    assert few.note == "30 values bound no p95: it takes 72"
    nothing = only("ttft_p95=10s", [])
    assert (nothing.verdict, nothing.value, nothing.samples) == ("unresolved", None, 0)


def test_a_failed_request_is_over_any_limit():
    samples = [sample() for _ in range(180)] + [sample(outcome="refused") for _ in range(40)]
    objective = only("ttft_p95=10s", samples)
    assert (objective.verdict, objective.value, objective.failed) == ("missed", None, 40)
    assert only("ttft_p50=10s", samples).verdict == "met"
    # Gaps are of those that succeeded.
    assert only("itl_p95=1s", samples).failed == 0


def test_a_request_cut_by_the_end_counts_once_it_is_over():
    good = [sample() for _ in range(150)]
    waiting = [sample(outcome="incomplete", duration_s=2.0) for _ in range(50)]
    assert only("ttft_p95=1s", good + waiting).verdict == "missed"
    assert only("ttft_p95=1s", good + waiting).cut == 50
    # Two seconds are within this limit, and how they would have gone on is not known.
    assert only("ttft_p95=3s", good + waiting).cut == 0
    assert only("e2e_p95=1s", good + waiting).cut == 50
    assert only("tpot_p95=1s", good + waiting).cut == 0


def test_the_warm_up_is_not_judged():
    early = sample(1.0, ttft=9.0)
    early.warmup = True
    assert only("ttft_p95=1s", [early, *(sample() for _ in range(120))]).samples == 120


def test_the_error_rate():
    many = [sample() for _ in range(4000)]
    assert only("error_rate=0.1%", many).verdict == "met"
    few = only("error_rate=0.1%", many[:100])
    assert (few.verdict, few.value) == ("unresolved", 0.0)
    assert "3,688 requests" in few.note
    bad = [sample(outcome="http_error") for _ in range(20)]
    cut = [sample(outcome="incomplete") for _ in range(500)]
    broken = only("error_rate=5%", many[:60] + bad + cut)
    assert (broken.verdict, broken.value, broken.samples) == ("missed", 0.25, 80)
    assert "never be shown" in only("error_rate=0", many).note


def test_goodput_is_of_requests_that_met_everything():
    good = [sample() for _ in range(40)]
    late = [sample(ttft=0.9) for _ in range(10)]
    stuttering = [sample(gaps=(0.02, 0.02, 0.02, 0.4)) for _ in range(10)]
    bad = [sample(outcome="truncated") for _ in range(20)]
    cut = [sample(outcome="incomplete") for _ in range(20)]
    before = sample(1.95)  # ends in the window: it counts in requests/s, not in the share
    before.warmup = True
    result = judged("ttft_p95=500ms,itl_p99=100ms", [before, *good, *late, *stuttering, *bad, *cut])
    assert (result.good, result.good_share) == (40, 0.5)
    # 6.1 a second end well, of 60 that did and 20 that failed; half of these met everything.
    assert result.goodput_per_s == pytest.approx(6.1 * 80 / 60 / 2, abs=1e-4)
    assert result.verdict == "missed"


def loadresult(samples, text, *, cpu=0.2, interrupted=False, lost=0):
    report = WorkerReport("w", 1.8e9, 12.0, 0, [(5.0, cpu)], [(5.0, 0.001)])
    result = summarize(
        SETUP,
        samples,
        [report],
        lost=lost,
        started="2026-11-24T00:00:00+00:00",
        tools={},
        ended=Ended(interrupted),
        server=None,
    )
    return dataclasses.replace(
        result, slo=gates.evaluate(slo.parse(text), samples, result.window_s)
    )


def test_a_gate():
    samples = [sample() for _ in range(200)]
    assert gates.judge(loadresult(samples, "ttft_p95=500ms")).passed
    # Not certain, but nothing speaks against it.
    assert gates.judge(loadresult(samples[:30], "ttft_p95=500ms,error_rate=1%")).passed
    missed = gates.judge(loadresult(samples, "ttft_p95=50ms"))
    assert not missed.passed
    assert missed.reasons == [
        "ttft_p95 missed: 100 ms, limit 50 ms (95% interval 100 ms to 100 ms, 200 values)"
    ]
    mixed = [sample(ttft=0.05 + i % 10 / 100) for i in range(30)]
    uncertain = gates.judge(loadresult(mixed, "ttft_p95=135ms"))
    assert not uncertain.passed
    assert "unresolved: 140 ms, limit 135 ms" in uncertain.reasons[0]
    assert "to unbounded" in uncertain.reasons[0]


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda s: loadresult(s, "ttft_p95=1h", cpu=0.95), "client_bottleneck"),
        (lambda s: loadresult(s, "ttft_p95=1h", interrupted=True), "interrupted"),
        (lambda s: loadresult(s, "ttft_p95=1h", lost=3), "samples_lost"),
        (lambda s: loadresult([], "error_rate=100%"), "no_success"),
        (lambda s: loadresult([sample(outcome="refused")], "error_rate=100%"), "no_success"),
    ],
)
def test_some_results_pass_no_gate(made, reason):
    gate = gates.judge(made([sample() for _ in range(200)]))
    assert not gate.passed
    assert gate.reasons[0].startswith(reason)


outcomes = st.sampled_from(["ok", "ok", "ok", "refused", "truncated", "incomplete"])
requests = st.lists(
    st.tuples(outcomes, st.floats(0.001, 3), st.floats(0, 9)), min_size=0, max_size=60
)


@settings(max_examples=200, deadline=None)
@given(requests, st.integers(1, 3000), st.sampled_from(["50", "95", "99"]))
# Over the limit by less than is reported: then the figures would not say why it was missed.
@example([("ok", 0.0010000000000000002, 0.0)] * 10, 1, "50")
def test_what_holds_of_every_evaluation(drawn, limit_ms, percent):
    samples = [sample(2 + at, outcome, ttft=ttft, duration_s=ttft) for outcome, ttft, at in drawn]
    text = f"ttft_p{percent}={limit_ms}ms,error_rate=10%"
    result = judged(text, samples)
    ttft, errors = result.objectives
    assert result.good <= sum(s.outcome == "ok" for s in samples)
    done = summary_rate(samples)
    assert result.goodput_per_s <= done + 1e-3
    for objective in (ttft, errors):
        low = -1 if objective.low is None else objective.low
        high = float("inf") if objective.high is None else objective.high
        if objective.value is not None:
            assert low <= objective.value + 1e-6
        if objective.verdict == "met":
            assert high <= objective.limit
        if objective.verdict == "missed" and objective.low is not None:
            assert objective.low > objective.limit
    # A stricter limit is never easier to hold.
    rank = {"missed": 0, "unresolved": 1, "met": 2}
    looser = gates.evaluate(
        slo.parse(f"ttft_p{percent}={limit_ms + 500}ms"),
        [s for s in samples if s.outcome != "incomplete"],
        WINDOW,
    ).objectives[0]
    stricter = gates.evaluate(
        slo.parse(f"ttft_p{percent}={limit_ms}ms"),
        [s for s in samples if s.outcome != "incomplete"],
        WINDOW,
    ).objectives[0]
    assert rank[stricter.verdict] <= rank[looser.verdict]


def summary_rate(samples):
    return aggregate.throughput(samples, WINDOW).requests_per_s
