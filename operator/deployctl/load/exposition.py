"""A result as Prometheus' text: for node-exporter's textfile collector, or a Pushgateway. Pure.

Every series has the labels `service` (the model, where an address was measured) and `run` (the
result's folder). What was not measured has no series. deploy/engines/metrics-beside.yaml lists the
names, by which our dashboards read them.
"""

import dataclasses
from collections.abc import Iterable
from datetime import datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from deployctl_loadtest.foreign import printable
from deployctl_loadtest.result import Latency, LoadResult

_Family = CounterMetricFamily | GaugeMetricFamily
_PERCENTILES = ("p50", "p90", "p95", "p99")  # `quantile` is the label of summaries alone


def text(result: LoadResult, run: str) -> str:
    """The page of every figure."""
    return generate_latest(registry(result, run)).decode()


def registry(result: LoadResult, run: str) -> CollectorRegistry:
    """Every figure as a gauge: seconds, tokens or requests a second, shares of 1."""
    service = result.setup.service or result.setup.model
    page = MetricsPage("deployctl_loadtest_", {"service": service, "run": run})
    setup, requests, throughput = result.setup, result.requests, result.throughput
    began = datetime.fromisoformat(result.started).timestamp()
    page.add("started_timestamp_seconds", "When the run began, in seconds since 1970.", began)
    load = setup.rate if setup.rate is not None else setup.users
    page.add("load", "Users of a closed loop, requests a second of an open one.", load,
             mode=setup.mode)  # fmt: skip
    for outcome in ("ok", "failed", "incomplete"):
        page.add("requests", "Requests that started in the window, by how they ended.",
                 getattr(requests, outcome), outcome=outcome)  # fmt: skip
    page.add("requests_per_second", "Requests that ended in a second.", throughput.requests_per_s)
    for direction in ("input", "output"):
        page.add("tokens_per_second", "Tokens in a second, of prompts and of answers.",
                 getattr(throughput, f"{direction}_tokens_per_s"), direction=direction)  # fmt: skip
    for kind, percentile, value in _latencies(result.latency):
        page.add("latency_seconds", "Percentiles of requests that succeeded, as clients saw them.",
                 value, kind=kind, percentile=percentile)  # fmt: skip
    page.add("trustworthy", "1 where no verdict says to doubt the figures.", result.trustworthy)
    if result.slo is not None:
        page.add("goodput_per_second", "Requests in a second that met every objective.",
                 result.slo.goodput_per_s)  # fmt: skip
        for verdict in ("met", "missed", "unresolved"):
            page.add("slo", "1 for what came of the SLO.", result.slo.verdict == verdict,
                     verdict=verdict)  # fmt: skip
    return page.registry()


def _latencies(latency: Latency) -> list[tuple[str, str, float]]:
    """Kind, percentile and seconds of each that was measured."""
    found = []
    for field in dataclasses.fields(latency):
        distribution = getattr(latency, field.name)
        if distribution is not None:
            kind = field.name.removesuffix("_s")
            found += [(kind, name, getattr(distribution, name)) for name in _PERCENTILES]
    return found


class MetricsPage:
    """Metrics of the same prefix and first labels; what ends in `_total` is a counter, all else a
    gauge. No `Gauge`: with PROMETHEUS_MULTIPROC_DIR that writes its values to files."""

    def __init__(self, prefix: str, labels: dict[str, str]) -> None:
        self._prefix, self._labels = prefix, labels
        self._families: dict[str, _Family] = {}

    def add(self, name: str, said: str, value: float | None, **labels: str) -> None:
        """A series; none where there is no value."""
        if value is None:
            return
        family = self._families.get(name)
        if family is None:
            made = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            names = [*self._labels, *labels]
            family = self._families[name] = made(self._prefix + name, said, labels=names)
        family.add_metric([printable(v) for v in (*self._labels.values(), *labels.values())], value)

    def collect(self) -> "Iterable[_Family]":
        """Asked by the registry."""
        return self._families.values()

    def registry(self) -> CollectorRegistry:
        """One that has these alone."""
        registry = CollectorRegistry()
        registry.register(self)
        return registry
