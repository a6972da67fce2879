"""Every query in what is checked, of autoscalers, rules and dashboards, and what it reads."""

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import islice, product
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
_NO_QUERY = re.compile(r"\s*(metrics|label_names)\(")  # of these: what is in brackets is a pattern
_OTHERS = re.compile(r"loki|tempo|elastic|influx|graphite|cloudwatch", re.IGNORECASE)
_CHOICES = re.compile(r"\(\?:|\(|\)|\|")
_MOST_NAMES = 200  # that one pattern of names may stand for


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

    @property
    def place(self) -> Place:
        """Where its name stands."""
        return replace(self.query.place, word=self.selector.name)


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
            if not isinstance(part, Selector):
                continue
            for name in [part.name] if part.name else _named(part, versions(manifests, query.use)):
                named = replace(part, name=name)
                if named.variable or name in recorded or not name.startswith(exported.OWN):
                    continue
                if name.count(":") < 2:
                    yield SeriesRead(query, named, around)


def _named(selector: Selector, releases: list[str]) -> Iterator[str]:
    """The names that `{__name__=~"…"}` stands for: those it spells out; those that we know where
    it says `.*`, of which dead ones count only if no other is alive."""
    patterns = (m.value for m in selector.matchers if (m.label, m.operator) == ("__name__", "=~"))
    for choice in islice(_choices(next(patterns, "")), _MOST_NAMES):
        wild = re.split(r"\.[*+]", choice)
        if not all(re.fullmatch(r"[\w:]*", literal) for literal in wild) or len(wild) > 4:
            continue
        if len(wild) == 1:
            yield choice
            continue
        known = [name for name in exported.known() if re.fullmatch(choice, name)]
        alive = [n for n in known if all(exported.problem(n, v) is None for v in releases)]
        yield from alive or known[:1]


def _choices(pattern: str, depth: int = 0) -> Iterator[str]:
    """`a(b|c)` as `ab` and `ac`; nothing of brackets that are not balanced."""
    level, start, inside = 0, 0, 0
    whole: list[list[list[str]]] = [[]]  # a choice is parts, a part one of several texts
    for found in _CHOICES.finditer(pattern):
        if found[0].startswith("("):
            if level == 0:
                whole[-1].append([pattern[start : found.start()]])
                inside = found.end()
            level += 1
        elif found[0] == ")":
            level -= 1
            if level < 0 or depth > 5:
                return
            if level == 0:
                within = _choices(pattern[inside : found.start()], depth + 1)
                whole[-1].append(list(islice(within, _MOST_NAMES)))
                start = found.end()
        elif level == 0:
            whole[-1].append([pattern[start : found.start()]])
            whole.append([])
            start = found.end()
    whole[-1].append([pattern[start:]])
    if level == 0:
        for choice in whole:
            yield from map("".join, product(*choice))


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
            if isinstance(source, str):  # as Grafana 8 and before had it: by its name
                return not _OTHERS.search(source)
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
            if text(variable.get("type")) != "query" or _NO_QUERY.match(text(found)):
                continue
            if text(found).strip():
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
