"""Names and labels that queries use, against what the engines here, and the door, export."""

import difflib
import re
from collections.abc import Iterator
from dataclasses import replace

from deployctl.checking.documents import Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.queries import SeriesRead, series_read, unread, versions
from deployctl.checking.values import text
from deployctl.engines.vllm import exported
from deployctl.engines.vllm.exported import Exported
from deployctl.promql import (
    MAX_QUERY,
    Aggregation,
    Arithmetic,
    Expression,
    FunctionCall,
    LabelMatcher,
)

UNKNOWN = rule("metric-unknown")
UNREAD = rule("query-unread")
LABEL = rule("metric-label")
BOUND = rule("bucket-bound")
DEPRECATED = rule("metric-deprecated")
SOMETIMES = rule("metric-conditional")
_NOT_LABELS = {"model", "model_id", "modelname", "served_model_name", "deployment"}
# Labels that the engine alone gives: a metric that has not got them reads nothing by them. Others,
# such as `reason`, may be a scrape's own.
_ENGINES_OWN = {
    *("model_name", "engine", "finished_reason", "position", "sleep_state", "transfer_type"),
    *("request_type", "max_lora", "running_lora_adapters", "waiting_lora_adapters"),
}
_ALIKE = 0.85
_SERIES = re.compile(r"(?:vllm:|deployctl_)[a-zA-Z0-9_:]+")
_SAID = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*')  # texts and comments: no series


@check
def readable(manifests: Manifests) -> Iterator[Finding]:
    """Queries that are no PromQL."""
    for query, why in unread(manifests):
        yield UNREAD.at(query.place, f"not read: {why}", "correct the query; promtool says more")


@check
def names(manifests: Manifests) -> Iterator[Finding]:
    """Names of series, of metrics that adapters give, and what is to be known of either."""
    for read in series_read(manifests):
        releases = versions(manifests, read.query.use)
        yield from _named(read.place, read.selector.name, releases)
    for query, _ in unread(manifests):
        for series in dict.fromkeys(_SERIES.findall(_SAID.sub("", query.text[:MAX_QUERY]))):
            if series.count(":") < 2:
                yield from _named(
                    replace(query.place, word=series), series, versions(manifests, query.use)
                )
    releases = versions(manifests, "scale")
    for document in manifests.of_kind("HorizontalPodAutoscaler"):
        for metric, _ in document.place("spec").mappings("metrics"):
            for kind in ("pods", "object", "external"):
                place = metric.child(kind, "metric", "name")
                name = text(place.value)
                if name.startswith(("vllm:", "vllm_")):
                    # Adapters name metrics in ways of their own: with or without the _total.
                    series = f"vllm:{name[5:]}"
                    total = f"{series.removesuffix('_total')}_total"
                    if any(exported.problem(total, v) for v in releases) or not releases:
                        yield from _named(place, series, releases)


def _named(place: Place, series: str, releases: list[str]) -> Iterator[Finding]:
    if exported.of_others(series):
        return
    if not releases and not exported.ever(series):
        problem = exported.problem(series, exported.newest())
        fix = problem.fix if problem else ""
        yield UNKNOWN.at(place, f"no release of vLLM exports {series[:80]}", fix)
    for version in releases:
        problem = exported.problem(series, version)
        if problem is not None:
            yield UNKNOWN.at(place, problem.message, problem.fix)
            return
        metric = exported.metric_of(series, version)
        if metric is not None and metric.deprecated:
            instead = exported.successor(series, version)
            yield DEPRECATED.at(
                place,
                f"vLLM {version} calls {series} deprecated, and a later release has it no more",
                instead or "read what its text on /metrics says",
            )
        if metric is not None and metric.when:
            yield SOMETIMES.at(
                place,
                f"vLLM {version} exports {series} with {metric.when} only",
                "nothing, where the engine has it; else leave the query out",
            )


@check
def labels(manifests: Manifests) -> Iterator[Finding]:
    """Labels that select and group, and the names of models and bounds of buckets they select."""
    served = {name for engine in manifests.engines for name in engine.served_names}
    sure = bool(manifests.engines) and all(engine.served_names for engine in manifests.engines)
    for read in series_read(manifests):
        version = next(reversed(versions(manifests, read.query.use)), exported.newest())
        series, place = read.selector.name, read.place
        metric = exported.metric_of(series, version)
        if exported.of_others(series):
            continue
        for matcher in read.selector.matchers:
            wrong = _wrong(matcher.label, series, metric)
            if wrong:
                yield LABEL.at(place, f"{series} has no label {matcher.label[:80]}", wrong)
            elif matcher.label == "model_name" and matcher.operator == "=" and sure:
                yield from _served(place, matcher.value, served)
            elif matcher.label == "le" and metric is not None:
                yield from _bounded(place, series, matcher, metric)
        for label in _grouped_by(read):
            wrong = _wrong(label, series, metric)
            if wrong:
                yield LABEL.at(place, f"is grouped by {label[:80]}, which {series} has not", wrong)


def _wrong(label: str, series: str, metric: Exported | None) -> str | None:
    """What to write instead of a label that a series surely has not."""
    if metric is not None and metric.labels is not None and label in metric.labels:
        return None
    if label in _NOT_LABELS and series.startswith("vllm:"):
        return "write model_name, and the name that --served-model-name gives"
    if metric is None or metric.labels is None:
        return None
    if label == "le":
        bucket = metric.kind == "histogram" and metric.suffix(series) == "_bucket"
        return None if bucket else "only the _bucket series of a histogram has le"
    near = difflib.get_close_matches(label, metric.labels, n=1, cutoff=_ALIKE)
    if near:
        return f"write {near[0]}"
    if label in _ENGINES_OWN:
        has = ", ".join(sorted(metric.labels)) or "none of its own"
        return f"its labels are: {has}; a scrape adds job, instance, pod and the like"
    return None


def _served(place: Place, value: str, served: set[str]) -> Iterator[Finding]:
    if value not in served and "$" not in value:
        yield LABEL.at(
            place,
            f"no engine here serves {value[:80]}",
            f"write one of: {', '.join(sorted(served)[:5])}",
        )


def _bounded(
    place: Place, series: str, matcher: LabelMatcher, metric: Exported
) -> Iterator[Finding]:
    """A bucket that there is, written as the engine writes it: 1.0, not 1."""
    bounds = [_go(bound) for bound in metric.buckets]
    value = matcher.value
    if matcher.operator != "=" or not bounds or value in (*bounds, "+Inf") or "$" in value:
        return
    near = [b for b in bounds if float(b) >= _number(value)][:1] or bounds[-1:]
    yield BOUND.at(place, f'{series} has no bucket le="{value[:40]}"', f'write le="{near[0]}"')


def _go(bound: float) -> str:
    """A bound as prometheus-client writes it."""
    return repr(float(bound))


def _number(value: str) -> float:
    try:
        return float(value)
    except ValueError:
        return float("inf")


def _grouped_by(read: SeriesRead) -> Iterator[str]:
    """Labels by which what is around a series groups it, as long as these are the series' own."""
    for part in reversed(read.around):
        if _relabels(part):
            return
        if isinstance(part, Aggregation) and not part.without:
            yield from (label for label in part.labels if label != "le" and "$" not in label)
            if part.name not in ("topk", "bottomk", "limitk", "limit_ratio"):
                return


def _relabels(part: Expression) -> bool:
    """Whether a part gives what is in it labels from elsewhere."""
    if isinstance(part, FunctionCall):
        return part.name in ("label_replace", "label_join", "info")
    return isinstance(part, Arithmetic) and bool(part.labels)
