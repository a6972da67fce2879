"""Which metrics a vLLM release exports (deploy/engines/vllm-metrics.json)."""

import difflib
from functools import cache
from typing import Any, NamedTuple

from deployctl.engines.vllm.versions import at_least, document, in_force

_SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "any": ("", "_total", "_bucket", "_sum", "_count"),
}
# What replaced a metric that is gone or hidden, where the name alone does not tell.
_SUCCESSORS = {
    "vllm:gpu_cache_usage_perc": "vllm:kv_cache_usage_perc",
    "vllm:time_per_output_token_seconds": "vllm:inter_token_latency_seconds",
    "vllm:gpu_prefix_cache_hits": "vllm:prefix_cache_hits",
    "vllm:gpu_prefix_cache_queries": "vllm:prefix_cache_queries",
    "vllm:num_requests_swapped": "vllm:num_preemptions",
}


class Absent(NamedTuple):
    """Why a name on /metrics reads nothing."""

    message: str
    fix: str


def _metrics() -> dict[str, list[list[Any]]]:
    metrics: dict[str, list[list[Any]]] = document("metrics")["metrics"]
    return metrics


@cache
def samples(version: str) -> dict[str, str]:
    """Every series name of `version`, as a query spells it -> its kind. Hidden ones are out."""
    kinds: dict[str, str] = {}
    for name, periods in _metrics().items():
        entry = in_force(periods, version)
        if entry is None or entry.get("if"):
            continue
        kind = str(entry["t"])
        for series in _series(name, kind):
            kinds[series] = kind
    return kinds


def problem(series: str, version: str) -> Absent | None:
    """Says why a query for `series` reads nothing from `version`; None when it reads."""
    if series in samples(version):
        return None
    name, periods = _metric(series)
    if periods is None:
        return Absent(f"vLLM {version} exports no {series}", _near(series, version))
    entry = in_force(periods, version)
    if entry is not None and not entry.get("if"):
        right = " or ".join(_series(name, str(entry["t"])))
        message = f"{series} never has a sample: it is a {entry['t']}"
        return Absent(message, f"write {right}")
    successor = _SUCCESSORS.get(name)
    instead = _near(series, version)
    if successor and (period := in_force(_metrics()[successor], version)):
        instead = f"write {_series(successor, str(period['t']))[0]}"
    if entry is not None:
        why = (
            "by its old V0 engine only"
            if entry["if"] == "v0"
            else "only under --show-hidden-metrics-for-version"
        )
        return Absent(f"vLLM {version} exports {series} {why}", instead)
    if not at_least(version, periods[0][0]):
        return Absent(f"vLLM {version} exports no {series}; it came with {periods[0][0]}", instead)
    gone = [p[0] for p in periods if len(p) == 1][-1]
    return Absent(f"vLLM {version} exports no {series} any more; it was removed in {gone}", instead)


def oldest() -> str:
    """The oldest release whose metrics are known."""
    return str(document("metrics")["versions"][0])


def newest() -> str:
    """The newest release whose metrics are known."""
    return str(document("metrics")["versions"][-1])


def ever(series: str) -> bool:
    """Whether any release exports the series, hidden or not."""
    return any(
        series in _series(name, str(period[1]["t"]))
        for name, periods in _metrics().items()
        for period in periods
        if len(period) > 1
    )


def _series(name: str, kind: str) -> tuple[str, ...]:
    return tuple(name + suffix for suffix in _SUFFIXES.get(kind, ("",)))


def _metric(series: str) -> tuple[str, list[list[Any]] | None]:
    """The metric that a series, or a name that looks like one, belongs to."""
    names = [series, *(series.removesuffix(s) for group in _SUFFIXES.values() for s in group)]
    for name in names:
        if name in _metrics():
            return name, _metrics()[name]
    return series, None


def _near(series: str, version: str) -> str:
    near = difflib.get_close_matches(series, samples(version), n=1, cutoff=0.6)
    return f"write {near[0]}" if near else "read the names from the engine's /metrics"
