"""Metric names by version: what reads, what reads nothing, and what to write instead."""

from pathlib import Path

import pytest

from deployctl.engines.vllm import exported

ROOT = Path(__file__).resolve().parents[3]


def test_what_a_real_engine_exported_is_known():
    lines = (ROOT / "tests/data/metrics/vllm-0.32.0.txt").read_text().splitlines()
    series = {line.split("{")[0].split(" ")[0] for line in lines if line.startswith("vllm:")}
    assert len(series) > 15
    assert not [name for name in series if exported.problem(name, "0.32.0")]


@pytest.mark.parametrize(
    ("series", "version", "says", "instead"),
    [
        ("vllm:gpu_cache_usage_perc", "0.32.0", "removed in 0.12.0", "vllm:kv_cache_usage_perc"),
        ("vllm:gpu_cache_usage_perc", "0.11.0", "hidden", "vllm:kv_cache_usage_perc"),
        ("vllm:kv_cache_usage_perc", "0.9.1", "came with 0.9.2", "vllm:gpu_cache_usage_perc"),
        ("vllm:num_preemptions", "0.32.0", "is a counter", "vllm:num_preemptions_total"),
        ("vllm:time_to_first_token_seconds", "0.32.0", "histogram", "_seconds_bucket"),
        (
            "vllm:time_per_output_token_seconds_bucket",
            "0.32.0",
            "removed in 0.15.0",
            "vllm:inter_token_latency_seconds_bucket",
        ),
        ("vllm:num_request_waiting", "0.32.0", "exports no", "vllm:num_requests_waiting"),
        ("vllm:nothing_of_the_kind_at_all", "0.32.0", "exports no", "/metrics"),
    ],
)
def test_a_name_that_reads_nothing_says_what_would(series, version, says, instead):
    problem = exported.problem(series, version)
    assert says in problem.message
    assert instead in problem.fix


def test_a_name_lives_in_its_versions():
    for version in ("0.8.5", "0.10.2", "0.32.0"):
        assert exported.problem("vllm:num_requests_running", version) is None
        assert exported.problem("vllm:generation_tokens_total", version) is None
    assert exported.problem("vllm:gpu_cache_usage_perc", "0.9.2") is None
    assert exported.problem("vllm:spec_decode_num_drafts_total", "0.32.0") is None
