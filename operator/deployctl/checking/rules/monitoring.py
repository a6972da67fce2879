"""PodMonitors and ServiceMonitors: that they find what they scrape, and may."""

from collections.abc import Iterator

from deployctl.checking.documents import Document
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests, matches, named_ports, same_namespace
from deployctl.checking.pods import Pod
from deployctl.checking.values import items, mapping, mappings, text

NOTHING = rule("monitor-selects-nothing")
PORT = rule("monitor-port")
TOKEN = rule("monitor-unauthorized")
_METRICS = "/metrics"
_CREDENTIALS = {"authorization", "basicAuth", "bearerTokenSecret", "bearerTokenFile", "oauth2"}


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
