"""What services ask of a cluster, read from their objects as Helm would make them. Pure.

So whatever the chart asks for is looked at, without a second description of it here.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from deployctl.targets.kubernetes.nodes import asked, cards_of

Document = dict[str, Any]
_TEMPLATES = {"Deployment", "StatefulSet", "Job", "DaemonSet"}


class PodNeed(NamedTuple):
    """Pods that are alike."""

    service: str
    name: str  # of what makes them
    replicas: int
    spec: Document

    @property
    def requests(self) -> dict[str, float]:
        """What a pod asks for: CPU in cores, the rest in bytes or pieces."""
        return asked(self.spec)

    @property
    def gpus(self) -> int:
        """Cards by a device plugin; of MIG slices too."""
        return cards_of(self.spec)

    @property
    def images(self) -> list[str]:
        """The images of its containers, each once."""
        return list(dict.fromkeys(c["image"] for c in containers(self.spec) if c.get("image")))


class Needs(NamedTuple):
    """What services ask for. `planned`: from a plan; else a usual service's, which is no limit."""

    planned: bool = False
    pods: tuple[PodNeed, ...] = ()
    documents: tuple[tuple[str, Document], ...] = ()  # service and object

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of all objects."""
        return frozenset(document["kind"] for _, document in self.documents)

    def of_kind(self, kind: str) -> list[Document]:
        """All objects of a kind."""
        return [document for _, document in self.documents if document["kind"] == kind]

    @property
    def services(self) -> frozenset[str]:
        """Names of the services."""
        return frozenset(service for service, _ in self.documents)


def needs_of(objects: Iterable[tuple[str, Document]], *, planned: bool) -> Needs:
    """Reads the objects of services; each is said with its service's name."""
    documents = tuple(objects)
    pods = tuple(pod for service, document in documents for pod in _pods(service, document))
    return Needs(planned, pods, documents)


def _pods(service: str, document: Document) -> Iterator[PodNeed]:
    spec, name = document.get("spec") or {}, document["metadata"]["name"]
    if document["kind"] in _TEMPLATES:
        yield PodNeed(service, name, int(spec.get("replicas", 1)), spec["template"]["spec"])
    elif document["kind"] == "LeaderWorkerSet":
        group = spec["leaderWorkerTemplate"]
        sets, size = int(spec.get("replicas", 1)), int(group.get("size", 1))
        worker = group["workerTemplate"]["spec"]
        leader = (group.get("leaderTemplate") or {}).get("spec") or worker
        yield PodNeed(service, name, sets, leader)
        if size > 1:
            yield PodNeed(service, name, sets * (size - 1), worker)


def containers(spec: Mapping[str, Any]) -> list[Document]:
    """All containers of a pod."""
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def named_secrets(needs: Needs) -> dict[str, str]:
    """Secrets that pods name, must have, and that neither the chart nor we make: name to what
    names it.
    """
    made = {document["metadata"]["name"] for document in needs.of_kind("Secret")}
    made |= {f"{service}-api-key" for service in needs.services}  # by the target
    found: dict[str, str] = {}
    for pod in needs.pods:
        for pull in pod.spec.get("imagePullSecrets") or ():
            found.setdefault(pull["name"], "engine.pullSecrets")
        for volume in pod.spec.get("volumes") or ():
            sources = [volume.get("secret") or {}]
            sources += [
                s.get("secret") or {} for s in (volume.get("projected") or {}).get("sources", ())
            ]
            for source in sources:
                name = source.get("secretName") or source.get("name")
                if name and not source.get("optional"):
                    found.setdefault(name, f"a volume of {pod.name}")
    return {name: by for name, by in found.items() if name not in made}


def named_claims(needs: Needs) -> dict[str, PodNeed]:
    """Claims that pods mount and the chart does not make: name to a pod that does."""
    made = {document["metadata"]["name"] for document in needs.of_kind("PersistentVolumeClaim")}
    mounted = {
        volume["persistentVolumeClaim"]["claimName"]: pod
        for pod in needs.pods
        for volume in pod.spec.get("volumes") or ()
        if volume.get("persistentVolumeClaim")
    }
    return {name: by for name, by in mounted.items() if name not in made}
