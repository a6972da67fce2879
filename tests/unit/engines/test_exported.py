"""Metric names by version: what reads, what reads nothing, and what to write instead."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

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


def test_kinds_and_labels_of_a_real_page_are_those_of_the_table():
    text = (ROOT / "tests/data/metrics/vllm-0.32.0.txt").read_text()
    own = "\n".join(line for line in text.splitlines() if "vllm:" in line) + "\n"
    families = list(text_string_to_metric_families(own))
    assert len(families) > 10
    for family in families:
        metric = exported.of("0.32.0")[family.name]
        assert metric.kind == family.type
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == metric.labels, family.name


def test_a_release_that_only_its_source_tells_of_is_known():
    assert exported.newest() == "0.33.0"
    invocations = exported.of("0.33.0")["vllm:tool_call_parser_invocations"]
    assert invocations.labels == {"model_name", "mode", "outcome", "request_type"}
    assert invocations.when == "--enable-auto-tool-choice"
    loads = exported.of("0.33.0")["vllm:kv_offload_load_size"]
    assert (loads.kind, loads.labels) == ("histogram", {"model_name", "engine"})
    assert exported.of("0.33.0")["vllm:cache_config_info"].labels is None
    assert exported.of("0.33.0")["vllm:time_to_first_token_seconds"].buckets[0] == 0.001


@pytest.mark.parametrize("version", exported.versions())
def test_every_metric_has_a_kind_and_a_text(version):
    for name, metric in exported.of(version).items():
        assert metric.kind in ("counter", "gauge", "histogram", "summary")
        assert exported.help_of(name, version)
        assert list(metric.buckets) == sorted(metric.buckets)


def test_the_door_exports_what_the_table_says(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deploy" / "door"))
    from deployctl_door.account import RESTARTS, Account, Entry
    from deployctl_door.keys import Key, KeyRing

    monkeypatch.setenv(RESTARTS, "2")
    ring = KeyRing((Key("ci", "", expires=2e9), Key("ever", "")), None)
    account = Account(log=False)
    entry = Entry("1", "POST", "/v1/completions")
    entry.key, entry.status, entry.input, entry.output = "ci", 200, 1, 1
    account.ended(entry)
    account.refused("ci", "rate")
    said = {
        name: metric
        for name, metric in exported.of("0.32.0").items()
        if name.startswith(("deployctl_door_", "deployctl_engine_"))
    }
    families = list(text_string_to_metric_families(account.metrics(ring, stale=True).decode()))
    assert {family.name for family in families} == set(said)
    for family in families:
        assert said[family.name].kind == family.type
        assert exported.help_of(family.name, "0.32.0") == family.documentation
        for sample in family.samples:
            assert set(sample.labels) == said[family.name].labels


def test_what_is_to_be_read_instead_is_exported_by_the_newest():
    groups = yaml.safe_load((ROOT / "deploy/engines/metrics-beside.yaml").read_text())
    for name, instead in groups["gone"].items():
        written = re.findall(r"vllm:\w+", instead.get("write", ""))
        assert written or instead["why"]
        assert not [s for s in written if exported.problem(s, exported.newest())]
        assert instead["source"]
        metric = exported.of(exported.newest()).get(name)
        assert metric is None or metric.deprecated


def test_a_metric_older_than_every_table_is_said_to_be_gone():
    problem = exported.problem("vllm:avg_generation_throughput_toks_per_s", "0.32.0")
    assert "removed in 0.7.0" in problem.message
    assert problem.fix == "write rate(vllm:generation_tokens_total[5m])"


def test_a_deprecated_metric_reads_and_has_a_successor():
    assert exported.problem("vllm:gpu_cache_usage_perc", "0.9.2") is None
    assert exported.of("0.9.2")["vllm:gpu_cache_usage_perc"].deprecated
    assert (
        exported.successor("vllm:gpu_cache_usage_perc", "0.9.2") == "write vllm:kv_cache_usage_perc"
    )
