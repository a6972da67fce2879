"""Where an engine without root, or with a read-only root, writes all the same."""

from collections.abc import Iterator

from deployctl.checking.engine import Engine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.rules.storage import home
from deployctl.checking.scene import Scene

GROUP = "Storage"
HOME = rule(
    "home-unwritable",
    Severity.error,
    "Libraries write below HOME (/.config, /.triton, /.cache): without a writable one they fail.",
    group=GROUP,
)
CACHE = rule(
    "cache-unwritable",
    Severity.error,
    "A cache that the engine's user cannot write to fails the start, or is rebuilt each time.",
    group=GROUP,
)
TMP = rule(
    "tmp-unwritable",
    Severity.error,
    "With a read-only root, compilers and sockets need a /tmp of their own.",
    group=GROUP,
)
# Each is a folder the engine or one of its libraries writes to.
CACHES = (
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
def folders(scene: Scene) -> Iterator[Finding]:
    """HOME, caches and /tmp of every engine in a container."""
    for engine in scene.engines:
        if not engine.place.path or not (engine.unprivileged or engine.read_only_root):
            continue
        yield from _home(engine)
        for name in CACHES:
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
                engine.place.child("volumeMounts" if engine.pod else "tmpfs"),
                "the root is read-only and /tmp is not mounted",
                "mount an emptyDir at /tmp" if engine.pod else "write tmpfs: [/tmp:exec]",
            )


def _home(engine: Engine) -> Iterator[Finding]:
    given = engine.env.get("HOME")
    place = given.place if given else engine.place.child("env" if engine.pod else "environment")
    path = home(engine)
    if given is not None and path is None:
        return  # something else says it
    if path is None:
        if not engine.env_complete:
            return
        yield HOME.at(
            place,
            "HOME is not set: a user that the image does not know has / for a home",
            "set HOME to a folder on a writable volume, such as /tmp",
        )
    elif not engine.writable(path):
        yield HOME.at(
            place,
            f"HOME is {path[:80]}, where the engine's user cannot write",
            "set HOME to a folder on a writable volume, such as /tmp",
        )
