"""Monitors, and queries that read what the engine exports."""

import re
from collections.abc import Iterator

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests, matches, named_ports, same_namespace
from deployctl.checking.pods import Pod
from deployctl.checking.values import items, mapping, mappings, strings, text
from deployctl.engines.vllm import exported
from deployctl.engines.vllm.versions import at_least

NOTHING = rule("monitor-selects-nothing")
PORT = rule("monitor-port")
TOKEN = rule("monitor-unauthorized")
UNKNOWN = rule("metric-unknown")
LABEL = rule("metric-label")
_SERIES = re.compile(r"vllm:[a-zA-Z0-9_:]+")
_SELECTOR = re.compile(r"(vllm:[a-zA-Z0-9_]+)\s*\{([^{}]{0,2000})\}")
_MATCHER = re.compile(r'([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*"([^"]{0,500})"')
_NOT_LABELS = {"model", "model_id", "modelname", "served_model_name", "deployment"}
_METRICS = "/metrics"
_CREDENTIALS = {"authorization", "basicAuth", "bearerTokenSecret", "bearerTokenFile", "oauth2"}
_MAX_QUERY = 10_000


@check
def monitors(manifests: Manifests) -> Iterator[Finding]:
    """PodMonitors and ServiceMonitors against the pods and Services here."""
    if not manifests.pods:
        return
    for document in manifests.of_kind("PodMonitor"):
        pods = [
            pod
            for pod in manifests.selected(document.spec.get("selector"), "")
            if _looks_at(document, pod.namespace)
        ]
        if not pods:
            yield _selects_nothing(document, "pods")
            continue
        names = set(named_ports(c.place for pod in pods for c in pod.containers))
        yield from _ports(document, "podMetricsEndpoints", names, "the pods")
        yield from _unauthorized(document, "podMetricsEndpoints", pods)
    for document in manifests.of_kind("ServiceMonitor"):
        services = [
            service
            for service in manifests.of_kind("Service")
            if matches(document.spec.get("selector"), mapping(service.metadata.get("labels")))
            and _looks_at(document, service.namespace)
        ]
        if not services:
            yield _selects_nothing(document, "Services")
            continue
        names = {
            text(port.get("name"))
            for service in services
            for _, port in mappings(service.spec.get("ports"))
        }
        yield from _ports(document, "endpoints", names, "the Services")
        behind = [pod for s in services for pod in manifests.behind(s.name, s.namespace)]
        yield from _unauthorized(document, "endpoints", behind)


@check
def annotated(manifests: Manifests) -> Iterator[Finding]:
    """Pods behind a door whose annotations ask a Prometheus without a token to scrape them."""
    for pod in manifests.serving_pods:
        annotations = mapping(pod.metadata.get("annotations"))
        if text(annotations.get("prometheus.io/scrape")) == "true" and _behind_a_door([pod]):
            yield TOKEN.at(
                pod.template.child("metadata", "annotations", "prometheus.io/scrape"),
                "the door refuses a scrape without the operator's token",
                "scrape with a PodMonitor that has authorization",
            )


def _behind_a_door(pods: list[Pod]) -> bool:
    return any(engine.doored for pod in pods for engine in pod.engines)


def _unauthorized(document: Document, key: str, pods: list[Pod]) -> Iterator[Finding]:
    """Endpoints behind a door that are asked without a credential."""
    if not _behind_a_door(pods):
        return
    for place, endpoint in document.place("spec").mappings(key):
        if text(endpoint.get("path") or _METRICS) != _METRICS or _CREDENTIALS & endpoint.keys():
            continue
        yield TOKEN.at(
            place,
            "the door before the engine refuses a scrape without the operator's token",
            "write authorization: {credentials: {name: the Secret, key: operator_token}}",
        )


def _looks_at(document: Document, namespace: str) -> bool:
    wanted = mapping(document.spec.get("namespaceSelector"))
    if wanted.get("any") is True:
        return True
    named = items(wanted.get("matchNames"))
    if named:
        return not namespace or namespace in named
    return same_namespace(document.namespace, namespace)


def _selects_nothing(document: Document, what: str) -> Finding:
    return NOTHING.at(
        document.place("spec", "selector"),
        f"finds none of the {what} here",
        f"use labels that the {what} carry in metadata.labels",
    )


def _ports(document: Document, key: str, names: set[str], where: str) -> Iterator[Finding]:
    for place, endpoint in document.place("spec").mappings(key):
        port = endpoint.get("port")
        if port is None and "targetPort" not in endpoint and "portNumber" not in endpoint:
            yield PORT.at(place, "no port is named", "write port: and the port's name")
        elif isinstance(port, str) and port not in names:
            listed = ", ".join(sorted(n for n in names if n)) or "none: name the port first"
            yield PORT.at(
                place.child("port"), f"{where} have no port named {port[:60]}", f"use {listed}"
            )
        elif isinstance(port, int):
            yield PORT.at(
                place.child("port"), "a port is named here, not numbered", "write the port's name"
            )


def _queries(manifests: Manifests) -> Iterator[tuple[Place, str]]:
    """Every query of autoscalers, rules and adapters, with its place."""
    for document in manifests.of_kind("ScaledObject", "ScaledJob"):
        for trigger, _ in document.place("spec").mappings("triggers"):
            place = trigger.child("metadata", "query")
            if text(place.value):
                yield place, place.value
    for document in manifests.of_kind("PrometheusRule"):
        for path, value in strings(document.spec, ("spec",)):
            if path[-1] == "expr":
                yield document.place(*path), value
    for document in manifests.of_kind("HorizontalPodAutoscaler"):
        for metric, _ in document.place("spec").mappings("metrics"):
            for kind in ("pods", "object", "external"):
                place = metric.child(kind, "metric", "name")
                name = text(place.value)
                if name.startswith(("vllm:", "vllm_")):
                    yield place, "vllm:" + name[5:]


@check
def metrics(manifests: Manifests) -> Iterator[Finding]:
    """Names and labels that queries use, against what the engines here export."""
    recorded = {
        text(rule.get("record"))
        for document in manifests.of_kind("PrometheusRule")
        for _, group in mappings(document.spec.get("groups"))
        for _, rule in mappings(group.get("rules"))
    }
    served = {name for engine in manifests.engines for name in engine.served_names}
    sure = bool(manifests.engines) and all(engine.served_names for engine in manifests.engines)
    for place, query in _queries(manifests):
        query = query[:_MAX_QUERY]
        for series in dict.fromkeys(_SERIES.findall(query)):
            if series in recorded or series.count(":") > 1:
                continue
            yield from _exported(place, series, manifests.versions)
        for series, inside in _SELECTOR.findall(query):
            yield from _labels(place, series, inside, served if sure else set())


def _exported(place: Place, series: str, versions: list[str]) -> Iterator[Finding]:
    if not versions and not exported.ever(series):
        problem = exported.problem(series, exported.newest())
        fix = problem.fix if problem else ""
        yield UNKNOWN.at(place, f"no release of vLLM exports {series[:80]}", fix)
    for version in versions:
        if not at_least(version, exported.oldest()):
            continue
        problem = exported.problem(series, version)
        if problem is not None:
            if "adapter" in place.text or place.document.kind == "HorizontalPodAutoscaler":
                base = series.removesuffix("_total")
                if exported.problem(f"{base}_total", version) is None:
                    continue  # adapters name metrics in ways of their own
            yield UNKNOWN.at(place, problem.message, problem.fix)
            return


def _labels(place: Place, series: str, inside: str, served: set[str]) -> Iterator[Finding]:
    for label, operator, value in _MATCHER.findall(inside):
        if label in _NOT_LABELS:
            yield LABEL.at(
                place,
                f"{series} has no label {label}",
                "write model_name, and the name that --served-model-name gives",
            )
        elif label == "model_name" and operator == "=" and served and value not in served:
            yield LABEL.at(
                place,
                f"no engine here serves {value[:80]}",
                f"write one of: {', '.join(sorted(served)[:5])}",
            )
