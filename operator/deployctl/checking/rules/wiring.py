"""Services, ports and links: whether what should reach the engine reaches it."""

import re
from collections.abc import Iterator
from typing import Any

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.pods import Pod
from deployctl.checking.scene import Scene, ports_of, same_namespace
from deployctl.checking.walk import dig, mapping, mappings, text, whole

GROUP = "Wiring"
NAMED_VLLM = rule(
    "service-named-vllm",
    Severity.error,
    "A Service named vllm puts VLLM_PORT=tcp://… into every pod, and the engine dies of it.",
    group=GROUP,
)
LINKS = rule(
    "service-links",
    Severity.warning,
    "Service links put variables into the engine's environment that anybody's Service names.",
    group=GROUP,
)
NOTHING = rule(
    "service-selects-nothing",
    Severity.error,
    "A Service that finds no pod answers every request with a refusal.",
    group=GROUP,
)
SERVICE_PORT = rule(
    "service-port",
    Severity.error,
    "A Service that sends to a port where nothing listens refuses every request.",
    group=GROUP,
)
MISMATCH = rule(
    "port-mismatch",
    Severity.error,
    "Probes, Services and monitors ask a port that the engine does not listen on.",
    group=GROUP,
)
PDB = rule(
    "pdb-blocks-drain",
    Severity.warning,
    "A disruption budget that allows no disruption stops every node drain and upgrade.",
    group=GROUP,
)
PDB_NOTHING = rule(
    "pdb-selects-nothing",
    Severity.error,
    "A disruption budget that finds no pod protects nothing.",
    group=GROUP,
)
_VLLM_VARIABLE = re.compile(r"vllm([-.]|$)")


@check
def service_names(scene: Scene) -> Iterator[Finding]:
    """Services whose name becomes one of the engine's variables."""
    for service in scene.of_kind("Service"):
        if service.name != "vllm":
            continue
        linked = [
            pod
            for pod in scene.engine_pods
            if same_namespace(pod.namespace, service.namespace)
            and pod.spec.get("enableServiceLinks") is not False
        ]
        who = linked[0].document.title if linked else "vLLM pods beside it"
        yield NAMED_VLLM.at(
            service.place("metadata", "name"),
            f"gives {who} a VLLM_PORT that is no number",
            "give the Service another name, and set enableServiceLinks: false on the pods",
        )


@check
def links(scene: Scene) -> Iterator[Finding]:
    """Engine pods with service links."""
    for pod in scene.engine_pods:
        if pod.spec.get("enableServiceLinks") is not False:
            yield LINKS.at(
                pod.place.child("enableServiceLinks"),
                "any Service named vllm in the namespace would set VLLM_PORT and kill the engine",
                "set enableServiceLinks: false",
            )


@check
def services(scene: Scene) -> Iterator[Finding]:
    """Services and the pods and ports they send to."""
    if not scene.pods:
        return
    for service in scene.of_kind("Service"):
        selector = mapping(service.spec.get("selector"))
        if not selector or service.spec.get("type") == "ExternalName":
            continue
        found = scene.selected({"matchLabels": selector}, service.namespace)
        if not found:
            yield NOTHING.at(
                service.place("spec", "selector"),
                f"finds none of the pods here{_nearly(selector, scene.pods)}",
                "use labels that the pods carry",
            )
        for index, port in mappings(service.spec.get("ports")):
            place = service.place("spec", "ports", index)
            yield from _target(place, port, found)


def _nearly(selector: dict[str, Any], pods: list[Pod]) -> str:
    """Which label keeps the pod that fits best out."""
    best = max(pods, key=lambda p: sum(p.labels.get(k) == v for k, v in selector.items()))
    wrong = [k for k, v in selector.items() if best.labels.get(k) != v]
    if len(wrong) == len(selector):
        return ""
    return f": {best.document.title} differs in {', '.join(str(w)[:60] for w in wrong)}"


def _target(place: Place, port: dict[str, Any], pods: list[Pod]) -> Iterator[Finding]:
    target = port.get("targetPort", port.get("port"))
    for pod in pods:
        names: dict[str, int] = {}
        for container in pod.containers:
            names |= ports_of(container.data)
        if isinstance(target, str) and not target.isdecimal():
            if target not in names:
                yield SERVICE_PORT.at(
                    place.child("targetPort"),
                    f"{pod.document.title} has no port named {target[:60]}",
                    f"use one of: {', '.join(names) or 'a number'}",
                )
                return
            continue
        number = whole(target, 0)
        listening = {engine.port for engine in pod.engines}
        declared = {
            whole(p.get("containerPort"), 0)
            for container in pod.containers
            for _, p in mappings(container.data.get("ports"))
        }
        if pod.engines and None not in listening and number not in listening | declared:
            where = ", ".join(str(p) for p in sorted(p for p in listening if p))
            yield SERVICE_PORT.at(
                place.child("targetPort" if "targetPort" in port else "port"),
                f"sends to port {number}, and the engine listens on {where}",
                f"write targetPort: {where}",
            )
            return


@check
def engine_ports(scene: Scene) -> Iterator[Finding]:
    """Declared ports against the port that the engine is told to listen on."""
    for pod in scene.engine_pods:
        for engine in pod.engines:
            declared = [
                (index, whole(port.get("containerPort"), 0))
                for index, port in mappings(engine.data.get("ports"))
            ]
            if not declared or engine.port is None:
                continue
            if engine.port not in [number for _, number in declared]:
                index, number = declared[0]
                yield MISMATCH.at(
                    engine.place.child("ports", index, "containerPort"),
                    f"the container declares port {number}, and the engine listens on "
                    f"{engine.port}",
                    f"write containerPort: {engine.port}, or --port {number}",
                )
            yield from _probe_ports(engine.place, engine.data, engine.port)


def _probe_ports(place: Place, data: dict[str, Any], listening: int) -> Iterator[Finding]:
    names = ports_of(data)
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        for way in ("httpGet", "tcpSocket"):
            port = dig(data, probe, way, "port")
            if port is None:
                continue
            number = names.get(port) if isinstance(port, str) else whole(port, 0)
            if isinstance(port, str) and port.isdecimal():
                number = int(port)
            if number is None:
                message = f"asks a port named {text(port)[:60]}, which the container has not"
            elif number != listening:
                message = f"asks port {number}, and the engine listens on {listening}"
            else:
                continue
            yield MISMATCH.at(place.child(probe, way, "port"), message, f"ask port {listening}")


@check
def disruption(scene: Scene) -> Iterator[Finding]:
    """Disruption budgets: that they find pods, and let some go."""
    for document in scene.of_kind("PodDisruptionBudget"):
        selector = document.spec.get("selector")  # without one it finds nothing; {} finds all
        pods = scene.selected(selector, document.namespace) if selector is not None else []
        if scene.pods and not pods:
            yield PDB_NOTHING.at(
                document.place("spec", "selector"),
                "finds none of the pods here",
                "use labels that the pods carry",
            )
        for pod in pods:
            yield from _allows(document, pod, scene)


def _allows(document: Document, pod: Pod, scene: Scene) -> Iterator[Finding]:
    least, most = document.spec.get("minAvailable"), document.spec.get("maxUnavailable")
    replicas = pod.replicas
    if most in (0, "0%"):
        key, why = "maxUnavailable", "no pod may ever be taken away"
    elif least == "100%" or (isinstance(least, int) and 0 < replicas <= least):
        if isinstance(least, int) and scene.most_replicas(pod) > least:
            return
        key, why = "minAvailable", f"all of the {replicas} replicas must stay"
    else:
        return
    yield PDB.at(
        document.place("spec", key),
        f"{why}: a node with such a pod cannot be drained",
        "write maxUnavailable: 1",
    )
