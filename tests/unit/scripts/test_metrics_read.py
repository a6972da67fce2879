"""scripts/vllm_metrics.py: metrics read from a source, in each of the ways that vLLM makes them."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOGGERS = """
class PrometheusStatLogger:
    def __init__(self, config):
        self.show_hidden_metrics = config.show
        labelnames = ["model_name", "engine"]
        latency = [0.3, 0.5]
        self._gauge_cls(name="vllm:running", documentation="Now.", labelnames=labelnames)
        self._histogram_cls(name="vllm:e2e", buckets=latency, labelnames=labelnames)
        self._histogram_cls(name="vllm:size", buckets=by_model(n), labelnames=labelnames)
        self._histogram_cls(name="vllm:ttft", buckets=histogram_buckets("first"))
        self._counter_cls(name="vllm:ended_total", labelnames=labelnames + ["reason"])
        if self.show_hidden_metrics:
            self._gauge_cls(
                name="vllm:used", documentation="Use. DEPRECATED: Use vllm:share instead."
            )
        if config.lora_config is not None:
            self.label_most = "max_lora"
            self._gauge_cls(name="vllm:adapters", labelnames=[self.label_most])

    def info(self, facts):
        name, text = None, None
        name = "vllm:facts"
        self._gauge_cls(name=name, labelnames=facts.keys())
"""
BUCKETS = "FIRST_BUCKETS: tuple[float, ...] = (\n    0.001,\n    1.0,\n)\n"
SPECULATION = """
class Prom:
    def __init__(self, labelnames):
        specs = [("vllm:drafts", "Number of drafts."), ("vllm:accepted", "Accepted.")]
        made = [self._counter_cls(name=n, documentation=d, labelnames=labelnames) for n, d in specs]
"""
OFFLOADING = """
TIER_LABEL = "tier"
_DEPRECATED_BYTES = "vllm:moved"

class Names:
    READ = "vllm:read_bytes"
    HELD = "vllm:held"

def definitions():
    metrics = {Names.HELD: OffloadingGaugeMetadata(documentation="Held.")}
    metrics[Names.READ] = OffloadingCounterMetadata(labelnames=(TIER_LABEL,))
    metrics["vllm:stored_info"] = OffloadingGaugeMetadata(labelnames=keys_of(spec))
    return metrics

def made(self, labelnames):
    self._counter_cls(name=_DEPRECATED_BYTES, labelnames=labelnames + ["way"])
"""


@pytest.fixture
def read(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    import vllm_metrics

    for name, text in {
        "v1/metrics/loggers.py": LOGGERS,
        "v1/metrics/buckets.py": BUCKETS,
        "v1/spec_decode/metrics.py": SPECULATION,
        "distributed/kv_transfer/offloading.py": OFFLOADING,
    }.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    yield vllm_metrics.metrics_of(tmp_path), vllm_metrics.help_of(tmp_path)
    monkeypatch.delitem(sys.modules, "vllm_metrics")


def test_every_way_of_making_a_metric_is_read(read):
    metrics, texts = read
    base = ["model_name", "engine"]
    transfer, speculation = {"when": "--kv-transfer-config"}, {"when": "--speculative-config"}
    assert metrics == {
        "vllm:running": {"t": "gauge", "l": base},
        "vllm:e2e": {"t": "histogram", "l": base, "b": [0.3, 0.5]},
        "vllm:size": {"t": "histogram", "l": base},
        "vllm:ttft": {"t": "histogram", "l": [], "b": [0.001, 1.0]},
        "vllm:ended": {"t": "counter", "l": [*base, "reason"]},
        "vllm:used": {"t": "gauge", "l": [], "if": "hidden", "old": True, "by": "vllm:share"},
        "vllm:adapters": {"t": "gauge", "l": ["max_lora"], "when": "--enable-lora"},
        "vllm:facts": {"t": "gauge", "l": ["*"]},
        "vllm:drafts": {"t": "counter", "l": base, **speculation},
        "vllm:accepted": {"t": "counter", "l": base, **speculation},
        "vllm:held": {"t": "gauge", "l": base, **transfer},
        "vllm:read_bytes": {"t": "counter", "l": [*base, "tier"], **transfer},
        "vllm:stored_info": {"t": "gauge", "l": ["*"], **transfer},
        "vllm:moved": {"t": "counter", "l": [*base, "way"], **transfer, "old": True},
    }
    assert texts["vllm:running"] == "Now."
    assert texts["vllm:drafts"] == "Number of drafts."
