"""The metrics of one release of vLLM in queries of ours, each by the name that it has there.

Whoever writes PromQL for what we deploy takes the series from here: a name that a supported release
does not have fails a unit test, not a page at night.
"""

from deployctl.engines.vllm import exported
from deployctl.engines.vllm.exported import Exported
from deployctl.promql import Expression, LabelMatcher, Selector, write
from deployctl.promql.write import times, total


class Series:
    """Selects series of one release by a set of matchers, which every one of them gets.

    A metric is asked for by its newest name, without the suffixes of its series.
    """

    def __init__(self, version: str, *matchers: LabelMatcher) -> None:
        self._version = version
        self._matchers = matchers

    def gauge(self, name: str) -> Selector:
        """A gauge. A bug (KeyError) where the release has none of that name."""
        return self._select(name, "gauge", "")

    def counter(self, name: str, *matchers: LabelMatcher) -> Selector:
        """A counter, to take a rate of. A bug (KeyError) where the release has none."""
        return self._select(name, "counter", "_total", *matchers)

    def buckets(self, name: str, *matchers: LabelMatcher) -> Selector:
        """A histogram's buckets. A bug (KeyError) where the release has none."""
        return self._select(name, "histogram", "_bucket", *matchers)

    def observed(self, name: str, part: str) -> Selector:
        """A histogram's `sum` or `count`. A bug (KeyError) where the release has none."""
        return self._select(name, "histogram", f"_{part}")

    def bounds(self, name: str, wanted: float) -> tuple[float | None, float | None]:
        """A histogram's bounds next to a value: the highest that is no more, the lowest that is no
        less; None where it has none."""
        bounds = self._metric(name, "histogram").buckets
        return (
            max((b for b in bounds if b <= wanted), default=None),
            min((b for b in bounds if b >= wanted), default=None),
        )

    def beside(self, series: str, *matchers: LabelMatcher) -> Selector:
        """A series that is not vLLM's own, by its whole name: of its HTTP server, its process, the
        door, or Prometheus' `up`. A bug (KeyError) where there is none."""
        if series == "up":
            return Selector(series, (*self._matchers, *matchers))
        metric = exported.samples(self._version)[series]
        return self._of(metric, series, *matchers)

    def around(self, series: str, *matchers: LabelMatcher) -> Selector:
        """A series of another exporter, by its whole name. A bug (KeyError) where there is none,
        or it has no such label."""
        labels = exported.around()[series]
        if strange := {matcher.label for matcher in matchers} - labels:
            raise KeyError(f"{series} has no label {min(strange)}")
        return Selector(series, (*self._matchers, *matchers))

    def _select(self, name: str, kind: str, suffix: str, *matchers: LabelMatcher) -> Selector:
        metric = self._metric(name, kind)
        return self._of(metric, metric.name + suffix, *matchers)

    def _of(self, metric: Exported, series: str, *matchers: LabelMatcher) -> Selector:
        for matcher in matchers:
            if metric.labels is not None and matcher.label not in (*metric.labels, "le"):
                raise KeyError(f"{metric.name} has no label {matcher.label}")
        return Selector(series, (*self._matchers, *matchers))

    def _metric(self, name: str, kind: str) -> Exported:
        metric = exported.named(name, self._version)
        if metric is None or metric.kind != kind:
            raise KeyError(f"vLLM {self._version} has no {kind} {name}")
        return metric


def scaling(version: str, *matchers: LabelMatcher) -> dict[str, str]:
    """What the chart's autoscaler asks for, of all replicas together: name -> query."""
    series = Series(version, *matchers)
    cache = series.gauge("vllm:kv_cache_usage_perc")
    queries: dict[str, Expression] = {
        "running": total(series.gauge("vllm:num_requests_running")),
        "waiting": total(series.gauge("vllm:num_requests_waiting")),
        "kv-cache": times(100, total(cache)),
    }
    return {name: write(query) for name, query in queries.items()}
