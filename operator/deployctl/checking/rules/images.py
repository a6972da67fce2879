"""Images that are the same tomorrow, and of a release that can be checked."""

from collections.abc import Iterator

from deployctl.checking.compose import literal
from deployctl.checking.documents import Place
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.image import image
from deployctl.checking.scene import Scene
from deployctl.checking.walk import text
from deployctl.engines.vllm import flags
from deployctl.engines.vllm.versions import key

GROUP = "Images"
PINNED = rule(
    "image-not-pinned",
    Severity.error,
    "A tag that moves brings another release at the next restart: flags and metrics change.",
    group=GROUP,
)
VERSION = rule(
    "engine-version-unknown",
    Severity.note,
    "Without the release, flags and metric names cannot be checked.",
    group=GROUP,
)
NEWER = rule(
    "engine-version-newer",
    Severity.note,
    "A release newer than deployctl's lists may have flags that are not known here.",
    group=GROUP,
)


@check
def pinned(scene: Scene) -> Iterator[Finding]:
    """Tags of all images."""
    found: list[tuple[Place, str]] = []
    for pod in scene.pods:
        for container in pod.containers:
            found.append((container.place.child("image"), text(container.data.get("image"))))
    for project in scene.projects:
        for service in project.services:
            if "build" not in service.data:
                given = literal(service.data.get("image"))
                found.append((service.place.child("image"), given))
    for place, reference in found:
        parts = image(reference)
        if reference and not parts.pinned and not parts.unknown:
            what = f"the tag {parts.tag} moves" if parts.tag else "no tag means latest"
            yield PINNED.at(
                place,
                f"{reference[:120]}: {what}",
                "name a release, such as vllm/vllm-openai:v0.32.0, or a digest",
            )


@check
def versions(scene: Scene) -> Iterator[Finding]:
    """Engines whose release is not to be told, or newer than what is known."""
    for engine in scene.engines:
        place = engine.image_place or engine.place
        if engine.version is None:
            yield VERSION.at(
                place,
                "the image does not tell which vLLM is inside; flags and metrics go unchecked",
                "say it with --engine-version 0.32.0",
            )
        elif key(engine.version) > key(flags.versions()[-1]):
            yield NEWER.at(
                place,
                f"vLLM {engine.version} is newer than {flags.versions()[-1]}, the newest known",
                "unknown flags are let pass; a newer deployctl knows them",
            )
