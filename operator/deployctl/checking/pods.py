"""Pods: what Deployments and the like make, and the engines inside."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deployctl.checking.commandline import Word, command_line
from deployctl.checking.documents import Document, Place
from deployctl.checking.engine import DeclaredEngine, EnvVar, Mount, image
from deployctl.checking.values import dig, items, mapping, mappings, text, whole
from deployctl.units import quantity

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
_GPU_SIDE = ("nvidia.com/gpumem", "nvidia.com/gpucores")  # shares of a GPU, by HAMi
_READ_ONLY = ("configMap", "secret", "projected", "downwardAPI")
_GROUP = "leaderworkerset.sigs.k8s.io"  # prefix of the labels of its pods
BUDGET_ANNOTATION = "startup-budget-seconds"  # after any prefix


@dataclass(frozen=True, eq=False)
class Container:
    """One container of a pod."""

    pod: "Pod"
    place: Place
    data: dict[str, Any]

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.data.get("name"))

    @property
    def init(self) -> bool:
        """Whether it prepares the others and ends."""
        return self.place.path[-2] == "initContainers"

    def setting(self, key: str) -> Any:
        """A security setting: the container's own, else the pod's."""
        own = mapping(self.data.get("securityContext"))
        if key in own:
            return own[key]
        return mapping(self.pod.spec.get("securityContext")).get(key)


@dataclass(frozen=True, eq=False)
class Pod:
    """A pod as a template says it."""

    template: Place
    engine_version: str | None  # of images that do not tell
    bare: bool = False  # the template is a pod's spec, without metadata around it

    @property
    def document(self) -> Document:
        """The object that makes the pod."""
        return self.template.document

    @property
    def place(self) -> Place:
        """Where the pod's spec is."""
        return self.template if self.bare else self.template.child("spec")

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        return mapping(self.place.value)

    @property
    def metadata(self) -> dict[str, Any]:
        """The pod's metadata; nothing of a bare spec."""
        return {} if self.bare else mapping(self.template.child("metadata").value)

    @property
    def operated(self) -> bool:
        """Whether an operator makes the pod, and may add what the template leaves out."""
        return self.document.custom and self.document.kind not in _TEMPLATES

    @property
    def labels(self) -> dict[str, Any]:
        """The pod's labels; those of a group have LeaderWorkerSet's too."""
        own = mapping(self.metadata.get("labels"))
        if self.document.kind != "LeaderWorkerSet":
            return own
        leads = {f"{_GROUP}/worker-index": "0"} if "leaderTemplate" in self.template.path else {}
        return {**own, f"{_GROUP}/name": self.document.name, **leads}

    @property
    def namespace(self) -> str:
        """The namespace it runs in; empty for whatever the context says."""
        return self.document.namespace

    @property
    def replicas(self) -> int:
        """How many of it are wanted at first."""
        if self.operated:  # next to the template: of a Rollout, or of a group of workers
            around = mapping(Place(self.document, self.template.path[:-1]).value)
            return max(0, whole(around.get("replicas"), 1))
        if self.document.kind not in SCALED:
            return 1
        return max(0, whole(self.document.spec.get("replicas"), 1))

    @property
    def startup_budget(self) -> float | None:
        """Seconds that the plan allows for a start, where an annotation says so."""
        for metadata in (self.metadata, self.document.metadata):
            for name, value in mapping(metadata.get("annotations")).items():
                if name.endswith(BUDGET_ANNOTATION):
                    return quantity(value)
        return None

    @cached_property
    def containers(self) -> list[Container]:
        """Every container; those that prepare the others first."""
        return [
            Container(self, place, data)
            for key in ("initContainers", "containers")
            for place, data in self.place.mappings(key)
        ]

    @cached_property
    def engines(self) -> list[DeclaredEngine]:
        """The vLLM servers among the containers."""
        engines = (self._engine(c) for c in self.containers if not c.init)
        return [engine for engine in engines if engine is not None]

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
        # A worker of a group answers nobody: what is to be said of an engine is said of its leader.
        if idle or "headless" in command.flags or not (command.serves or assumed):
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
        pod = Pod(document.place(*path), engine_version)
        if mapping(pod.template.value):
            yield pod
    if document.custom and document.kind not in _TEMPLATES:
        for place, bare in _templates(document.place("spec"), document.spec):
            yield Pod(place, engine_version, bare)


def _templates(place: Place, value: Any, depth: int = 0) -> Iterator[tuple[Place, bool]]:
    """The templates in a custom resource, wherever it has them; and whether each is bare."""
    if depth > MAX_DEPTH:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _templates(place.child(index), item, depth + 1)
    elif isinstance(value, dict):
        if _is_pod(value.get("spec")):
            yield place, False
        elif _is_pod(value):
            yield place, True
        else:
            for key, item in value.items():
                yield from _templates(place.child(str(key)), item, depth + 1)


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
    variables = {}
    for place, entry in container.place.mappings("env"):
        value = entry.get("value")
        if isinstance(value, str | int | float):
            known: str | None = str(value)
        else:
            known = None if "valueFrom" in entry else ""
        variables[text(entry.get("name"))] = EnvVar(known, place)
    return variables


def _mounts(pod: Pod, data: dict[str, Any], claims: set[str]) -> Iterator[Mount]:
    for _, mount in mappings(data.get("volumeMounts")):
        name, path = text(mount.get("name")), text(mount.get("mountPath"))
        if not path:
            continue
        volume = pod.volumes.get(name, {})
        if mount.get("readOnly") is True:
            yield Mount(path, "readonly")
        elif isinstance(volume.get("emptyDir"), dict):
            kind = "memory" if volume["emptyDir"].get("medium") == "Memory" else "scratch"
            yield Mount(path, kind, quantity(volume["emptyDir"].get("sizeLimit")))
        elif any(source in volume for source in _READ_ONLY):
            yield Mount(path, "readonly")
        else:
            kept = name in claims or bool(volume and "ephemeral" not in volume)
            yield Mount(path, "kept" if kept else "scratch")
