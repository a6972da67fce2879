"""Pods: what Deployments and the like make, and the engines inside."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deployctl.checking.commandline import Word, command_line
from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import DeclaredEngine, EnvVar, Mount, image
from deployctl.checking.values import dig, items, mapping, mappings, quantity, text, whole

SELECTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")  # by labels
_TEMPLATES: dict[str, tuple[tuple[str, ...], ...]] = {
    "Pod": ((),),
    "CronJob": (("spec", "jobTemplate", "spec", "template"),),
    "LeaderWorkerSet": (
        ("spec", "leaderWorkerTemplate", "leaderTemplate"),
        ("spec", "leaderWorkerTemplate", "workerTemplate"),
    ),
    **dict.fromkeys((*SELECTING, "Job"), (("spec", "template"),)),
}
MAX_DEPTH = 8  # below the spec of a custom resource; RayService has its workers at 4
RUNS_TO_END = ("Job", "CronJob")
SCALED = ("Deployment", "StatefulSet", "ReplicaSet")
GPU_VENDORS = ("nvidia.com/", "amd.com/gpu", "gpu.intel.com/")
_GPU_SIDE = ("nvidia.com/gpumem", "nvidia.com/gpucores")  # shares of a card, by HAMi
BUDGET_ANNOTATION = "startup-budget-seconds"  # after any prefix


@dataclass(frozen=True, eq=False)
class Container:
    """One container of a pod."""

    pod: "Pod"
    place: Place
    data: dict[str, Any]
    init: bool

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.data.get("name"))

    def setting(self, key: str) -> Any:
        """A security setting: the container's own, else the pod's."""
        own = mapping(self.data.get("securityContext"))
        if key in own:
            return own[key]
        return mapping(self.pod.spec.get("securityContext")).get(key)


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod as a template says it."""

    document: Document
    template: Place
    engine_version: str | None  # of images that do not tell
    bare: bool = False  # the template is a pod's spec, without metadata around it

    @property
    def data(self) -> dict[str, Any]:
        """The template: metadata and spec."""
        found = mapping(dig(self.document.data, *self.template.path))
        return {"spec": found} if self.bare else found

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        return mapping(self.data.get("spec"))

    @property
    def place(self) -> Place:
        """Where the pod's spec is."""
        return self.template if self.bare else self.template.child("spec")

    @property
    def operated(self) -> bool:
        """Whether an operator makes the pod, and may add what the template leaves out."""
        return self.document.custom and self.document.kind not in _TEMPLATES

    @property
    def labels(self) -> dict[str, Any]:
        """The pod's labels."""
        return mapping(dig(self.data, "metadata", "labels"))

    @property
    def namespace(self) -> str:
        """The namespace it runs in; empty for whatever the context says."""
        return self.document.namespace

    @property
    def replicas(self) -> int:
        """How many of it are wanted at first."""
        if self.operated:  # beside the template: of a Rollout, or of a group of workers
            beside = mapping(dig(self.document.data, *self.template.path[:-1]))
            return max(0, whole(beside.get("replicas"), 1))
        if self.document.kind not in SCALED:
            return 1
        return max(0, whole(self.document.spec.get("replicas"), 1))

    @property
    def startup_budget(self) -> float | None:
        """Seconds that the plan allows for a start, where an annotation says so."""
        for source in (dig(self.data, "metadata", "annotations"), self.document.metadata):
            found = mapping(source)
            found = mapping(found.get("annotations")) if "annotations" in found else found
            for name, value in found.items():
                if name.endswith(BUDGET_ANNOTATION):
                    return quantity(value)
        return None

    @cached_property
    def containers(self) -> list[Container]:
        """Every container; those that prepare the others first."""
        found = []
        for key in ("initContainers", "containers"):
            for index, data in mappings(self.spec.get(key)):
                place = self.place.child(key, index)
                found.append(Container(self, place, data, key == "initContainers"))
        return found

    @cached_property
    def engines(self) -> list[DeclaredEngine]:
        """The vLLM servers among the containers."""
        found = (self._engine(c) for c in self.containers if not c.init)
        return [engine for engine in found if engine is not None]

    @cached_property
    def volumes(self) -> dict[str, dict[str, Any]]:
        """The pod's volumes by name."""
        return {text(v.get("name")): v for _, v in mappings(self.spec.get("volumes"))}

    def _engine(self, container: Container) -> DeclaredEngine | None:
        data = container.data
        reference = image(text(data.get("image")))
        command = command_line(
            _words(container, "command"),
            _words(container, "args"),
            engine_image=reference.is_engine,
        )
        assumed = reference.is_engine and not data.get("command") and not self.operated
        idle = self.operated and not (data.get("command") or data.get("args"))  # Ray starts it
        if idle or not (command.found or assumed):
            return None
        user = container.setting("runAsUser")
        claims = {
            text(dig(c, "metadata", "name"))
            for _, c in mappings(self.document.spec.get("volumeClaimTemplates"))
        }
        return DeclaredEngine(
            place=container.place,
            data=data,
            image=reference,
            image_place=container.place.child("image"),
            command=command,
            env=_environment(container),
            env_complete=not data.get("envFrom"),
            version=reference.version or self.engine_version,
            mounts=tuple(_mounts(self, data, claims)),
            user=user if isinstance(user, int) else None,
            non_root=container.setting("runAsNonRoot") is True,
            read_only_root=container.setting("readOnlyRootFilesystem") is True,
            startup_budget=self.startup_budget,
        )


def pods_of(document: Document, engine_version: str | None) -> Iterator[Pod]:
    """The pods that an object makes."""
    for path in _TEMPLATES.get(document.kind, ()):
        pod = Pod(document, document.place(*path), engine_version)
        if pod.data:
            yield pod
    if document.custom and document.kind not in _TEMPLATES:
        yield from _searched(document, engine_version, document.place("spec"), document.spec)


def _searched(
    document: Document, engine_version: str | None, place: Place, value: Any, depth: int = 0
) -> Iterator[Pod]:
    """Pods in a custom resource, wherever it has them: a template, or a pod's spec alone."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _searched(document, engine_version, place.child(index), item, depth + 1)
    elif isinstance(value, dict):
        if _is_pod(value.get("spec")):
            yield Pod(document, place, engine_version)
        elif _is_pod(value):
            yield Pod(document, place, engine_version, bare=True)
        else:
            for key, item in value.items():
                yield from _searched(
                    document, engine_version, place.child(str(key)), item, depth + 1
                )


def _is_pod(value: Any) -> bool:
    return any(mappings(mapping(value).get("containers")))


def max_surge(workload: Document) -> Any:
    """How many pods an update may add before it ends old ones, as written: a number or a share."""
    strategy = mapping(workload.spec.get("strategy"))
    if strategy.get("type") == "Recreate":
        return 0
    return mapping(strategy.get("rollingUpdate")).get("maxSurge", "25%")


def surges(workload: Document) -> bool:
    """Whether an update starts new pods before it ends old ones."""
    return max_surge(workload) not in (0, "0", "0%")


def gpus(container: dict[str, Any], key: str) -> dict[str, Any]:
    """The GPUs among a container's `limits` or `requests`: name -> amount."""
    return {
        name: amount
        for name, amount in mapping(dig(container, "resources", key)).items()
        if name.startswith(GPU_VENDORS) and not name.startswith(_GPU_SIDE)
    }


def _words(container: Container, key: str) -> list[Word]:
    return [
        Word(str(item), container.place.child(key, index))
        for index, item in enumerate(items(container.data.get(key)))
        if isinstance(item, str | int | float)
    ]


def _environment(container: Container) -> dict[str, EnvVar]:
    found = {}
    for index, entry in mappings(container.data.get("env")):
        value = entry.get("value")
        literal = str(value) if isinstance(value, str | int | float) else None
        if "valueFrom" not in entry and literal is None:
            literal = ""
        found[text(entry.get("name"))] = EnvVar(literal, container.place.child("env", index))
    return found


def _mounts(pod: Pod, data: dict[str, Any], claims: set[str]) -> Iterator[Mount]:
    for _, mount in mappings(data.get("volumeMounts")):
        name, path = text(mount.get("name")), text(mount.get("mountPath"))
        if not path:
            continue
        volume = pod.volumes.get(name, {})
        limit = None
        if mount.get("readOnly") is True:
            kind = "readonly"
        elif isinstance(volume.get("emptyDir"), dict):
            kind = "memory" if volume["emptyDir"].get("medium") == "Memory" else "scratch"
            limit = quantity(volume["emptyDir"].get("sizeLimit"))
        elif any(k in volume for k in ("configMap", "secret", "projected", "downwardAPI")):
            kind = "readonly"
        elif name in claims or any(k in volume for k in ("persistentVolumeClaim", "hostPath")):
            kind = "kept"
        else:
            kind = "kept" if volume else "scratch"
            if "ephemeral" in volume:
                kind = "scratch"
        yield Mount(path, kind, limit)
