"""Every query in what is checked, of autoscalers, rules and dashboards, and what it reads."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Literal, NamedTuple

from deployctl.checking.documents import Document, Place
from deployctl.checking.manifests import Manifests
from deployctl.checking.values import Path, dig, mapping, strings, text
from deployctl.engines.vllm import exported
from deployctl.engines.vllm.versions import at_least
from deployctl.promql import Expression, FunctionCall, Selector, parse, walk

RULES = ("PrometheusRule", "VMRule")
# Functions of a dashboard's variables, around a query: label_values(query, label).
_VARIABLE_FUNCTIONS = ("label_values", "query_result")


class Query(NamedTuple):
    """One query, and what it is for."""

    place: Place
    text: str
    use: Literal["panel", "rule", "scale", "variable"]


class SeriesRead(NamedTuple):
    """A series that a query reads, and the parts of the query around it, the outermost first."""

    query: Query
    selector: Selector
    around: tuple[Expression, ...]


@lru_cache(maxsize=1)  # the rules of one check ask one after the other
def queries(manifests: Manifests) -> tuple[Query, ...]:
    """Every query, with its place."""
    return tuple(_queries(manifests))


def _queries(manifests: Manifests) -> Iterator[Query]:
    for document in manifests.of_kind("ScaledObject", "ScaledJob"):
        for trigger, _ in document.place("spec").mappings("triggers"):
            place = trigger.child("metadata", "query")
            if text(place.value):
                yield Query(place, place.value, "scale")
    for document in manifests.documents:
        if document.family == "rules" or document.kind in RULES:
            for place, value in _expressions(document):
                yield Query(place, value, "rule")
        elif document.family == "dashboard":
            for place, value in _expressions(document):
                if _of_prometheus(document, place.path):
                    yield Query(place, value, "panel")
            yield from _variables(document)


def series_read(manifests: Manifests) -> Iterator[SeriesRead]:
    """Every series of ours that a query reads: of the engine or of the door, recorded ones out."""
    recorded = set(_recorded(manifests))
    for query in queries(manifests):
        parsed = _parsed(query.text)
        if isinstance(parsed, str):
            continue
        for part, around in walk(parsed):
            if not isinstance(part, Selector) or part.variable or part.name in recorded:
                continue
            if part.name.startswith(exported.OWN) and part.name.count(":") < 2:
                yield SeriesRead(query, part, around)


def unread(manifests: Manifests) -> Iterator[tuple[Query, str]]:
    """Queries that name metrics of ours and are no PromQL, each with the reason."""
    for query in queries(manifests):
        parsed = _parsed(query.text)
        if isinstance(parsed, str) and any(name in query.text for name in exported.OWN):
            yield query, parsed


def versions(manifests: Manifests, use: str) -> list[str]:
    """The releases whose metrics are read: of the engines here; else the one that is asked for,
    that of a service file here, or the newest. For an autoscaler, whose engine is one of these,
    none where its release is not known."""
    wanted = manifests.options.engine_version or next(filter(None, _specified(manifests)), None)
    found = manifests.versions or ([wanted.removeprefix("v")] if wanted else [])
    known = [version for version in found if at_least(version, exported.oldest())]
    if known or (use == "scale" and manifests.engines):
        return known
    return [exported.newest()]


def _specified(manifests: Manifests) -> Iterator[str]:
    services = (d for d in manifests.documents if d.family == "service")
    return (text(document.data.get("engine_version")) for document in services)


def _recorded(manifests: Manifests) -> Iterator[str]:
    """Names that a recording rule here gives."""
    for document in manifests.documents:
        if document.family == "rules" or document.kind in RULES:
            place = document.place() if document.family == "rules" else document.place("spec")
            for group, _ in place.mappings("groups"):
                yield from (text(rule.get("record")) for _, rule in group.mappings("rules"))


def _expressions(document: Document) -> Iterator[tuple[Place, str]]:
    for path, value in strings(document.data):
        if path[-1] == "expr" and value.strip():
            yield document.place(*path), value


def _of_prometheus(document: Document, path: Path) -> bool:
    """Whether the data source nearest to a query may be a Prometheus: one without a type may."""
    for end in range(len(path) - 1, -1, -1):
        source = mapping(dig(document.data, *path[:end])).get("datasource")
        if source is not None:
            kind = text(mapping(source).get("type"))
            return not kind or "prometheus" in kind or "metrics" in kind
    return True


def _variables(document: Document) -> Iterator[Query]:
    for list_at in (("templating", "list"), ("dashboard", "templating", "list")):
        for place, variable in document.place().mappings(*list_at):
            found = variable.get("query")
            at = place.child("query")
            if isinstance(found, dict):
                found, at = found.get("query"), at.child("query")
            if text(variable.get("type")) == "query" and text(found).strip():
                yield Query(at, text(found), "variable")


@lru_cache(maxsize=1024)
def _parsed(query: str) -> Expression | str:
    """The query taken apart, or why it cannot be."""
    try:
        found = parse(query)
    except ValueError as error:
        return str(error)
    if isinstance(found, FunctionCall) and found.name in _VARIABLE_FUNCTIONS and found.arguments:
        return found.arguments[0]
    return found
