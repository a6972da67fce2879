"""Whether a release holds: by a load test's gate, and by what /metrics told meanwhile."""

import math

import pytest

from deployctl.errors import InputError
from deployctl.load import slo as slos
from deployctl.metrics import Histogram, Snapshot, parse
from deployctl.operations.deploy import judgement

EDGES = (0.1, 0.25, 0.5, 1.0, math.inf)


def histogram(*counts):
    """So many values in each bucket of EDGES."""
    below, total = [], 0
    for count in counts:
        total += count
        below.append(total)
    return Histogram(tuple(zip(EDGES, below, strict=True)), sum=1.0, count=total)


def snapshot(ttft=None, itl=None, **more):
    values = dict.fromkeys(Snapshot._fields)
    given = {"generation_tokens": 0.0, "prompt_tokens": 0.0, "started_unix_s": 5.0, **more}
    return Snapshot(**{**values, "at_s": 0.0, **given, "ttft": ttft, "itl": itl})


NOTHING = histogram(0, 0, 0, 0, 0)


def watched(text, ttft, itl=None, **later):
    first = snapshot(NOTHING, NOTHING if itl else None, answers=0.0, errors=0.0)
    return judgement.of_watch(slos.parse(text), first, snapshot(ttft, itl, **later))


@pytest.mark.parametrize(
    ("counts", "verdict", "passed"),
    [
        ((100, 50, 0, 0, 0), "met", True),  # all below 250 ms
        ((100, 50, 20, 0, 0), "met", True),  # 500 ms is a bucket's edge
        ((10, 10, 10, 40, 30), "missed", False),
        ((0, 0, 0, 0, 40), "missed", False),
        ((90, 4, 2, 4, 0), "unresolved", True),  # 4% over it, of 5% allowed
        ((90, 2, 2, 6, 0), "unresolved", False),  # 6%
        ((2, 0, 0, 0, 0), "unresolved", True),  # two values bound no p95
    ],
)
def test_a_percentile_by_its_buckets(counts, verdict, passed):
    seen = watched("ttft_p95=500ms", histogram(*counts))
    assert (seen.objectives[0].verdict, seen.passed) == (verdict, passed)
    assert bool(seen.reasons) is not passed


def test_a_limit_inside_a_bucket_cannot_be_told_from_it():
    [objective] = watched("ttft_p95=400ms", histogram(0, 0, 200, 0, 0)).objectives
    assert objective.verdict == "unresolved"
    assert (objective.low, objective.high) == (0.25, 0.5)
    assert "bucket" in objective.note


def test_gaps_are_worth_no_more_than_the_answers_they_are_of():
    many = histogram(900, 40, 30, 30, 0)
    alone = watched("itl_p95=500ms", histogram(4, 0, 0, 0, 0), many).objectives[0]
    often = watched("itl_p95=500ms", histogram(4000, 0, 0, 0, 0), many).objectives[0]
    assert (alone.verdict, often.verdict) == ("unresolved", "met")


def test_no_traffic_is_no_proof():
    seen = watched("ttft_p95=500ms,error_rate=1%", NOTHING, answers=0.0, errors=0.0)
    assert not seen.passed
    assert seen.reasons == ("it had no traffic in that time, so nothing is known about it",)


@pytest.mark.parametrize(
    ("answers", "errors", "verdict", "passed"),
    [(2000, 1, "met", True), (100, 0, "unresolved", True), (100, 20, "missed", False)],
)
def test_the_error_rate_is_that_of_http_answers(answers, errors, verdict, passed):
    seen = watched(
        "error_rate=1%", histogram(100, 0, 0, 0, 0), answers=float(answers), errors=float(errors)
    )
    assert (seen.objectives[0].verdict, seen.passed) == (verdict, passed)


def test_an_engine_that_does_not_tell_its_answers_passes_nothing():
    seen = watched("error_rate=1%", histogram(100, 0, 0, 0, 0))
    assert not seen.passed
    assert "exports no HTTP" in seen.reasons[0]


def test_an_engine_that_began_anew_does_not_pass():
    seen = watched("ttft_p95=500ms", histogram(100, 0, 0, 0, 0), started_unix_s=9.0)
    assert seen.reasons == ("the engine restarted",)


def test_tpot_cannot_be_watched():
    with pytest.raises(InputError, match="tpot_p50"):
        judgement.check_watchable(slos.parse("ttft_p95=1s,tpot_p50=40ms"))
    judgement.check_watchable(slos.parse("ttft_p95=1s,itl_p99=1s,e2e_p50=9s,error_rate=1%"))


def test_a_watch_ends_early_only_when_it_is_missed_again_and_again():
    bad = watched("ttft_p95=500ms", histogram(0, 0, 0, 0, 40))
    good = watched("ttft_p95=500ms", histogram(40, 0, 0, 0, 0))
    assert not judgement.certainly_missed([bad, bad])
    assert not judgement.certainly_missed([bad, bad, good])
    assert not judgement.certainly_missed([bad, good, bad, bad])
    assert judgement.certainly_missed([good, bad, bad, bad])


def test_answers_and_errors_are_those_of_the_api():
    text = "\n".join(
        [
            "# TYPE vllm:num_requests_running gauge",
            'vllm:num_requests_running{model_name="m"} 1',
            "# TYPE http_requests_total counter",
            'http_requests_total{handler="/v1/chat/completions",method="POST",status="2xx"} 90',
            'http_requests_total{handler="/v1/chat/completions",method="POST",status="4xx"} 5',
            'http_requests_total{handler="/v1/completions",method="POST",status="5xx"} 3',
            'http_requests_total{handler="/elsewhere",method="GET",status="5xx"} 40',
        ]
    )
    seen = parse(text + "\n", 0.0)
    assert (seen.answers, seen.errors) == (98.0, 3.0)
