"""Volumes: who may mount what at once, and what is loaded anew at every start."""

from collections.abc import Iterator

from deployctl.checking.engine import Engine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.pods import SCALED, Pod
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, items, mapping, mappings, text

GROUP = "Storage"
ACCESS = rule(
    "pvc-access-mode",
    Severity.error,
    "A ReadWriteOnce volume is mounted on one node: the second replica waits for ever.",
    group=GROUP,
)
ROLLING = rule(
    "pvc-rolling-update",
    Severity.error,
    "The new pod of a rolling update waits for the volume that the old one holds: a deadlock.",
    group=GROUP,
)
MODEL = rule(
    "model-not-kept",
    Severity.warning,
    "Every new pod downloads the model again: minutes of start-up, and the Hub's rate limits.",
    group=GROUP,
)
COMPILED = rule(
    "compile-cache-not-kept",
    Severity.note,
    "Every new pod runs torch.compile again: 80 to 166 s of each cold start.",
    group=GROUP,
)
SHARED = ("ReadWriteMany", "ReadOnlyMany")


@check
def access_modes(scene: Scene) -> Iterator[Finding]:
    """Claims against the number of pods that mount them at once."""
    for pod in scene.pods:
        if pod.document.kind not in SCALED and not pod.operated:
            continue
        for index, volume in mappings(pod.spec.get("volumes")):
            name = text(dig(volume, "persistentVolumeClaim", "claimName"))
            claim = scene.find("PersistentVolumeClaim", name, pod.namespace) if name else None
            if claim is None:
                continue
            modes = items(claim.spec.get("accessModes"))
            if any(mode in SHARED for mode in modes) or not modes:
                continue
            place = pod.place.child("volumes", index)
            replicas = scene.most_replicas(pod)
            if replicas > 1:
                yield ACCESS.at(
                    claim.place("spec", "accessModes"),
                    f"{text(modes[0])[:40]} cannot serve the {replicas} replicas of "
                    f"{pod.document.title}",
                    "use ReadWriteMany, a StatefulSet with a claim each, or one replica",
                )
            elif surges(pod) and pod.document.kind == "Deployment":
                yield ROLLING.at(
                    place,
                    f"an update starts a second pod beside the first, which holds {name[:60]}",
                    "write strategy: {type: Recreate}, or rollingUpdate: {maxSurge: 0}, or use "
                    "ReadWriteMany",
                )


def surges(pod: Pod) -> bool:
    """Whether an update starts new pods before it ends old ones."""
    strategy = mapping(pod.document.spec.get("strategy"))
    if strategy.get("type") == "Recreate":
        return False
    return mapping(strategy.get("rollingUpdate")).get("maxSurge", "25%") not in (0, "0", "0%")


@check
def caches(scene: Scene) -> Iterator[Finding]:
    """Where the model and compiled code are kept."""
    for engine in scene.engines:
        if engine.pod is None and not engine.place.path:
            continue  # a process: the host's own disk
        if engine.pod is not None and engine.pod.document.kind in ("Job", "CronJob", "Pod"):
            continue
        if not engine.env_complete:
            continue
        hub = hub_cache(engine)
        if engine.model and not engine.model_local and "://" not in engine.model:
            download = engine.command.text("download-dir")
            if hub is not None and not _kept(engine, download or hub):
                yield MODEL.at(
                    engine.place,
                    f"the model is kept in {download or hub}, which ends with the pod",
                    "mount a volume there, or point HF_HOME at one",
                )
        compiled = compile_cache(engine)
        eager = "enforce-eager" in engine.command.flags
        if compiled is not None and not eager and not _kept(engine, compiled):
            yield COMPILED.at(
                engine.place,
                f"compiled code is kept in {compiled}, which ends with the pod",
                "mount a volume there, or point VLLM_CACHE_ROOT at one",
            )


def _kept(engine: Engine, path: str) -> bool:
    mount = engine.mount_at(path)
    return mount is not None and mount.kind in ("kept", "readonly")


def home(engine: Engine) -> str | None:
    """The engine's home; None when it cannot be known."""
    if "HOME" in engine.env:
        return engine.env["HOME"].value
    return None if engine.unprivileged else "/root"


def hub_cache(engine: Engine) -> str | None:
    """Where models from the Hub are kept; None when it cannot be known."""
    return _first(engine, ("HF_HUB_CACHE", "HF_HOME"), "huggingface")


def compile_cache(engine: Engine) -> str | None:
    """Where compiled code is kept; None when it cannot be known."""
    return _first(engine, ("VLLM_CACHE_ROOT",), "vllm")


def _first(engine: Engine, names: tuple[str, ...], folder: str) -> str | None:
    for name in names:
        if name in engine.env:
            return engine.env[name].value
    if "XDG_CACHE_HOME" in engine.env:
        base = engine.env["XDG_CACHE_HOME"].value
        return f"{base}/{folder}" if base else None
    base = home(engine)
    return f"{base.rstrip('/')}/.cache/{folder}" if base else None
