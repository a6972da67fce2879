"""All documents of one check, and what belongs to what. Rules look at nothing else."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deployctl.checking.compose import ComposeService, engine_of_service, services_of
from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import DeclaredEngine, engine_of_command
from deployctl.checking.pods import RUNS_TO_END, Container, Pod, pods_of
from deployctl.checking.values import items, mapping, mappings, text, whole
from deployctl.engines.vllm.versions import key


@dataclass
class Options:
    """What the user sets in addition to the files."""

    kubernetes: str = ""  # version of the cluster; empty: the newest known
    engine_version: str | None = None  # for images that do not tell


@dataclass(eq=False)
class Manifests:
    """All documents of one check."""

    documents: list[Document]
    options: Options = field(default_factory=Options)

    @cached_property
    def objects(self) -> list[Document]:
        """The Kubernetes objects."""
        return [d for d in self.documents if d.family == "kubernetes"]

    @cached_property
    def projects(self) -> list[Document]:
        """The Compose files."""
        return [d for d in self.documents if d.family == "compose"]

    @cached_property
    def compose_services(self) -> list[ComposeService]:
        """The services of all Compose files."""
        return [service for project in self.projects for service in services_of(project)]

    @cached_property
    def pods(self) -> list[Pod]:
        """The pods that the objects make."""
        version = self.options.engine_version
        return [pod for document in self.objects for pod in pods_of(document, version)]

    @cached_property
    def containers(self) -> list[Container]:
        """The containers of all pods."""
        return [container for pod in self.pods for container in pod.containers]

    @cached_property
    def engine_pods(self) -> list[Pod]:
        """The pods that hold an engine."""
        return [pod for pod in self.pods if pod.engines]

    @property
    def pod_engines(self) -> Iterator[tuple[Pod, DeclaredEngine]]:
        """The vLLM engines in pods, each with its pod."""
        return ((pod, engine) for pod in self.engine_pods for engine in pod.engines)

    @cached_property
    def serving_pods(self) -> list[Pod]:
        """The pods that hold an engine and are meant to stay: not of a Job."""
        return [pod for pod in self.engine_pods if pod.document.kind not in RUNS_TO_END]

    @property
    def serving_engines(self) -> Iterator[DeclaredEngine]:
        """The engines in those pods."""
        return (engine for pod in self.serving_pods for engine in pod.engines)

    @cached_property
    def compose_engines(self) -> list[DeclaredEngine]:
        """The vLLM engines of Compose files; place and data are the service's own."""
        version = self.options.engine_version
        engines = (engine_of_service(service, version) for service in self.compose_services)
        return [engine for engine in engines if engine is not None]

    @cached_property
    def command_engines(self) -> list[DeclaredEngine]:
        """The engines of rendered commands."""
        return [engine_of_command(d) for d in self.documents if d.family == "command"]

    @cached_property
    def engines(self) -> list[DeclaredEngine]:
        """Every vLLM engine, whatever runs it."""
        pods = (engine for _, engine in self.pod_engines)
        return [*pods, *self.compose_engines, *self.command_engines]

    def of_kind(self, *kinds: str) -> Iterator[Document]:
        """The objects of some kinds."""
        return (d for d in self.objects if d.kind in kinds)

    def find(self, kind: str, name: str, namespace: str) -> Document | None:
        """The object of that name; an empty namespace is any."""
        for document in self.of_kind(kind):
            if document.name == name and same_namespace(document.namespace, namespace):
                return document
        return None

    def selected(self, selector: Any, namespace: str) -> list[Pod]:
        """The pods that a label selector finds."""
        return [
            pod
            for pod in self.pods
            if same_namespace(pod.namespace, namespace) and matches(selector, pod.labels)
        ]

    def scalers(self, pod: Pod) -> Iterator[Document]:
        """The autoscalers of a pod's workload."""
        for document in self.of_kind("HorizontalPodAutoscaler", "ScaledObject"):
            target = mapping(document.spec.get("scaleTargetRef"))
            kind = text(target.get("kind")) or "Deployment"
            if (
                target.get("name") == pod.document.name
                and kind == pod.document.kind
                and same_namespace(document.namespace, pod.namespace)
            ):
                yield document

    def most_replicas(self, pod: Pod) -> int:
        """The most replicas there can be."""
        most = pod.replicas
        for scaler in self.scalers(pod):
            limit = scaler.spec.get("maxReplicas", scaler.spec.get("maxReplicaCount"))
            most = max(most, whole(limit, 100 if scaler.kind == "ScaledObject" else 1))
        return most

    def behind(self, service: str, namespace: str) -> list[Pod]:
        """The pods that a Service of that name sends to."""
        document = self.find("Service", service, namespace)
        selector = mapping(document.spec.get("selector")) if document else {}
        if document is None or not selector:
            return []
        return self.selected({"matchLabels": selector}, document.namespace)

    @cached_property
    def versions(self) -> list[str]:
        """The engine versions there are, oldest first."""
        return sorted({e.version for e in self.engines if e.version}, key=key)


def same_namespace(one: str, other: str) -> bool:
    """Whether two namespaces may be the same; an unnamed one may be any."""
    return not one or not other or one == other


def matches(selector: Any, labels: dict[str, Any]) -> bool:
    """Whether a label selector finds these labels. An empty one finds everything."""
    wanted = mapping(mapping(selector).get("matchLabels"))
    expressions = mappings(mapping(selector).get("matchExpressions"))
    return all(labels.get(name) == value for name, value in wanted.items()) and all(
        _holds(expression, labels) for _, expression in expressions
    )


def _holds(expression: dict[str, Any], labels: dict[str, Any]) -> bool:
    name, operator = text(expression.get("key")), expression.get("operator")
    values = items(expression.get("values"))
    if operator == "In":
        return labels.get(name) in values
    if operator == "NotIn":
        return name not in labels or labels[name] not in values
    if operator == "Exists":
        return name in labels
    return operator != "DoesNotExist" or name not in labels


def named_ports(containers: Iterable[Place]) -> dict[str, int]:
    """The ports of containers that have a name."""
    return {
        port["name"]: whole(port.get("containerPort"), 0)
        for container in containers
        for _, port in container.mappings("ports")
        if isinstance(port.get("name"), str)
    }
