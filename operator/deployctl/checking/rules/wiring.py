"""Services, ports and links: whether what should reach the engine reaches it."""

import itertools
from collections.abc import Iterator
from typing import Any

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests, named_ports, same_namespace
from deployctl.checking.pods import Pod
from deployctl.checking.rules.probes import PROBES
from deployctl.checking.values import mapping, text, whole

NAMED_VLLM = rule("service-named-vllm")
LINKS = rule("service-links")
NOTHING = rule("service-selects-nothing")
SERVICE_PORT = rule("service-port")
MISMATCH = rule("port-mismatch")
PDB = rule("pdb-blocks-drain")
PDB_NOTHING = rule("pdb-selects-nothing")


@check
def service_names(manifests: Manifests) -> Iterator[Finding]:
    """Services whose name becomes one of the engine's variables."""
    for service in manifests.of_kind("Service"):
        if service.name != "vllm":
            continue
        linked = [
            pod
            for pod in manifests.engine_pods
            if same_namespace(pod.namespace, service.namespace)
            and pod.spec.get("enableServiceLinks") is not False
        ]
        who = linked[0].document.title if linked else "vLLM pods in its namespace"
        yield NAMED_VLLM.at(
            service.place("metadata", "name"),
            f"gives {who} a VLLM_PORT that is not a number",
            "give the Service another name, and set enableServiceLinks: false on the pods",
        )


@check
def links(manifests: Manifests) -> Iterator[Finding]:
    """Engine pods with service links."""
    for pod in manifests.engine_pods:
        if pod.spec.get("enableServiceLinks") is not False:
            yield LINKS.at(
                pod.place.child("enableServiceLinks"),
                "any Service named vllm in the namespace would set VLLM_PORT and kill the engine",
                "set enableServiceLinks: false",
            )


@check
def services(manifests: Manifests) -> Iterator[Finding]:
    """Services and the pods and ports they send to."""
    if not manifests.pods:
        return
    for service in manifests.of_kind("Service"):
        selector = mapping(service.spec.get("selector"))
        if not selector or service.spec.get("type") == "ExternalName":
            continue
        pods = manifests.selected({"matchLabels": selector}, service.namespace)
        if not pods:
            yield NOTHING.at(
                service.place("spec", "selector"),
                f"finds none of the pods here{_nearly(selector, manifests.pods)}",
                "use labels that the pods carry",
            )
        for place, port in service.place("spec").mappings("ports"):
            key = "targetPort" if "targetPort" in port else "port"
            wrong = (_target(place.child(key), pod) for pod in pods)
            yield from itertools.islice(filter(None, wrong), 1)


def _nearly(selector: dict[str, Any], pods: list[Pod]) -> str:
    """Which label keeps the pod that fits best out."""
    best = max(pods, key=lambda p: sum(p.labels.get(k) == v for k, v in selector.items()))
    wrong = [k for k, v in selector.items() if best.labels.get(k) != v]
    if len(wrong) == len(selector):
        return ""
    return f": {best.document.title} differs in {', '.join(str(w)[:60] for w in wrong)}"


def _target(place: Place, pod: Pod) -> Finding | None:
    """What is wrong with the port of a pod that a Service sends to, by number or by name."""
    target = place.value
    if isinstance(target, str) and not target.isdecimal():
        names = named_ports(container.place for container in pod.containers)
        if target in names:
            return None
        return SERVICE_PORT.at(
            place,
            f"{pod.document.title} has no port named {target[:60]}",
            f"use one of: {', '.join(names) or 'a number'}",
        )
    number = whole(target, 0)
    listening = {engine.port for engine in pod.engines}
    declared = {
        whole(port.get("containerPort"), 0)
        for container in pod.containers
        for _, port in container.place.mappings("ports")
    }
    if not pod.engines or None in listening or number in listening | declared:
        return None
    ports = ", ".join(str(port) for port in sorted(port for port in listening if port))
    return SERVICE_PORT.at(
        place,
        f"sends to port {number}, and the engine listens on {ports}",
        f"write targetPort: {ports}",
    )


@check
def engine_ports(manifests: Manifests) -> Iterator[Finding]:
    """Declared ports and probes against the port that the engine is told to listen on."""
    for _, engine in manifests.pod_engines:
        declared = [
            (place.child("containerPort"), whole(port.get("containerPort"), 0))
            for place, port in engine.place.mappings("ports")
        ]
        if not declared or engine.port is None:
            continue
        if engine.port not in [number for _, number in declared]:
            place, number = declared[0]
            yield MISMATCH.at(
                place,
                f"the container declares port {number}, and the engine listens on {engine.port}",
                f"write containerPort: {engine.port}, or --port {number}",
            )
        yield from _probe_ports(engine.place, engine.port)


def _probe_ports(container: Place, listening: int) -> Iterator[Finding]:
    names = named_ports([container])
    for probe, way in itertools.product(PROBES, ("httpGet", "tcpSocket")):
        place = container.child(probe, way, "port")
        port = place.value
        if port is None:
            continue
        number = names.get(port) if isinstance(port, str) else whole(port, 0)
        if isinstance(port, str) and port.isdecimal():
            number = int(port)
        if number is None:
            message = f"asks a port named {text(port)[:60]}, which the container does not have"
        elif number != listening:
            message = f"asks port {number}, and the engine listens on {listening}"
        else:
            continue
        yield MISMATCH.at(place, message, f"ask port {listening}")


@check
def disruption(manifests: Manifests) -> Iterator[Finding]:
    """Disruption budgets: that they find pods, and let some go."""
    for document in manifests.of_kind("PodDisruptionBudget"):
        selector = document.spec.get("selector")  # without one it finds nothing; {} finds all
        pods = manifests.selected(selector, document.namespace) if selector is not None else []
        if manifests.pods and not pods:
            yield PDB_NOTHING.at(
                document.place("spec", "selector"),
                "finds none of the pods here",
                "use labels that the pods carry",
            )
        for pod in pods:
            yield from _allows(document, pod, manifests.most_replicas(pod))


def _allows(budget: Document, pod: Pod, most_replicas: int) -> Iterator[Finding]:
    least, most = budget.spec.get("minAvailable"), budget.spec.get("maxUnavailable")
    replicas = pod.replicas
    if most in (0, "0%"):
        key, why = "maxUnavailable", "no pod may ever be taken away"
    elif least == "100%" or (isinstance(least, int) and 0 < replicas <= least >= most_replicas):
        key, why = "minAvailable", f"all of the {replicas} replicas must stay"
    else:
        return
    yield PDB.at(
        budget.place("spec", key),
        f"{why}: a node with such a pod cannot be drained",
        "write maxUnavailable: 1",
    )
