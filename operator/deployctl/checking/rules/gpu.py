"""GPUs: whole, as many as the engine uses, visible, and with shared memory between ranks."""

import math
from collections.abc import Iterator

from deployctl.checking.engine import DeclaredEngine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.pods import Pod, gpus
from deployctl.checking.values import dig, items, text
from deployctl.units import quantity

FRACTION = rule("gpu-fraction")
DIFFER = rule("gpu-limits")
MISSING = rule("gpu-missing")
COUNT = rule("gpu-count")
VISIBLE = rule("gpu-visible-devices")
RUNTIME = rule("runtime-class")
SHM = rule("shm")
LEAST_SHM = 1024.0**3  # bytes


@check
def requests(manifests: Manifests) -> Iterator[Finding]:
    """GPU requests and limits of every container."""
    for container in manifests.containers:
        place = container.place.child("resources")
        limits, asked = gpus(container.data, "limits"), gpus(container.data, "requests")
        for key, amounts in (("limits", limits), ("requests", asked)):
            for name, amount in amounts.items():
                number = quantity(amount)
                if number is not None and not number.is_integer():
                    yield FRACTION.at(
                        place.child(key, name),
                        f"{amount!s:.20} of {name} is not a whole number",
                        "ask for whole GPUs; share one by MIG or time-slicing, which have "
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
def counts(manifests: Manifests) -> Iterator[Finding]:
    """GPUs against what the engine's flags want."""
    for pod, engine in manifests.pod_engines:
        if not engine.nvidia:
            continue
        if pod.spec.get("resourceClaims"):
            continue  # dynamic resource allocation: GPUs are claimed elsewhere
        place = engine.place.child("resources", "limits")
        limits = gpus(engine.data, "limits")
        total = sum((quantity(amount) or 0.0 for amount in limits.values()), 0.0)
        if not total.is_integer():
            continue  # a fraction: said above
        if not limits and not gpus(engine.data, "requests"):
            yield MISSING.at(
                place,
                "the engine is built for CUDA and gets no GPU"
                if engine.image.cuda
                else "gets no GPU, and needs one if the image is built for CUDA",
                f"write limits: {{nvidia.com/gpu: {engine.world or 1}}}, or use a CPU image",
                severity=None if engine.image.cuda else Severity.note,
            )
        elif engine.world and total and "nnodes" not in engine.command.flags:
            yield from _compare(pod, engine, int(total))


def _compare(pod: Pod, engine: DeclaredEngine, total: int) -> Iterator[Finding]:
    wanted = engine.world or 1
    place = engine.place.child("resources", "limits")
    if wanted > total and not _several_nodes(pod, engine):
        yield COUNT.at(
            place,
            f"tensor × pipeline × data parallel need {wanted} GPUs, and the container gets {total}",
            f"ask for {wanted} GPUs, or write --tensor-parallel-size {total}",
        )
    elif wanted < total:
        yield COUNT.at(
            place,
            f"the container gets {total} GPUs and the engine uses {wanted}",
            f"write --tensor-parallel-size {total}, or ask for {wanted}",
            severity=Severity.warning,
        )


def _several_nodes(pod: Pod, engine: DeclaredEngine) -> bool:
    """Whether other pods may bring the rest of the GPUs."""
    if engine.command.text("distributed-executor-backend") == "ray":
        return True
    if pod.operated or pod.document.kind == "LeaderWorkerSet":
        return True
    words = [w for key in ("command", "args") for w in items(engine.data.get(key))]
    return any("ray start" in str(word)[:20_000] for word in words)


@check
def visibility(manifests: Manifests) -> Iterator[Finding]:
    """Ways to a GPU that bypass the scheduler, and the runtime that makes GPUs visible at all."""
    classes = {d.name: d for d in manifests.of_kind("RuntimeClass")}
    nvidia = [name for name, d in classes.items() if "nvidia" in text(d.data.get("handler"))]
    for pod, engine in manifests.pod_engines:
        variable = engine.env.get("NVIDIA_VISIBLE_DEVICES")
        if variable and variable.value not in (None, "", "void"):
            yield VISIBLE.at(
                variable.place,
                "the device plugin sets it to the GPUs that the pod was given",
                "remove it; nvidia.com/gpu in the limits is enough",
            )
        if not engine.nvidia:
            continue
        name = text(pod.spec.get("runtimeClassName"))
        place = pod.place.child("runtimeClassName")
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
def shared_memory(manifests: Manifests) -> Iterator[Finding]:
    """Shared memory of engines with several ranks."""
    for pod, engine in manifests.pod_engines:
        if not engine.parallel or pod.spec.get("hostIPC") is True:
            continue
        limit = quantity(dig(engine.data, "resources", "limits", "memory"))
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
        elif mount.size and mount.size >= (limit or math.inf):
            yield SHM.at(
                engine.place.child("resources", "limits", "memory"),
                "what is in /dev/shm counts against the memory limit, and is as large as that",
                "raise the limit above sizeLimit and the engine's own memory",
                severity=Severity.warning,
            )
