"""The scene: every document at once, and what belongs to what. Rules look at nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deployctl.checking.compose import Project, engines_of
from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import Engine
from deployctl.checking.pods import Pod, pods_of
from deployctl.checking.process import engine_of
from deployctl.checking.walk import dig, items, mapping, mappings, text, whole


@dataclass
class Options:
    """What the user says besides the files."""

    kubernetes: str = ""  # version of the cluster; empty: the newest known
    engine_version: str | None = None  # for images that do not tell


@dataclass
class Scene:
    """All documents of one check."""

    documents: list[Document]
    options: Options = field(default_factory=Options)

    @cached_property
    def objects(self) -> list[Document]:
        """The Kubernetes objects."""
        return [d for d in self.documents if d.family == "kubernetes"]

    @cached_property
    def projects(self) -> list[Project]:
        """The Compose projects."""
        return [Project(d) for d in self.documents if d.family == "compose"]

    @cached_property
    def pods(self) -> list[Pod]:
        """The pods that the objects make."""
        return [pod for document in self.objects for pod in pods_of(document, self.options)]

    @cached_property
    def engines(self) -> list[Engine]:
        """Every vLLM engine, of any family."""
        found = [engine for pod in self.pods for engine in pod.engines]
        for project in self.projects:
            found += engines_of(project, self.options.engine_version)
        found += [engine_of(d) for d in self.documents if d.family == "command"]
        return found

    @cached_property
    def engine_pods(self) -> list[Pod]:
        """The pods that hold an engine."""
        return [pod for pod in self.pods if pod.engines]

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

    def services(self, pod: Pod) -> list[Document]:
        """The Services that send to a pod."""
        return [
            service
            for service in self.of_kind("Service")
            if mapping(service.spec.get("selector"))
            and same_namespace(service.namespace, pod.namespace)
            and matches({"matchLabels": service.spec["selector"]}, pod.labels)
        ]

    @cached_property
    def versions(self) -> list[str]:
        """The engine versions there are, oldest first."""
        from deployctl.engines.vllm.versions import key

        return sorted({e.version for e in self.engines if e.version}, key=key)


def same_namespace(one: str, other: str) -> bool:
    """Whether two namespaces may be the same; an unnamed one may be any."""
    return not one or not other or one == other


def matches(selector: Any, labels: dict[str, Any]) -> bool:
    """Whether a label selector finds these labels. An empty one finds everything."""
    wanted = mapping(mapping(selector).get("matchLabels"))
    if any(labels.get(key) != value for key, value in wanted.items()):
        return False
    for _, expression in mappings(mapping(selector).get("matchExpressions")):
        key, operator = text(expression.get("key")), expression.get("operator")
        values = items(expression.get("values"))
        there = key in labels
        if operator == "In" and labels.get(key) not in values:
            return False
        if operator == "NotIn" and there and labels.get(key) in values:
            return False
        if operator == "Exists" and not there:
            return False
        if operator == "DoesNotExist" and there:
            return False
    return True


def ports_of(container: dict[str, Any]) -> dict[str, int]:
    """A container's named ports."""
    found = {}
    for _, port in mappings(container.get("ports")):
        if isinstance(port.get("name"), str):
            found[port["name"]] = whole(port.get("containerPort"), 0)
    return found


def endpoint_places(document: Document, key: str) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The scrape endpoints of a monitor."""
    for index, endpoint in mappings(dig(document.data, "spec", key)):
        yield document.place("spec", key, index), endpoint
