import math
from pathlib import Path

import httpx
import pytest

from deployctl.endpoint import Endpoint
from deployctl.errors import TargetError
from deployctl.metrics import Histogram, between, parse, scrape, together
from deployctl.metrics.figures import between as figures_between
from deployctl.metrics.figures import since_start
from deployctl.metrics.snapshot import added

RECORDED = Path(__file__).parents[2] / "data" / "metrics" / "vllm-0.32.0.txt"


def exposition(*, old=False, engines=1, generated=100, hits=30, count=10):
    """What vLLM writes: 0.8's names if `old`, else those of today."""
    cache, prefix = ("gpu_cache", "gpu_prefix_cache") if old else ("kv_cache", "prefix_cache")
    itl = "time_per_output_token_seconds" if old else "inter_token_latency_seconds"
    text = ""
    for name, kind, value in (
        ("num_requests_running", "gauge", 3),
        ("num_requests_waiting", "gauge", 2),
        (f"{cache}_usage_perc", "gauge", 0.25),
        ("generation_tokens_total", "counter", generated),
        ("prompt_tokens_total", "counter", 2 * generated),
        ("num_preemptions_total", "counter", 1),
        (f"{prefix}_queries_total", "counter", 120),
        (f"{prefix}_hits_total", "counter", hits),
    ):
        text += f"# TYPE vllm:{name} {kind}\n"
        for engine in range(engines):
            text += f'vllm:{name}{{engine="{engine}",model_name="m"}} {value}\n'
    for name in (itl, "time_to_first_token_seconds"):
        text += f"# TYPE vllm:{name} histogram\n"
        for engine in range(engines):
            labels = f'engine="{engine}",model_name="m"'
            for bound, share in (("0.1", 0.5), ("0.2", 0.9), ("+Inf", 1)):
                text += f'vllm:{name}_bucket{{le="{bound}",{labels}}} {share * count}\n'
            text += f"vllm:{name}_count{{{labels}}} {count}\n"
            text += f"vllm:{name}_sum{{{labels}}} {count * 0.12}\n"
    return text


@pytest.mark.parametrize("old", [False, True], ids=["today", "0.8.5"])
def test_both_the_old_names_and_the_new_are_read(old):
    snapshot = parse(exposition(old=old), 0.0)
    assert (snapshot.running, snapshot.waiting) == (3, 2)
    assert snapshot.kv_cache_usage == 0.25
    assert snapshot.generation_tokens == 100
    assert snapshot.prompt_tokens == 200
    assert snapshot.preemptions == 1
    assert snapshot.prefix_hit_rate == 0.25
    assert snapshot.itl is not None
    assert snapshot.itl.count == 10


def test_where_both_names_are_exported_one_is_read():
    both = exposition() + exposition(old=True)
    assert parse(both, 0.0).prefix_queries == 120


def test_a_recorded_scrape():
    snapshot = parse(RECORDED.read_text(), 0.0)
    assert snapshot.generation_tokens == 4032
    assert snapshot.prompt_tokens == 8696
    assert snapshot.requests == 63
    assert snapshot.waiting == 0  # and not the sum with waiting_by_reason
    assert snapshot.started_unix_s == 1.79550622596e9
    assert snapshot.ttft is not None
    assert snapshot.ttft.count == 63
    for name in ("kv_cache_usage", "preemptions", "prefix_hits", "itl", "e2e", "queue"):
        assert getattr(snapshot, name) is not None, name


@pytest.mark.parametrize(
    "text",
    [
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running NaN\n",
        "# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running +Inf\n",
        "# TYPE vllm:time_to_first_token_seconds histogram\n"
        "vllm:time_to_first_token_seconds_bucket 3\n",
    ],
)
def test_figures_that_are_none_are_said_to_be_unreadable(text):
    with pytest.raises(TargetError, match="cannot be read"):
        parse(text, 0.0)


def test_engines_are_added_up():
    snapshot = parse(exposition(engines=2), 0.0)
    assert (snapshot.running, snapshot.generation_tokens) == (6, 200)
    assert snapshot.kv_cache_usage == 0.25
    assert snapshot.ttft is not None
    assert snapshot.ttft.count == 20
    assert snapshot.ttft.buckets[0] == (0.1, 10)


def test_quantiles_as_prometheus_computes_them():
    histogram = Histogram(((0.1, 5.0), (0.2, 9.0), (math.inf, 10.0)), 1.2, 10)
    assert histogram.quantile(0.5) == pytest.approx(0.1)
    assert histogram.quantile(0.25) == pytest.approx(0.05)  # from 0 in the lowest bucket
    assert histogram.quantile(0.7) == pytest.approx(0.1 + 0.1 * 2 / 4)
    assert histogram.quantile(0.99) == 0.2  # in +Inf: the highest finite bound
    assert histogram.mean() == pytest.approx(0.12)
    empty = Histogram(((0.1, 0.0), (math.inf, 0.0)), 0, 0)
    assert empty.quantile(0.5) is None
    assert empty.mean() is None


def test_what_happened_in_between():
    before = parse(exposition(generated=100, count=10), 100.0)
    after = parse(exposition(generated=300, count=30), 104.0)
    delta = between(before, after)
    assert delta.seconds == 4
    assert delta.generation_tokens == 200
    assert delta.rate(delta.generation_tokens) == 50
    assert delta.ttft is not None
    assert (delta.ttft.count, delta.ttft.buckets[0][1]) == (20, 10)
    assert delta.prefix_hit_rate is None  # nothing was asked of it
    assert not delta.restarted


def test_a_restarted_engine_counts_from_nothing():
    delta = between(
        parse(exposition(generated=900, count=90), 0.0), parse(exposition(generated=30, count=3), 2)
    )
    assert delta.restarted
    assert delta.generation_tokens == 30
    assert delta.ttft is not None
    assert delta.ttft.count == 3


def test_figures_since_start_and_between():
    snapshot = parse(exposition(), 0.0)._replace(started_unix_s=1000.0)
    figures = since_start(snapshot, 1050.0)
    assert figures.basis == "since_start"
    assert figures.generation_tokens_per_s == 2
    assert figures.ttft_s is not None
    assert figures.ttft_s.resolution == 0.1
    assert since_start(parse(exposition(), 0.0), 1050.0).generation_tokens_per_s is None
    later = parse(exposition(generated=150), 5.0)
    assert figures_between(parse(exposition(), 0.0), later).generation_tokens_per_s == 10
    assert figures_between(parse(exposition(), 0.0), later).ttft_s is None


@pytest.mark.parametrize("text", ["<html>", "", "# TYPE go_goroutines gauge\ngo_goroutines 7\n"])
def test_what_is_no_vllm_is_said_to_be_none(text):
    with pytest.raises(TargetError, match=r"vllm|cannot be read"):
        parse(text, 0.0)


@pytest.mark.parametrize(
    ("lets_in_with", "said", "hint"),
    [
        ({}, "wants the operator's token (HTTP 401)", "{state}/TARGET/SERVICE/operator_token"),
        ({"api_key": "k"}, "refuses the credential", "--operator-token-file"),
        ({"operator_token": "t", "service": "tiny"}, "refuses", "deployctl up brings tiny"),
    ],
)
def test_a_refused_scrape_says_what_it_wants_and_where_that_is(
    monkeypatch, tmp_path, lets_in_with, said, hint
):
    monkeypatch.setenv("DEPLOYCTL_STATE_DIR", str(tmp_path))
    refusal = lambda *_: httpx.Response(401)  # noqa: E731
    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", refusal)
    endpoint = Endpoint("http://h:1", "m", None)._replace(**lets_in_with)
    with pytest.raises(TargetError) as caught:
        scrape(endpoint)
    assert said in caught.value.message
    assert hint.format(state=tmp_path) in caught.value.hint


def test_several_engines_as_one():
    one, other = (parse(RECORDED.read_text(), at) for at in (1.0, 2.0))
    both = together([one, other])
    assert both.at_s == 2.0
    assert both.generation_tokens == 2 * one.generation_tokens
    assert both.ttft.count == 2 * one.ttft.count
    assert both.ttft.buckets[-1][1] == 2 * one.ttft.buckets[-1][1]
    assert both.kv_cache_usage == one.kv_cache_usage
    assert both.started_unix_s == one.started_unix_s
    assert together([one._replace(queue=None), other._replace(queue=None)]).queue is None


def test_a_restart_is_seen_though_one_counter_has_passed_its_former_height():
    before = parse(exposition(generated=100, hits=60), 0.0)
    delta = between(before, parse(exposition(generated=500, hits=10), 2.0))
    assert delta.restarted
    assert (delta.generation_tokens, delta.prefix_hits) == (500, 10)


def test_what_several_engines_did_is_added_up():
    before, after = parse(exposition(), 0.0), parse(exposition(generated=300, count=30), 4.0)
    one = between(before, after)
    both = added([one, one._replace(seconds=5.0, prefix_queries=40.0, prefix_hits=10.0)])
    assert (both.seconds, both.generation_tokens, both.restarted) == (5.0, 400, False)
    assert both.prefix_hit_rate == 0.25
    assert both.ttft is not None
    assert both.ttft.count == 40
