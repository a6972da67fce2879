"""Who can reach the engine, and whether an answer that streams for minutes gets through."""

from collections.abc import Iterator
from typing import NamedTuple

from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import DeclaredEngine
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests, matches, same_namespace
from deployctl.checking.pods import Pod
from deployctl.checking.values import dig, items, mapping, mappings, seconds, text

OPEN = rule("exposed-without-key")
DOOR = rule("exposed-without-door")
POLICY = rule("network-policy-missing")
TIMEOUT = rule("ingress-timeout")
LEAST_TIMEOUT_S = 300.0
_NGINX = "nginx.ingress.kubernetes.io/"
_A_DOOR = "render it with deployctl, which puts a door before the engine"
# Of who asks before the engine does: nginx's own, and policies of gateways.
_AUTHENTICATES = tuple(f"{_NGINX}auth-{how}" for how in ("url", "type", "tls-secret"))
_POLICIES = ("SecurityPolicy", "AuthorizationPolicy", "AuthPolicy", "RequestAuthentication")


class _Way(NamedTuple):
    """A way from outside to a Service."""

    document: Document
    service: str
    api_alone: bool = False  # what is under /v1, which the engine's own key guards


def _routed(manifests: Manifests) -> Iterator[_Way]:
    """Ingresses and routes, with the Services they send to."""
    for document in manifests.of_kind("Ingress"):
        backends = [(dig(document.spec, "defaultBackend", "service", "name"), "")]
        for _, routes in mappings(document.spec.get("rules")):
            for _, given in mappings(dig(routes, "http", "paths")):
                name = dig(given, "backend", "service", "name")
                backends.append((name, text(given.get("path"))))
        for name, path in backends:
            if isinstance(name, str):
                yield _Way(document, name, _is_api(path))
    for document in manifests.of_kind("HTTPRoute"):
        for _, routes in mappings(document.spec.get("rules")):
            paths = [text(dig(m, "path", "value")) for _, m in mappings(routes.get("matches"))]
            alone = bool(paths) and all(map(_is_api, paths))
            for _, backend in mappings(routes.get("backendRefs")):
                if text(backend.get("kind") or "Service") == "Service":
                    yield _Way(document, text(backend.get("name")), alone)


def _is_api(path: str) -> bool:
    return path == "/v1" or path.startswith(("/v1/", "/v1("))


def _authenticates(manifests: Manifests, document: Document) -> bool:
    """Whether something before the engine may ask who it is."""
    if any(name in mapping(document.metadata.get("annotations")) for name in _AUTHENTICATES):
        return True
    for policy in manifests.of_kind(*_POLICIES):
        targets = [policy.spec.get("targetRef"), *items(policy.spec.get("targetRefs"))]
        if any(mapping(target).get("name") == document.name for target in targets):
            return True
    return False


@check
def keys(manifests: Manifests) -> Iterator[Finding]:
    """Engines that are reached from outside without an API key, or with the engine's own alone."""
    seen: set[tuple[int, str]] = set()
    ways = [
        _Way(service, service.name)
        for service in manifests.of_kind("Service")
        if service.spec.get("type") in ("LoadBalancer", "NodePort")
    ]
    for way in [*ways, *_routed(manifests)]:
        document = way.document
        place = document.place("spec", *(("type",) if document.kind == "Service" else ()))
        if _authenticates(manifests, document):
            continue
        for pod in manifests.behind(way.service, document.namespace):
            who = f"{document.title} leads to {pod.document.title}"
            for engine in pod.engines:
                for finding in reached(engine, place, who, api_alone=way.api_alone):
                    key = (id(document), f"{finding.code} {pod.document.title}")
                    if key not in seen:
                        seen.add(key)
                        yield finding


def reached(
    engine: DeclaredEngine, place: Place, who: str, *, api_alone: bool = False
) -> Iterator[Finding]:
    """What is wrong where an engine is reached from outside, at `place`."""
    if engine.keyed is False:
        yield OPEN.at(
            place,
            f"{who}, which asks for no API key",
            "require a key: API_KEY_REQUIRED=1 behind the door that deployctl renders, or a "
            "gateway with keys before it",
        )
    elif engine.keyed and not engine.doored and not api_alone:
        yield DOOR.at(
            place,
            f"{who}, whose own key guards /v1 alone: /invocations, /tokenize and /metrics are open",
            f"{_A_DOOR}, or publish /v1 alone",
        )


@check
def commands(manifests: Manifests) -> Iterator[Finding]:
    """Rendered commands that listen on every interface."""
    for engine in manifests.command_engines:
        host = engine.command.text("host")
        if host in ("0.0.0.0", "::"):  # noqa: S104  read, not bound
            place = engine.command.flags["host"].place
            yield from reached(engine, place, "everybody on the network reaches the engine")


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
    for document, name, _ in _routed(manifests):
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
