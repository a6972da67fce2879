import json
from dataclasses import replace

import pytest

from deployctl.load.locust import Ended
from deployctl.load.summary import summarize
from deployctl_loadtest.result import Server, Setup
from deployctl_loadtest.sample import Sample, WorkerReport

SETUP = Setup(
    service=None,
    url="http://h:1",
    model="m",
    api="chat",
    users=2,
    duration_s=10,
    warmup_s=2,
    input_tokens=10,
    output_tokens=5,
    ignore_eos=True,
    seed=1,
    request_timeout_s=60,
)


def sample(start, outcome="ok", tokens=5, **values):
    timing = {"ttft_s": 0.1, "chunk_gaps_s": [0.02] * 4, "e2e_s": 0.18, "output_tokens": tokens}
    if outcome != "ok":
        timing = {}
    more = {**timing, "input_tokens": 10, **values}
    return Sample(worker="w", started_at_s=start, outcome=outcome, **more)


def report(cpu=0.2, lag=0.001):
    return WorkerReport(
        "w", 1.8e9, 12.0, 0, [(at, cpu) for at in range(1, 13)], [(at, lag) for at in range(1, 13)]
    )


def summary(samples, reports=None, *, lost=0, interrupted=False, server=None, setup=SETUP):
    return summarize(
        setup,
        samples,
        [report()] if reports is None else reports,
        lost=lost,
        started="2026-11-24T00:00:00+00:00",
        tools={},
        ended=Ended(interrupted),
        server=server,
    )


def codes(result):
    return {verdict.code: verdict.level for verdict in result.verdicts}


PLENTY = [sample(2 + i / 20) for i in range(150)]


def test_a_clean_run_is_trusted():
    result = summary([*PLENTY, sample(1.9)])
    assert result.trustworthy
    assert result.verdicts == []
    assert result.window_s == (2, 12)
    assert (result.requests.total, result.requests.warmup) == (150, 1)
    assert result.throughput.output_tokens_per_s == pytest.approx(150 * 5 / 10, rel=0.01)
    json.dumps(result.to_dict(), allow_nan=False)


def test_the_warm_up_is_cut_and_marked():
    early = sample(1.99, ttft_s=50.0)
    result = summary([early, *PLENTY])
    assert early.warmup
    assert not PLENTY[0].warmup
    assert result.latency.ttft_s.max == pytest.approx(0.1)


def test_failures_are_told_by_kind_and_kept_from_the_latencies():
    bad = [sample(3, "http_error", http_status=503, error="busy") for _ in range(3)]
    result = summary([*PLENTY, *bad, sample(4, "refused", error="no"), sample(11, "incomplete")])
    told = [(f.outcome, f.http_status, f.count, f.example) for f in result.requests.failures]
    assert told == [("http_error", 503, 3, "busy"), ("refused", None, 1, "no")]
    assert (result.requests.failed, result.requests.incomplete) == (4, 1)
    assert codes(result)["failures"] == "warning"
    assert not result.trustworthy


def test_few_requests_and_none():
    assert codes(summary(PLENTY[:5]))["few_samples"] == "warning"
    assert codes(summary(PLENTY[:50]))["few_samples"] == "note"
    assert summary(PLENTY[:50]).trustworthy
    nothing = summary([sample(3, "refused")])
    assert nothing.verdicts[0].code == "no_success"
    assert nothing.latency.itl_s is None
    assert summary([], []).window_s == (0, 0)


def test_a_busy_client_is_the_bottleneck():
    result = summary(PLENTY, [report(cpu=0.9)])
    assert result.client.bottleneck
    assert codes(result)["client_bottleneck"] == "bad"
    # Of two workers the busier one decides.
    assert summary(PLENTY, [report(cpu=0.1), report(cpu=0.9)]).client.bottleneck
    assert not summary(PLENTY, [report(cpu=0.5)]).client.bottleneck


def test_a_late_client_is_told():
    assert codes(summary(PLENTY, [report(lag=0.1)]))["client_late"] == "warning"
    assert "client_late" not in codes(summary(PLENTY, [report(lag=0.005)]))


def test_lost_samples_and_interruptions_are_told():
    assert codes(summary(PLENTY, lost=2))["samples_lost"] == "bad"
    assert codes(summary(PLENTY, interrupted=True))["interrupted"] == "warning"


def test_a_killed_workers_run_ends_with_its_last_sample():
    result = summary(PLENTY, [])
    assert result.window_s == (2, pytest.approx(9.45))
    assert codes(result)["client_died"] == "bad"


def test_chunks_of_several_tokens_and_bursts_are_told():
    grouped = [replace(s, output_tokens=20) for s in PLENTY]
    assert codes(summary(grouped))["chunk_gaps"] == "note"
    bursts = [replace(s, chunk_gaps_s=[0.0, 0.04, 0.0, 0.04]) for s in PLENTY]
    assert codes(summary(bursts))["coalesced"] == "note"
    untold = [replace(s, output_tokens=None) for s in PLENTY]
    assert codes(summary(untold))["no_usage"] == "warning"
    short = [replace(s, output_tokens=2) for s in PLENTY]
    assert codes(summary(short))["short_answers"] == "note"


def server(tokens, hits=0.0):
    return Server(tokens, 1500, 0, 0.09, 0.02, 0.0, 0, hits)


def test_the_servers_count_is_held_against_ours():
    assert summary(PLENTY, server=server(750)).trustworthy
    result = summary(PLENTY, server=server(2000))
    assert result.server.client_output_tokens == 750
    assert codes(result)["server_differs"] == "warning"
    assert codes(summary(PLENTY, server=server(750, hits=0.9)))["prefix_cache"] == "warning"


def test_who_counts_less_than_we_received_is_told_why():
    def why(**more):
        (said,) = (v for v in summary(PLENTY, server=replace(server(400), **more)).verdicts)
        return said

    assert why().code == "server_differs"
    assert "one of several servers" in why().text


def test_a_server_that_was_silent_at_the_end_is_not_held_against_the_client():
    # Its count stops where its last answer was: nobody was reset, and nobody else counted.
    result = summary(PLENTY, server=replace(server(400), to_the_end=False))
    assert codes(result)["server_silent"] == "note"
    assert "server_differs" not in codes(result)
    reset = summary(PLENTY, server=replace(server(400), restarted=True))
    assert set(codes(reset)) >= {"server_restarted", "server_differs"}
    assert "counters were reset" in " ".join(v.text for v in reset.verdicts)


def test_why_a_server_was_not_seen_is_told_once_where_it_matters():
    missed = {"scrapes": 12, "scrapes_failed": 10, "scrape_error": "timed out"}
    result = summary(PLENTY, server=replace(server(400), **missed))
    assert codes(result)["server_unseen"] == "note"
    (said,) = (v.text for v in result.verdicts if v.code == "server_unseen")
    assert "10 of 12" in said
    assert "timed out" in said
    seen = summary(PLENTY, server=replace(server(400), **missed, running_max=2))
    assert "server_unseen" not in codes(seen)


def test_most_requests_cut_by_the_end():
    cut = [sample(11, "incomplete") for _ in range(90)]
    assert codes(summary([*PLENTY, *cut]))["many_incomplete"] == "warning"


def test_a_load_that_was_lost_is_said_once_and_no_worker_is_called_dead():
    result = summarize(
        SETUP, PLENTY, [], lost=0, started="2026-11-24T00:00:00+00:00", tools={},
        ended=Ended(False, lost="its master's pod is gone"), server=None,
    )  # fmt: skip
    assert result.verdicts[0].code == "load_lost"
    assert "its master's pod is gone" in result.verdicts[0].text
    assert not {"client_died", "worker_died"} & set(codes(result))
    assert not result.trustworthy


def test_a_worker_that_was_ended_before_the_others_is_named_and_cuts_nothing():
    left = replace(report(), worker="evicted", ran_for_s=5.0)
    two = replace(SETUP, workers=2)
    result = summary(PLENTY, [report(), left], setup=two)
    assert result.client.died == ["evicted (ended at 5.0 s)"]
    assert result.window_s == (2, 12)
    assert codes(result)["worker_died"] == "bad"
    # All of them at once: Ctrl-C. Each in its time: so many requests.
    ended = [left, replace(left, worker="w")]
    assert summary(PLENTY, ended, setup=two).client.died == []
    assert summary(PLENTY, [report(), left], setup=replace(two, requests=9)).client.died == []
