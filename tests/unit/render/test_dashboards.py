"""Dashboards of a release: its names, and nothing that it does not export."""

import json
import re

import pytest

from deployctl.checking import Options, check_texts
from deployctl.engines.vllm import exported
from deployctl.hardware import load_profile
from deployctl.render.dashboards import dashboards, of_release
from deployctl.render.helm import render_helm


def boards(version, speculates=True):
    return {name: json.loads(text) for name, text in dashboards(version, speculates).items()}


def read(found):
    return set(re.findall(r"vllm:\w+", json.dumps(found)))


@pytest.mark.parametrize("version", exported.versions())
def test_every_supported_release_exports_what_they_read(version):
    report = check_texts(dict(dashboards(version, True)), Options(engine_version=version))
    assert {f.code for f in report.findings} <= {"metric-deprecated", "metric-conditional"}
    conditional = {f.message for f in report.findings if f.code == "metric-conditional"}
    assert all("spec_decode" in message for message in conditional)
    for name, board in boards(version).items():
        text = json.dumps(board)
        assert "num_requests_running" in text, name
        assert f"vLLM {version}." in board["description"]


def test_the_newest_release_has_them_as_they_are(tmp_path):
    import deployctl.assets as assets

    for name, board in boards(exported.newest()).items():
        assert board == json.loads(assets.path("deploy", "dashboards", name).read_text())


def test_a_renamed_metric_has_its_older_name_in_an_older_release():
    old, new = read(boards("0.9.1")), read(boards("0.32.0"))
    renamed = {
        "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
        "vllm:gpu_prefix_cache_hits_total": "vllm:prefix_cache_hits_total",
        "vllm:time_per_output_token_seconds_bucket": "vllm:inter_token_latency_seconds_bucket",
    }
    assert set(renamed) <= old - new
    assert set(renamed.values()) <= new - old


def test_what_a_release_does_not_export_is_left_out_with_its_panel_and_heading():
    titles = [p["title"] for p in boards("0.30.0", speculates=False)["engine.json"]["panels"]]
    assert "Refused by the engine" not in titles  # since 0.32.0
    assert not [title for title in titles if "peculation" in title]
    assert "Process" in titles
    everything = boards("0.32.0")["engine.json"]["panels"]
    assert "Refused by the engine" in [p["title"] for p in everything]


def test_of_several_queries_of_a_panel_the_others_stay():
    def panel(*queries):
        return {"type": "stat", "targets": [{"expr": query} for query in queries]}

    row = {"type": "row"}
    mixed = panel("sum(vllm:admission_rejections_total)", "vllm:num_requests_running")
    gone = panel("vllm:admission_rejections_total")
    board = {"description": "0.33.0", "panels": [row, gone, row, mixed, row, gone]}
    kept = of_release(board, "0.30.0", speculates=False)["panels"]
    assert kept == [row, panel("vllm:num_requests_running")]


def test_the_chart_in_a_bundle_has_those_of_its_release(by_hand):
    plan, spec = by_hand(version="0.9.1")
    claim = {"model": {"claim": "models"}}
    files = render_helm(plan, spec, load_profile("cpu"), claim).files
    for name, text in dashboards("0.9.1", False).items():
        assert files[f"chart/files/dashboards/{name}"] == text
