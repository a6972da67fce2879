"""Volumes: who may mount what at once, what is kept between starts, and where engines write."""

from collections.abc import Iterator

from deployctl.checking.engine import DeclaredEngine
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.pods import RUNS_TO_END, SCALED, surges
from deployctl.checking.values import dig, items, text

ACCESS = rule("pvc-access-mode")
ROLLING = rule("pvc-rolling-update")
MODEL = rule("model-not-kept")
COMPILED = rule("compile-cache-not-kept")
HOME = rule("home-unwritable")
CACHE = rule("cache-unwritable")
TMP = rule("tmp-unwritable")
_SHARED = ("ReadWriteMany", "ReadOnlyMany")
# Each is a folder the engine or one of its libraries writes to.
_CACHES = (
    "HF_HOME",
    "HF_HUB_CACHE",
    "VLLM_CACHE_ROOT",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
    "TRITON_CACHE_DIR",
    "TORCHINDUCTOR_CACHE_DIR",
    "FLASHINFER_WORKSPACE_BASE",
    "CUDA_CACHE_PATH",
    "OUTLINES_CACHE_DIR",
    "PROMETHEUS_MULTIPROC_DIR",
)


@check
def access_modes(manifests: Manifests) -> Iterator[Finding]:
    """Claims against the number of pods that mount them at once."""
    for pod in manifests.pods:
        if pod.document.kind not in SCALED and not pod.operated:
            continue
        for place, volume in pod.place.mappings("volumes"):
            name = text(dig(volume, "persistentVolumeClaim", "claimName"))
            claim = manifests.find("PersistentVolumeClaim", name, pod.namespace) if name else None
            modes = items(claim.spec.get("accessModes")) if claim else []
            if claim is None or not modes or any(mode in _SHARED for mode in modes):
                continue
            replicas = manifests.most_replicas(pod)
            if replicas > 1:
                yield ACCESS.at(
                    claim.place("spec", "accessModes"),
                    f"{text(modes[0])[:40]} cannot serve the {replicas} replicas of "
                    f"{pod.document.title}",
                    "use ReadWriteMany, a StatefulSet with a claim each, or one replica",
                )
            elif pod.document.kind == "Deployment" and surges(pod.document):
                yield ROLLING.at(
                    place,
                    f"an update starts a second pod before the first, which holds {name[:60]}",
                    "write strategy: {type: Recreate}, or rollingUpdate: {maxSurge: 0}, or use "
                    "ReadWriteMany",
                )


@check
def caches(manifests: Manifests) -> Iterator[Finding]:
    """Where the model and compiled code are kept."""
    for engine in manifests.engines:
        kind = engine.place.document.kind
        if not engine.in_container or not engine.env_complete or kind in (*RUNS_TO_END, "Pod"):
            continue
        if engine.model and not engine.model_local and "://" not in engine.model:
            hub = _folder(engine, ("HF_HUB_CACHE", "HF_HOME"), "huggingface")
            models = engine.command.text("download-dir") or hub or ""
            if hub is not None and not _kept(engine, models):
                yield MODEL.at(
                    engine.place,
                    f"the model is kept in {models}, which is lost with the pod",
                    "mount a volume there, or point HF_HOME at one",
                )
        compiled = _folder(engine, ("VLLM_CACHE_ROOT",), "vllm")
        eager = "enforce-eager" in engine.command.flags
        if compiled is not None and not eager and not _kept(engine, compiled):
            yield COMPILED.at(
                engine.place,
                f"compiled code is kept in {compiled}, which is lost with the pod",
                "mount a volume there, or point VLLM_CACHE_ROOT at one",
            )


def _kept(engine: DeclaredEngine, path: str) -> bool:
    mount = engine.mount_at(path)
    return mount is not None and mount.kind in ("kept", "readonly")


def _home(engine: DeclaredEngine) -> str | None:
    """The engine's home; None when it cannot be known."""
    if "HOME" in engine.env:
        return engine.env["HOME"].value
    return None if engine.unprivileged else "/root"


def _folder(engine: DeclaredEngine, variables: tuple[str, ...], name: str) -> str | None:
    """The folder that a variable gives, else the one of that name among the user's caches.

    None when it cannot be known.
    """
    for variable in variables:
        if variable in engine.env:
            return engine.env[variable].value
    if "XDG_CACHE_HOME" in engine.env:
        base = engine.env["XDG_CACHE_HOME"].value
        return f"{base}/{name}" if base else None
    home = _home(engine)
    return f"{home.rstrip('/')}/.cache/{name}" if home else None


@check
def folders(manifests: Manifests) -> Iterator[Finding]:
    """HOME, caches and /tmp of every engine in a container."""
    for engine in manifests.engines:
        if not engine.in_container or not (engine.unprivileged or engine.read_only_root):
            continue
        yield from _home_writable(engine)
        for name in _CACHES:
            variable = engine.env.get(name)
            path = variable.value if variable else None
            if variable and path and path.startswith("/") and not engine.writable(path):
                yield CACHE.at(
                    variable.place,
                    f"{name} is {path[:80]}, where the engine's user cannot write",
                    "mount a volume there",
                )
        if engine.read_only_root and not engine.writable("/tmp"):  # noqa: S108
            yield TMP.at(
                engine.place.child("volumeMounts" if engine.in_pod else "tmpfs"),
                "the root is read-only and /tmp is not mounted",
                "mount an emptyDir at /tmp" if engine.in_pod else "write tmpfs: [/tmp:exec]",
            )


def _home_writable(engine: DeclaredEngine) -> Iterator[Finding]:
    given, path = engine.env.get("HOME"), _home(engine)
    if path is None and (given is not None or not engine.env_complete):
        return  # something else says it
    if path is not None and engine.writable(path):
        return
    yield HOME.at(
        given.place if given else engine.place.child("env" if engine.in_pod else "environment"),
        f"HOME is {path[:80]}, where the engine's user cannot write"
        if path is not None
        else "HOME is not set: a user unknown to the image has / as its home",
        "set HOME to a folder on a writable volume, such as /tmp",
    )
