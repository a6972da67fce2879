"""What queries do with an engine's metrics: counters, quantiles, shares that are no percent."""

from collections.abc import Iterator

from deployctl.checking.documents import Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.queries import SeriesRead, series_read, versions
from deployctl.checking.values import dig, text
from deployctl.engines.vllm import exported
from deployctl.engines.vllm.exported import Exported
from deployctl.promql import Aggregation, Arithmetic, Expression, FunctionCall, Literal

RAW = rule("counter-without-rate")
GAUGE = rule("rate-of-gauge")
QUANTILE = rule("quantile-without-le")
PERCENT = rule("ratio-as-percent")
_RATES = frozenset({"rate", "irate", "increase"})
# What a counter's value since the engine's start is enough for.
_ENOUGH = _RATES | {
    *("delta", "idelta", "deriv", "resets", "changes", "timestamp", "absent", "absent_over_time"),
    *("present_over_time", "count_over_time", "count", "group", "label_values"),
}
_KEEP_LABELS = frozenset({"topk", "bottomk", "limitk", "limit_ratio"})
# What leaves a share one: 1 at the most.
_KEEP_SHARES = _KEEP_LABELS | {
    *("avg", "max", "min", "quantile", "avg_over_time", "max_over_time", "min_over_time"),
    *("quantile_over_time", "last_over_time", "label_replace", "label_join", "sort", "sort_desc"),
    *("clamp", "clamp_min", "clamp_max", "round", "query_result"),
}
_COMPARISONS = frozenset({"==", "!=", ">", "<", ">=", "<="})


@check
def uses(manifests: Manifests) -> Iterator[Finding]:
    """Every series that a query reads, by what its metric is."""
    for read in series_read(manifests):
        version = next(reversed(versions(manifests, read.query.use)), exported.newest())
        metric = exported.samples(version).get(read.selector.name)
        if metric is not None:
            yield from _counted(read, metric)
            yield from _quantiles(read, metric)
            yield from _shares(read, metric)


def _counted(read: SeriesRead, metric: Exported) -> Iterator[Finding]:
    series, place = read.selector.name, read.place
    functions = [p.name for p in read.around if isinstance(p, FunctionCall | Aggregation)]
    if metric.kind == "gauge":
        if functions and functions[-1] in _RATES:
            yield GAUGE.at(
                place,
                f"{functions[-1]}() of {series}, which is a gauge",
                f"write avg_over_time({series}[…]), or deriv() for how it changes",
            )
    elif (
        not _ENOUGH.intersection(functions)
        and not series.endswith("_created")
        and read.query.use != "variable"
    ):
        yield RAW.at(
            place,
            f"{series} counts from the engine's start, and from 0 again after a restart",
            f"write rate({series}[5m])",
        )


def _quantiles(read: SeriesRead, metric: Exported) -> Iterator[Finding]:
    """`histogram_quantile`, which needs buckets, and each of them by its bound."""
    series, place = read.selector.name, read.place
    names = [p.name if isinstance(p, FunctionCall) else "" for p in read.around]
    if "histogram_quantile" not in names:
        return
    at = names.index("histogram_quantile")
    if not series.endswith("_bucket"):
        yield QUANTILE.at(place, f"histogram_quantile() of {series}", f"write {metric.name}_bucket")
        return
    for part in read.around[at + 1 :]:
        if not isinstance(part, Aggregation) or part.name in _KEEP_LABELS:
            continue
        if ("le" in part.labels) == part.without:
            yield QUANTILE.at(
                place,
                f"{part.name} under histogram_quantile() does not keep le",
                f"write {part.name} by (le)",
            )
            return
    call = read.around[at]
    share = _literal(call.arguments[0]) if isinstance(call, FunctionCall) else None
    if share is not None and share > 1:
        yield QUANTILE.at(place, f"the quantile is {share:g}", f"write {share / 100:g}")


def _shares(read: SeriesRead, metric: Exported) -> Iterator[Finding]:
    """Gauges whose 1 means 100 percent, compared with a percentage or shown as one."""
    if metric.kind != "gauge" or not metric.name.endswith("_perc"):
        return
    series, place, most = read.selector.name, read.place, 1
    for part in reversed(read.around):
        if isinstance(part, Aggregation | FunctionCall):
            if part.name not in _KEEP_SHARES:
                return
        elif isinstance(part, Arithmetic) and part.operator in _COMPARISONS:
            limits = [_literal(side) for side in (part.left, part.right) if side is not None]
            limit = next((x for x in limits if x is not None), None)
            if most == 1 and limit is not None and limit > 1:
                yield PERCENT.at(
                    place,
                    f"{series} is 1 at the most, and is compared with {limit:g}",
                    f"write {limit / 100:g}",
                )
            if part.matching.startswith("bool"):
                return
        elif isinstance(part, Arithmetic) and part.operator not in ("and", "or", "unless"):
            if part.operator != "*" or not _hundred(part) or most == 100:
                return
            most = 100
    wrong = {"percent": 1, "percentunit": 100}
    unit = _unit(place)
    if wrong.get(unit) == most:
        is_it, right = ("percent (0-100)", "percentunit") if most == 1 else ("a share", "percent")
        yield PERCENT.at(
            place, f"{series} is {most} here at the most, and the panel's unit is {is_it}",
            f"write unit: {right}",
        )  # fmt: skip


def _hundred(part: Arithmetic) -> bool:
    return any(_literal(side) == 100 for side in (part.left, part.right) if side is not None)


def _literal(part: Expression) -> float | None:
    """A number that stands in a query."""
    if not isinstance(part, Literal):
        return None
    try:
        return float(part.text)
    except ValueError:
        return None


def _unit(place: Place) -> str:
    """The unit of the panel that a query is of."""
    for end in range(len(place.path) - 1, 0, -1):
        panel = dig(place.document.data, *place.path[:end])
        unit = text(dig(panel, "fieldConfig", "defaults", "unit"))
        if unit:
            return unit
    return ""
