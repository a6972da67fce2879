"""What dashboards read: series of the services, models and replicas chosen at the top."""

from dataclasses import dataclass
from typing import Any

from deployctl import assets
from deployctl.engines.vllm import exported
from deployctl.engines.vllm.series import Series
from deployctl.promql import Expression, FunctionCall, LabelMatcher, Selector
from deployctl.promql.write import quantile
from deployctl.render.alerting.gateway import BEHIND

NEWEST = exported.newest()
WINDOW = "$__rate_interval"
WHERE = (
    LabelMatcher("namespace", "=~", "$namespace"),
    LabelMatcher("service", "=~", "$service"),
)
_CHOSEN = LabelMatcher("instance", "=~", "$replica")
REPLICAS = ("pod", "instance")  # by these a replica is told; off Kubernetes there is no pod
REPLICA = "{{pod}} {{instance}}"
FLEET = Series(NEWEST, *WHERE)
DOORS = Series(NEWEST, *WHERE, LabelMatcher(BEHIND, "!=", ""))  # of engines behind a gateway
RUNS = Series(NEWEST, WHERE[1])  # of load tests, which have no namespace or another's
BESIDE = Series(NEWEST, *WHERE, _CHOSEN)
# What is beside the engine's own series has no model.
ENGINE = Series(NEWEST, *WHERE, LabelMatcher("model_name", "=~", "$model"), _CHOSEN)
EXPORTERS: dict[str, dict[str, Any]] = {
    name: entry
    for group in assets.table("deploy", "engines", "metrics-exporters.yaml").values()
    for name, entry in group["metrics"].items()
}


@dataclass(frozen=True)
class Query:
    """A query and what its series are called."""

    expression: Expression
    legend: str = ""
    instant: bool = False


def recorded(name: str) -> Selector:
    """A series that the service's rules record."""
    return Selector(f"deployctl:{name}", WHERE)


def exporter(series: str, *matchers: LabelMatcher) -> Selector:
    """A series of an exporter, of every host that Prometheus sees. A bug (KeyError) where
    deploy/engines/metrics-exporters.yaml has none with such labels."""
    unknown = {m.label for m in matchers} - set(EXPORTERS[series]["l"])
    if unknown:
        raise KeyError(f"{series} has no {sorted(unknown)}")
    return Selector(series, matchers)


def firing(*matchers: LabelMatcher) -> Selector:
    """Prometheus' own series of our alerts."""
    return Selector("ALERTS", (*WHERE, LabelMatcher("alertname", "=~", "Vllm.*"), *matchers))


def quantiles(metric: str) -> tuple[Query, ...]:
    """The median and the tail of a latency."""
    buckets = ENGINE.buckets(metric)
    return tuple(
        Query(quantile(share, buckets, WINDOW), f"p{100 * share:g}") for share in (0.5, 0.95, 0.99)
    )


def objective(name: str) -> Query:
    """A latency's limit, a line: `NaN`, which draws nothing, where none is promised."""
    return Query(FunctionCall("vector", (Selector(f"${name}_objective"),)), "objective")
