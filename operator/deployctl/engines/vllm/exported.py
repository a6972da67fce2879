"""Which metrics a vLLM release exports, and what stands beside them on its page.

Its own are in deploy/engines/vllm-metrics.json, by release; those of its libraries and of the door,
and what to read instead of a dropped one, in metrics-beside.yaml.
"""

import difflib
from functools import cache
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.engines.vllm.versions import at_least, document, in_force

OWN = ("vllm:", "deployctl_")  # whoever else's a name may be, one that begins so is of ours
SUFFIXES = {
    "counter": ("_total",),
    "histogram": ("_bucket", "_sum", "_count"),
    "summary": ("_sum", "_count"),
}


class Absent(NamedTuple):
    """Why a name on /metrics reads nothing."""

    message: str
    fix: str


class Exported(NamedTuple):
    """A metric as one release has it."""

    name: str  # without the suffixes of its series
    kind: str  # counter, gauge, histogram or summary
    labels: frozenset[str] | None  # None: they are made up as it runs
    buckets: tuple[float, ...]  # upper bounds; none where they depend on the model
    condition: str  # hidden or v0, where only a few have it
    when: str  # what an engine must be asked for to have it; empty for every engine's
    deprecated: bool

    @property
    def series(self) -> tuple[str, ...]:
        """Its names as a query spells them."""
        return tuple(self.name + suffix for suffix in SUFFIXES.get(self.kind, ("",)))

    def suffix(self, series: str) -> str:
        """`_bucket` of `…_bucket`."""
        return series.removeprefix(self.name)


def _beside() -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = assets.table("deploy", "engines", "metrics-beside.yaml")
    return groups


@cache
def _metrics() -> dict[str, list[list[Any]]]:
    """Every metric's periods; what is not vLLM's is the same in every release."""
    metrics: dict[str, list[list[Any]]] = dict(document("metrics")["metrics"])
    for group in ("http", "process", "door", "loadtest", "release", "tune"):
        metrics |= {name: [["0", entry]] for name, entry in _beside()[group].items()}
    return metrics


def _exported(name: str, entry: dict[str, Any]) -> Exported:
    labels = entry.get("l", ())
    return Exported(
        name,
        str(entry["t"]),
        None if "*" in labels else frozenset(labels),
        tuple(float(bound) for bound in entry.get("b", ())),
        str(entry.get("if", "")),
        str(entry.get("when", "")),
        bool(entry.get("old")),
    )


@cache
def of(version: str) -> dict[str, Exported]:
    """Every metric of a release by its name, hidden ones too."""
    found = ((name, in_force(periods, version)) for name, periods in _metrics().items())
    return {name: _exported(name, entry) for name, entry in found if entry is not None}


@cache
def samples(version: str) -> dict[str, Exported]:
    """Every series name of `version`, as a query spells it. Hidden ones are out.

    `_created`, when counting began, is what prometheus-client adds to all but gauges.
    """
    return {
        series: metric
        for metric in of(version).values()
        if not metric.condition
        for series in (*metric.series, *((f"{metric.name}_created",) * (metric.kind != "gauge")))
    }


def around() -> dict[str, frozenset[str]]:
    """The labels of series that exporters of machines give, by their whole names."""
    return {name: frozenset(entry["l"]) for name, entry in _beside()["around"].items()}


def problem(series: str, version: str) -> Absent | None:
    """Says why a query for `series` reads nothing from `version`; None when it reads."""
    if series in samples(version):
        return None
    if series.startswith("deployctl_"):
        return Absent(f"deployctl exports no {series}", _near(series, version))
    name, periods = _metric(series)
    if periods is None:
        return _never(series, version)
    metric = of(version).get(name)
    if metric is not None and not metric.condition:
        right = " or ".join(metric.series)
        return Absent(f"{series} never has a sample: it is a {metric.kind}", f"write {right}")
    instead = _instead(name, version, series) or _near(series, version)
    if metric is not None:
        why = (
            "by its old V0 engine only"
            if metric.condition == "v0"
            else "only under --show-hidden-metrics-for-version"
        )
        return Absent(f"vLLM {version} exports {series} {why}", instead)
    if not at_least(version, periods[0][0]):
        return Absent(f"vLLM {version} exports no {series}; it came with {periods[0][0]}", instead)
    gone = [p[0] for p in periods if len(p) == 1][-1]
    return Absent(f"vLLM {version} exports no {series} any more; it was removed in {gone}", instead)


def metric_of(series: str, version: str) -> Exported | None:
    """The metric that a series is of, hidden or not; the suffix may be missing or a wrong one."""
    return of(version).get(_metric(series)[0])


@cache
def _older() -> dict[str, list[str]]:
    """The names that a name replaced."""
    found: dict[str, list[str]] = {}
    for other, periods in _metrics().items():
        for name in {period[1].get("by") for period in periods if len(period) > 1}:
            found.setdefault(name, []).append(other)
    return found


def named(name: str, version: str) -> Exported | None:
    """The metric that a release has under a name, or under an older one that the name replaced."""
    found = (of(version).get(each) for each in (name, *_older().get(name, ())))
    return next((metric for metric in found if metric and not metric.condition), None)


def successor(series: str, version: str) -> str | None:
    """What to do about a series of a metric that a release is going to drop: `write …`."""
    return _instead(_metric(series)[0], version, series)


def help_of(name: str, version: str) -> str:
    """What a release's page says of a metric; empty where it is not known."""
    own = in_force(document("metrics")["help"].get(name, ()), version)
    beside = next((g[name].get("h") for g in _beside().values() if name in g), None)
    return str(own or beside or "")


def oldest() -> str:
    """The oldest release whose metrics are known."""
    return str(document("metrics")["versions"][0])


def newest() -> str:
    """The newest release whose metrics are known."""
    return str(document("metrics")["versions"][-1])


def versions() -> list[str]:
    """Every release whose metrics are known, oldest first."""
    return list(document("metrics")["versions"])


def of_others(series: str) -> str | None:
    """Who else exports a series whose name begins as the engine's do; None: nobody that we know."""
    metrics = ((who, _beside()["others"][who]["metrics"]) for who in _beside()["others"])
    return next((who for who, names in metrics if _stem(series) in names), None)


def _stem(series: str) -> str:
    for suffix in ("_total", "_bucket", "_sum", "_count"):
        series = series.removesuffix(suffix)
    return series


@cache
def known() -> tuple[str, ...]:
    """The series of all releases, hidden or not, and those that were dropped before them."""
    names = (
        series
        for name, periods in _metrics().items()
        for period in periods
        if len(period) > 1
        for series in _exported(name, period[1]).series
    )
    return tuple(dict.fromkeys([*names, *_beside()["gone"]]))


@cache
def ever(series: str) -> bool:
    """Whether any known release exports the series, hidden or not."""
    return series in known() and "in" not in _beside()["gone"].get(series, {})


def _never(series: str, version: str) -> Absent:
    """A name that no known release has: older than all of them, or misspelt."""
    old = _beside()["gone"].get(series, {})
    if "in" in old:
        message = f"vLLM {version} exports no {series} any more; it was removed in {old['in']}"
        return Absent(message, _write(old))
    return Absent(f"vLLM {version} exports no {series}", _near(series, version))


def _instead(name: str, version: str, series: str) -> str | None:
    """What to write for a series of a dropped, hidden or deprecated metric, or of one to come."""
    old = _beside()["gone"].get(name)
    if old is not None:
        return _write(old)
    later = [p[1]["by"] for p in _metrics().get(name, ()) if len(p) > 1 and "by" in p[1]]
    for other in (*later, name):
        metric = named(other, version)
        if metric is not None:
            same = metric.name + series.removeprefix(name)
            return f"write {same if same in metric.series else metric.series[0]}"
    return None


def _write(gone: dict[str, str]) -> str:
    return f"write {gone['write']}" if "write" in gone else "leave the query out: " + gone["why"]


def _metric(series: str) -> tuple[str, list[list[Any]] | None]:
    """The metric that a series, or a name that looks like one, belongs to."""
    endings = (s for group in SUFFIXES.values() for s in group)
    for name in (series, *(series.removesuffix(s) for s in endings)):
        if name in _metrics():
            return name, _metrics()[name]
    return series, None


def _near(series: str, version: str) -> str:
    near = difflib.get_close_matches(series, samples(version), n=1, cutoff=0.6)
    return f"write {near[0]}" if near else "read the names from the engine's /metrics"
