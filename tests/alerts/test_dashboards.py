"""Queries of our dashboards in Prometheus' own evaluation: each is read, and has a value where a
service, its load tests, its rules and the exporters beside it have any.
"""

import itertools
import json
import subprocess

import pytest
import yaml

from board_parts import CHOSEN as SET
from board_parts import panel_queries
from deployctl import assets
from deployctl.engines.vllm import exported
from deployctl.load import exposition
from deployctl.promql import Selector, parse, walk
from verdict_parts import made

pytestmark = pytest.mark.promtool
CHOSEN = {"__rate_interval": "2m", "namespace": "serving", "service": "chat", "model": "qwen",
          "run": ".+", "itl_objective": "NaN", "e2e_objective": "NaN"}  # fmt: skip
SCRAPED = {"namespace": "serving", "service": "chat", "instance": "a:8000", "pod": "chat-0",
           "gateway": "a:20190/port-8080"}  # fmt: skip
# Of labels by which queries choose; of others a series has one value.
VALUES = {
    "model_name": ["qwen"], "finished_reason": ["stop", "abort", "error"], "position": ["0", "1"],
    "job": ["deployctl_gateway"], "server": ["port-8080"], "code": ["200", "502"],
    "handler": ["/v1/completions"], "method": ["POST"],
    "status": ["2xx", "5xx"], "direction": ["input", "output"],
    "kind": ["ttft", "itl", "e2e"], "percentile": ["p50", "p95"], "outcome": ["ok", "failed"],
    "verdict": ["met"], "fstype": ["ext4"], "le": ["0.1", "1.0", "+Inf"],
}  # fmt: skip
EXPORTERS = {
    name: entry
    for group in assets.table("deploy", "engines", "metrics-exporters.yaml").values()
    for name, entry in group["metrics"].items()
}


def samples(name, version):
    """A metric as something under load has it for an hour, a sample a minute."""
    if name == "ALERTS":
        labels = {"alertname": "VllmAbsent", "alertstate": "firing", **SCRAPED}
        return [(labels, "1x60")]
    if name == "up" or name.startswith("deployctl:"):
        return [(SCRAPED, "1x60")]
    metric = exported.samples(version).get(name)
    own = list(EXPORTERS[name]["l"] if metric is None else metric.labels or ())
    kind = EXPORTERS[name]["t"] if metric is None else metric.kind
    names = [*own, "le"] if name.endswith("_bucket") else own
    found = []
    for values in itertools.product(*(VALUES.get(label, ["x"]) for label in names)):
        pushed = {"commit": "1f2e"} if name.startswith("deployctl_loadtest_") else {}
        labels = {**dict(zip(names, values, strict=True)), **SCRAPED, **pushed}
        step = 60 if labels.get("le") == "+Inf" else 30
        found.append((labels, "1x60" if kind == "gauge" else f"0+{step}x60"))
    return found


def input_series(expressions, version):
    """Every series that the queries read."""
    read = {
        part.name for query in expressions for part, _ in walk(parse(query))
        if isinstance(part, Selector)
    }  # fmt: skip
    return [
        {"series": f"{name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in labels.items())}}}",
         "values": values}
        for name in sorted(read)
        for labels, values in samples(name, version)
    ]  # fmt: skip


@pytest.mark.parametrize("version", ["0.9.1", "0.10.0", "0.33.0"])
def test_every_query_has_a_value_where_there_is_load(version, tmp_path):
    found = panel_queries(version, **CHOSEN)
    assert len(found) > 100
    cases = [
        {"expr": f"count({query}) > bool 0", "eval_time": "1h",
         "exp_samples": [{"labels": "{}", "value": 1}]}
        for query in found.values()
    ]  # fmt: skip
    holds(tmp_path, input_series(found.values(), version), cases)


def test_a_card_costs_once_whatever_it_is_cut_into_and_whoever_had_it(tmp_path):
    """Card 0 was two pods', which asked nothing of it; card 1 is cut in two (MIG)."""
    pods = [f'gpu="0",instance="box",pod="{pod}"' for pod in "ab"]
    parts = [f'gpu="1",instance="box",GPU_I_ID="{part}"' for part in (7, 8)]
    series = [{"series": f"DCGM_FI_DEV_FB_USED{{{each}}}", "values": "1x60"}
              for each in (*pods, *parts)]  # fmt: skip
    series += [{"series": f"DCGM_FI_DEV_GPU_UTIL{{{each}}}", "values": "0x60"} for each in pods]
    queries = {
        name.partition(" (")[0]: query for name, query in panel_queries("0.33.0", **CHOSEN).items()
    }
    cases = [
        {"expr": queries[f"fleet: {panel}"], "eval_time": "1h",
         "exp_samples": [{"labels": "{}", "value": cards * float(SET["card_price"])}]}
        for panel, cards in (("Cost of an hour", 2), ("Of these idle", 1))
    ]  # fmt: skip
    holds(tmp_path, series, cases)


def holds(tmp_path, series, cases):
    """Prometheus has these samples of queries where it has these series."""
    file = tmp_path / "test.yaml"
    test = {"interval": "1m", "input_series": series, "promql_expr_test": cases}
    file.write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [test]}))
    done = subprocess.run(
        ["promtool", "test", "rules", file], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_has_nothing_to_say_of_a_results_metrics():
    page = exposition.text(made()[0], "chat-1")
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=page, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
