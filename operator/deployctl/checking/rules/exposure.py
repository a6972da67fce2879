"""Who can reach the engine, and whether an answer that streams for minutes gets through."""

import re
from collections.abc import Iterator

from deployctl.checking.documents import Document
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.pods import Pod
from deployctl.checking.scene import Scene, matches, same_namespace
from deployctl.checking.walk import dig, mapping, mappings, number, text

GROUP = "Exposure"
OPEN = rule(
    "exposed-without-key",
    Severity.error,
    "Whoever reaches the port uses your GPUs, reads the prompts' cache and stops the service.",
    group=GROUP,
)
POLICY = rule(
    "network-policy-missing",
    Severity.note,
    "Every pod of the cluster reaches the engine and its metrics.",
    group=GROUP,
)
TIMEOUT = rule(
    "ingress-timeout",
    Severity.warning,
    "A proxy that waits 60 s for the next byte, or buffers, cuts answers and stops streaming.",
    group=GROUP,
)
LEAST_TIMEOUT_S = 300.0
_NGINX = "nginx.ingress.kubernetes.io/"
_TIME = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?")


def routed(scene: Scene) -> Iterator[tuple[Document, str]]:
    """Ingresses and routes, with the Services they send to."""
    for document in scene.of_kind("Ingress"):
        backends = [dig(document.spec, "defaultBackend", "service", "name")]
        for _, one in mappings(document.spec.get("rules")):
            for _, path in mappings(dig(one, "http", "paths")):
                backends.append(dig(path, "backend", "service", "name"))
        for name in backends:
            if isinstance(name, str):
                yield document, name
    for document in scene.of_kind("HTTPRoute"):
        for _, one in mappings(document.spec.get("rules")):
            for _, backend in mappings(one.get("backendRefs")):
                if text(backend.get("kind") or "Service") == "Service":
                    yield document, text(backend.get("name"))


def _engines_behind(scene: Scene, service: str, namespace: str) -> list[Pod]:
    document = scene.find("Service", service, namespace)
    selector = mapping(document.spec.get("selector")) if document else {}
    if document is None or not selector:
        return []
    found = scene.selected({"matchLabels": selector}, document.namespace)
    return [pod for pod in found if pod.engines]


@check
def keys(scene: Scene) -> Iterator[Finding]:
    """Engines that are reached from outside without an API key."""
    ways = [
        (service, service.name, service.place("spec", "type"))
        for service in scene.of_kind("Service")
        if service.spec.get("type") in ("LoadBalancer", "NodePort")
    ]
    ways += [(document, name, document.place("spec")) for document, name in routed(scene)]
    for document, name, place in ways:
        for pod in _engines_behind(scene, name, document.namespace):
            if any(engine.keyed is False for engine in pod.engines):
                yield OPEN.at(
                    place,
                    f"{document.title} leads to {pod.document.title}, which asks for no API key",
                    "set VLLM_API_KEY from a Secret, or put a gateway with keys before it",
                )


@check
def policies(scene: Scene) -> Iterator[Finding]:
    """Engine pods that no NetworkPolicy selects."""
    for pod in scene.engine_pods:
        if pod.document.kind in ("Job", "CronJob"):
            continue
        found = [
            policy
            for policy in scene.of_kind("NetworkPolicy")
            if same_namespace(policy.namespace, pod.namespace)
            and matches(policy.spec.get("podSelector"), pod.labels)
        ]
        if not found:
            yield POLICY.at(
                pod.place,
                "no NetworkPolicy here selects these pods",
                "allow the gateway to the engine's port and Prometheus to /metrics, and no others",
            )


@check
def streaming(scene: Scene) -> Iterator[Finding]:
    """Proxies' time-outs in front of engines and their routers."""
    seen: set[int] = set()
    for document, name in routed(scene):
        if id(document) in seen or not _serves(scene, name, document.namespace):
            continue
        seen.add(id(document))
        if document.kind == "Ingress":
            yield from _nginx(document)
        else:
            yield from _route(document)


def _serves(scene: Scene, service: str, namespace: str) -> bool:
    """Whether a Service leads to an engine or to something with vLLM in its image."""
    document = scene.find("Service", service, namespace)
    selector = mapping(document.spec.get("selector")) if document else {}
    if document is None or not selector:
        return False
    pods = scene.selected({"matchLabels": selector}, document.namespace)
    return any(
        pod.engines or any("vllm" in text(c.data.get("image")) for c in pod.containers)
        for pod in pods
    )


def _nginx(document: Document) -> Iterator[Finding]:
    annotations = mapping(document.metadata.get("annotations"))
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
                document.place("metadata", "annotations", _NGINX + key),
                f"nginx waits {value:.0f} s ({key})",
                f'write {_NGINX}{key}: "3600"',
            )
    if annotations.get(_NGINX + "proxy-buffering") == "on":
        yield TIMEOUT.at(
            document.place("metadata", "annotations", _NGINX + "proxy-buffering"),
            "nginx collects the answer before it passes it on",
            'write "off"',
        )


def _route(document: Document) -> Iterator[Finding]:
    for index, one in mappings(document.spec.get("rules")):
        for key in ("request", "backendRequest"):
            given = text(dig(one, "timeouts", key))
            found = _TIME.fullmatch(given) if 0 < len(given) < 40 else None
            if found is None:
                continue
            scales = (3600.0, 60.0, 1.0, 0.001)
            total = sum(float(n or 0) * s for n, s in zip(found.groups(), scales, strict=True))
            if 0 < (number(total) or 0) < LEAST_TIMEOUT_S:
                yield TIMEOUT.at(
                    document.place("spec", "rules", index, "timeouts", key),
                    f"the gateway ends the whole answer after {given}",
                    "write 0s, which means none, or 3600s",
                )
