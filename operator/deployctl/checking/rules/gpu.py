"""Cards: whole, as many as the engine uses, visible, and with shared memory between ranks."""

from collections.abc import Iterator
from typing import Any

from deployctl.checking.engine import Engine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.pods import gpus
from deployctl.checking.quantity import quantity
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, items, mapping, text

GROUP = "GPUs"
FRACTION = rule(
    "gpu-fraction",
    Severity.error,
    "A fraction of a GPU is refused, or becomes none in silence: the pod starts without a card.",
    group=GROUP,
)
DIFFER = rule(
    "gpu-limits",
    Severity.error,
    "GPUs are set as limits; a request that differs, or stands alone, is refused.",
    group=GROUP,
)
MISSING = rule(
    "gpu-missing",
    Severity.error,
    "An engine for CUDA without a GPU in its limits sees no card and ends at once.",
    group=GROUP,
)
COUNT = rule(
    "gpu-count",
    Severity.error,
    "The engine wants more cards than it gets and ends, or fewer and wastes the rest.",
    group=GROUP,
)
VISIBLE = rule(
    "gpu-visible-devices",
    Severity.error,
    "NVIDIA_VISIBLE_DEVICES reaches round the scheduler: the pod takes cards of other pods.",
    group=GROUP,
)
RUNTIME = rule(
    "runtime-class",
    Severity.error,
    "Without NVIDIA's runtime the container sees no card, whatever the scheduler gave it.",
    group=GROUP,
)
SHM = rule(
    "shm",
    Severity.error,
    "Ranks exchange data through /dev/shm; the 64 MB that a container gets make NCCL fail.",
    group=GROUP,
)
LEAST_SHM = 1024.0**3  # bytes


@check
def requests(scene: Scene) -> Iterator[Finding]:
    """GPU requests and limits of every container."""
    for pod in scene.pods:
        for container in pod.containers:
            resources = mapping(container.data.get("resources"))
            place = container.place.child("resources")
            limits, asked = (gpus(resources.get(key)) for key in ("limits", "requests"))
            for key, amounts in (("limits", limits), ("requests", asked)):
                for name, amount in amounts.items():
                    number = quantity(amount)
                    if number is not None and not number.is_integer():
                        yield FRACTION.at(
                            place.child(key, name),
                            f"{amount!s:.20} of {name} is no whole number",
                            "ask for whole cards; share one by MIG or time-slicing, which have "
                            "resources of their own",
                        )
            for name, amount in asked.items():
                if quantity(limits.get(name)) != quantity(amount):
                    yield DIFFER.at(
                        place.child("requests", name),
                        f"{name} is requested as {amount!s:.20} and limited to "
                        f"{limits.get(name, 'nothing')!s:.20}",
                        f"write limits: {{{name}: {amount!s:.20}}}; the request follows",
                    )


@check
def counts(scene: Scene) -> Iterator[Finding]:
    """Cards against what the engine's flags want."""
    for engine in scene.engines:
        if engine.pod is None or not engine.nvidia:
            continue
        if dig(engine.pod.spec, "resourceClaims"):
            continue  # dynamic resource allocation: cards are claimed elsewhere
        place = engine.place.child("resources", "limits")
        found = gpus(dig(engine.data, "resources", "limits"))
        asked = gpus(dig(engine.data, "resources", "requests"))
        amounts = [quantity(amount) for amount in found.values()]
        total = sum((amount or 0.0 for amount in amounts), 0.0)
        if not total.is_integer():
            continue  # a fraction: said above
        if not found and not asked:
            yield MISSING.at(
                place,
                "the engine is built for CUDA and gets no GPU"
                if engine.image.cuda
                else "gets no GPU, if the image is built for CUDA",
                f"write limits: {{nvidia.com/gpu: {engine.world or 1}}}, or use a CPU image",
                severity=None if engine.image.cuda else Severity.note,
            )
        elif engine.world and total and "nnodes" not in engine.command.flags:
            yield from _compare(engine, int(total))


def _compare(engine: Engine, total: int) -> Iterator[Finding]:
    wanted = engine.world or 1
    place = engine.place.child("resources", "limits")
    if wanted > total and not _several_nodes(engine):
        yield COUNT.at(
            place,
            f"tensor × pipeline × data parallel want {wanted} GPUs, and the container gets {total}",
            f"ask for {wanted} GPUs, or write --tensor-parallel-size {total}",
        )
    elif wanted < total:
        yield COUNT.at(
            place,
            f"the container gets {total} GPUs and the engine uses {wanted}",
            f"write --tensor-parallel-size {total}, or ask for {wanted}",
            severity=Severity.warning,
        )


def _several_nodes(engine: Engine) -> bool:
    """Whether other pods may bring the rest of the cards."""
    if engine.command.text("distributed-executor-backend") == "ray":
        return True
    words = [w for key in ("command", "args") for w in items(engine.data.get(key))]
    pod = engine.pod
    group = pod is not None and (pod.operated or pod.document.kind == "LeaderWorkerSet")
    return group or any("ray start" in str(word)[:20_000] for word in words)


@check
def visibility(scene: Scene) -> Iterator[Finding]:
    """Ways to a card that go round the scheduler, and the runtime that shows cards at all."""
    classes = {d.name: d for d in scene.of_kind("RuntimeClass")}
    nvidia = [name for name, d in classes.items() if "nvidia" in text(d.data.get("handler"))]
    for engine in scene.engines:
        if engine.pod is None:
            continue
        variable = engine.env.get("NVIDIA_VISIBLE_DEVICES")
        if variable and variable.value not in (None, "", "void"):
            yield VISIBLE.at(
                variable.place,
                "the device plugin sets it to the cards that the pod was given",
                "remove it; nvidia.com/gpu in the limits is enough",
            )
        if not engine.nvidia:
            continue
        name = text(engine.pod.spec.get("runtimeClassName"))
        place = engine.pod.place.child("runtimeClassName")
        if classes and name and name not in classes:
            yield RUNTIME.at(
                place,
                f"there is no RuntimeClass {name[:60]} here",
                f"use one of: {', '.join(classes)}",
            )
        elif nvidia and not name:
            yield RUNTIME.at(
                place,
                f"the RuntimeClass {nvidia[0]} is there, and the pod does not name it",
                f"write runtimeClassName: {nvidia[0]}",
                severity=Severity.warning,
            )


@check
def shared_memory(scene: Scene) -> Iterator[Finding]:
    """Shared memory of engines with several ranks."""
    for engine in scene.engines:
        if engine.pod is None or not engine.parallel:
            continue
        if engine.pod.spec.get("hostIPC") is True:
            continue
        mount = engine.mount_at("/dev/shm")  # noqa: S108
        if mount is None or mount.kind != "memory":
            yield SHM.at(
                engine.place.child("volumeMounts"),
                "several ranks share the 64 MB of /dev/shm that a container gets",
                "mount an emptyDir with medium: Memory at /dev/shm, 8 GiB a GPU",
            )
        elif mount.size is not None and mount.size < LEAST_SHM:
            yield SHM.at(
                engine.place.child("volumeMounts"),
                f"shared memory is {mount.size / 1024**2:.0f} MiB",
                "write sizeLimit: 8Gi a GPU",
            )
        elif (memory := _memory_limit(engine.data)) and mount.size and mount.size >= memory:
            yield SHM.at(
                engine.place.child("resources", "limits", "memory"),
                "what is in /dev/shm counts against the memory limit, and is as large as that",
                "raise the limit above sizeLimit and the engine's own memory",
                severity=Severity.warning,
            )


def _memory_limit(data: dict[str, Any]) -> float | None:
    return quantity(dig(data, "resources", "limits", "memory"))
