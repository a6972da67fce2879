"""Series by the name that a release gives them, and every name that we write anywhere."""

import importlib
import re
import sys
from pathlib import Path

import pytest
import yaml

from deployctl.checking import Options, check_texts
from deployctl.engines.vllm import DEFAULT_VERSION, exported
from deployctl.engines.vllm.series import Series, scaling
from deployctl.metrics import names
from deployctl.promql import LabelMatcher, parse, write

ROOT = Path(__file__).resolve().parents[3]
POD = LabelMatcher("pod", "=~", "chat-.*")
# Written by us: code, chart, guides. Tables of releases and what is generated from them are not.
WRITTEN = [
    *(ROOT / "operator").rglob("*.py"),
    *(ROOT / "deploy" / "door").rglob("*.py"),
    *(ROOT / "charts").rglob("*.tpl"),
    *(ROOT / "charts").rglob("*.yaml"),
    *(ROOT / "docs" / "guides").glob("*.md"),
    ROOT / "README.md",
]


def test_a_metric_is_called_as_its_release_calls_it():
    for version, name in (("0.9.1", "gpu_cache_usage_perc"), ("0.9.2", "kv_cache_usage_perc")):
        gauge = Series(version, POD).gauge("vllm:kv_cache_usage_perc")
        assert write(gauge) == f'vllm:{name}{{pod=~"chat-.*"}}'
    old = Series("0.10.0").buckets("vllm:inter_token_latency_seconds")
    assert old.name == "vllm:time_per_output_token_seconds_bucket"


def test_what_a_release_has_not_is_a_bug():
    series = Series(exported.newest())
    for ask in (
        lambda: series.gauge("vllm:gpu_cache_usage_perc"),
        lambda: series.counter("vllm:num_requests_running"),
        lambda: series.counter("vllm:request_success", LabelMatcher("reason", "=", "stop")),
        lambda: Series("0.9.1").gauge("vllm:num_requests_waiting_by_reason"),
    ):
        with pytest.raises(KeyError, match="has no"):
            ask()
    stopped = series.counter("vllm:request_success", LabelMatcher("finished_reason", "=", "stop"))
    assert write(stopped) == 'vllm:request_success_total{finished_reason="stop"}'
    assert series.observed("vllm:e2e_request_latency_seconds", "sum").name.endswith("_seconds_sum")


@pytest.mark.parametrize(
    ("limit", "bounds"),
    [(0.3, (0.25, 0.5)), (0.25, (0.25, 0.25)), (0.0001, (None, 0.001)), (9999, (2560.0, None))],
)
def test_a_limit_is_told_at_the_bounds_next_to_it(limit, bounds):
    series = Series(exported.newest())
    assert series.bounds("vllm:time_to_first_token_seconds", limit) == bounds


@pytest.mark.parametrize("version", exported.versions())
def test_the_autoscalers_queries_read_in_every_release(version):
    queries = scaling(version, POD)
    assert list(queries) == ["running", "waiting", "kv-cache"]
    rules = {"groups": [{"rules": [{"expr": query} for query in queries.values()]}]}
    report = check_texts({"r.yaml": yaml.safe_dump(rules)}, Options(engine_version=version))
    assert {f.code for f in report.findings} <= {"metric-deprecated"}


def test_the_chart_has_the_autoscalers_queries():
    held = yaml.safe_load((ROOT / "charts/vllm/files/queries.yaml").read_text())
    for version in exported.versions():
        for name, query in scaling(version, LabelMatcher("", "=", "%s")).items():
            known = [p["query"] for p in held[name] if exported.at_least(version, p["since"])]
            assert known[-1] == query


@pytest.mark.parametrize(
    "file", [f for f in WRITTEN if "vllm:" in f.read_text()], ids=lambda f: f.name
)
def test_every_name_that_we_write_is_one_of_the_default_release_or_of_an_older_one(file):
    found = set(re.findall(r"\bvllm:[a-z][a-z0-9_]+[a-z0-9]\b(?![*.(\\])", file.read_text()))
    ever = {name for version in exported.versions() for name in exported.of(version)}
    series = {s for name in ever for v in exported.versions() for s in _series(name, v)}
    assert found - ever - series == set()


def _series(name, version):
    metric = exported.of(version).get(name)
    return metric.series if metric else ()


def test_every_metric_that_is_scraped_is_the_newests_or_was_its_forerunner():
    for metrics in (value for key, value in vars(names).items() if key.isupper() and key != "READ"):
        newest, *older = metrics if isinstance(metrics, tuple) else (metrics,)
        for version in (DEFAULT_VERSION, exported.newest()):
            assert exported.of(version)[newest].condition == ""
        for name in older:
            assert name not in exported.of(exported.newest())
            assert exported.successor(name, exported.newest()) is not None
        for version in exported.versions():
            there = [n for n in metrics if n in exported.of(version)] if older else [newest]
            assert there, (metrics, version)


@pytest.fixture
def alive(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "deploy" / "door"))
    yield importlib.import_module("alive")
    sys.modules.pop("alive")


@pytest.mark.parametrize("version", exported.versions())
def test_the_alive_probe_reads_what_every_release_exports(version, alive):
    there = exported.samples(version)
    assert {alive.RUNNING, alive.WAITING} <= set(there)
    moves = {name for name in there if alive.MOVES.fullmatch(name)}
    cache = {"vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"}
    assert moves & cache
    assert moves - cache == {
        *("vllm:prompt_tokens_total", "vllm:generation_tokens_total"),
        *("vllm:iteration_tokens_total_sum", "vllm:iteration_tokens_total_count"),
        *("vllm:request_success_total", "vllm:num_preemptions_total"),
    }


def test_queries_in_the_guides_read():
    for guide in (ROOT / "docs" / "guides").glob("*.md"):
        for block in re.findall(r"^```(?:promql)?\n(.*?)^```", guide.read_text(), re.M | re.S):
            for line in block.splitlines():
                if re.search(r"\b(vllm:|deployctl_door_)\w+[{\[)]", line):
                    parse(line)
                    rules = yaml.safe_dump({"groups": [{"rules": [{"expr": line}]}]})
                    assert check_texts({"r.yaml": rules}).findings == []
