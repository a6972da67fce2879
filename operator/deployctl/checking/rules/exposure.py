"""Who can reach the engine, and whether an answer that streams for minutes gets through."""

from collections.abc import Iterator

from deployctl.checking.documents import Document
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests, matches, same_namespace
from deployctl.checking.pods import Pod
from deployctl.checking.values import dig, mapping, mappings, seconds, text

OPEN = rule("exposed-without-key")
POLICY = rule("network-policy-missing")
TIMEOUT = rule("ingress-timeout")
LEAST_TIMEOUT_S = 300.0
_NGINX = "nginx.ingress.kubernetes.io/"


def _routed(manifests: Manifests) -> Iterator[tuple[Document, str]]:
    """Ingresses and routes, with the Services they send to."""
    for document in manifests.of_kind("Ingress"):
        backends = [dig(document.spec, "defaultBackend", "service", "name")]
        for _, routes in mappings(document.spec.get("rules")):
            for _, path in mappings(dig(routes, "http", "paths")):
                backends.append(dig(path, "backend", "service", "name"))
        for name in backends:
            if isinstance(name, str):
                yield document, name
    for document in manifests.of_kind("HTTPRoute"):
        for _, routes in mappings(document.spec.get("rules")):
            for _, backend in mappings(routes.get("backendRefs")):
                if text(backend.get("kind") or "Service") == "Service":
                    yield document, text(backend.get("name"))


@check
def keys(manifests: Manifests) -> Iterator[Finding]:
    """Engines that are reached from outside without an API key."""
    ways = [
        (service, service.name, service.place("spec", "type"))
        for service in manifests.of_kind("Service")
        if service.spec.get("type") in ("LoadBalancer", "NodePort")
    ]
    ways += [(document, name, document.place("spec")) for document, name in _routed(manifests)]
    for document, name, place in ways:
        for pod in manifests.behind(name, document.namespace):
            if any(engine.keyed is False for engine in pod.engines):
                yield OPEN.at(
                    place,
                    f"{document.title} leads to {pod.document.title}, which asks for no API key",
                    "set VLLM_API_KEY from a Secret, or put a gateway with keys before it",
                )


@check
def policies(manifests: Manifests) -> Iterator[Finding]:
    """Engine pods that no NetworkPolicy selects."""
    for pod in manifests.serving_pods:
        if not any(
            same_namespace(policy.namespace, pod.namespace)
            and matches(policy.spec.get("podSelector"), pod.labels)
            for policy in manifests.of_kind("NetworkPolicy")
        ):
            yield POLICY.at(
                pod.place,
                "no NetworkPolicy here selects these pods",
                "allow the gateway to the engine's port and Prometheus to /metrics, and no others",
            )


@check
def streaming(manifests: Manifests) -> Iterator[Finding]:
    """Proxies' time-outs in front of engines and their routers."""
    seen: set[int] = set()
    for document, name in _routed(manifests):
        if id(document) in seen or not _serves(manifests.behind(name, document.namespace)):
            continue
        seen.add(id(document))
        yield from _nginx(document) if document.kind == "Ingress" else _route(document)


def _serves(pods: list[Pod]) -> bool:
    """Whether there is an engine among pods, or something with vLLM in its image."""
    return any(
        pod.engines or any("vllm" in text(c.data.get("image")) for c in pod.containers)
        for pod in pods
    )


def _nginx(document: Document) -> Iterator[Finding]:
    place = document.place("metadata", "annotations")
    annotations = mapping(place.value)
    ingress_class = text(document.spec.get("ingressClassName")) or text(
        annotations.get("kubernetes.io/ingress.class")
    )
    if "nginx" not in ingress_class and not any(k.startswith(_NGINX) for k in annotations):
        return
    for key in ("proxy-read-timeout", "proxy-send-timeout"):
        given = text(annotations.get(_NGINX + key)).rstrip("s")
        value = float(given) if given.isdecimal() and len(given) < 9 else 60.0
        if value < LEAST_TIMEOUT_S:
            yield TIMEOUT.at(
                place.child(_NGINX + key),
                f"nginx waits {value:.0f} s ({key})",
                f'write {_NGINX}{key}: "3600"',
            )
    if annotations.get(_NGINX + "proxy-buffering") == "on":
        yield TIMEOUT.at(
            place.child(_NGINX + "proxy-buffering"),
            "nginx collects the answer before it passes it on",
            'write "off"',
        )


def _route(document: Document) -> Iterator[Finding]:
    for routes, _ in document.place("spec").mappings("rules"):
        for key in ("request", "backendRequest"):
            place = routes.child("timeouts", key)
            timeout = seconds(place.value)
            if timeout is not None and 0 < timeout < LEAST_TIMEOUT_S:
                yield TIMEOUT.at(
                    place,
                    f"the gateway ends the whole answer after {place.value}",
                    "write 0s, which means none, or 3600s",
                )
