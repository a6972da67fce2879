"""Values that the schema takes for any text: quantities, probes' numbers, ports."""

from collections.abc import Iterator
from typing import Any

from deployctl.checking.documents import Place
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.quantity import quantity
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, mapping, mappings, number, whole

GROUP = "Objects"
QUANTITY = rule(
    "quantity",
    Severity.error,
    "The API server refuses a quantity it cannot read, and a request above its limit.",
    group=GROUP,
)
PORT = rule("port-number", Severity.error, "A port outside 1 to 65535 is refused.", group=GROUP)
_FIX = "write for example 500m, 2 or 16Gi"
# A suffix people write and Kubernetes does not have, or that means something else.
_LOOKALIKE = {"GB": "G", "MB": "M", "KB": "k", "K": "Ki", "gb": "Gi", "g": "Gi", "mb": "Mi"}


@check
def quantities(scene: Scene) -> Iterator[Finding]:
    """Requests, limits and sizes."""
    for pod in scene.pods:
        for container in pod.containers:
            resources = mapping(container.data.get("resources"))
            yield from _resources(container.place.child("resources"), resources)
        for index, volume in mappings(pod.spec.get("volumes")):
            for path in (("emptyDir", "sizeLimit"),):
                yield from _one(pod.place.child("volumes", index, *path), dig(volume, *path))
        for index, claim in mappings(pod.document.spec.get("volumeClaimTemplates")):
            place = pod.document.place("spec", "volumeClaimTemplates", index, "spec", "resources")
            yield from _resources(place, mapping(dig(claim, "spec", "resources")))
    for document in scene.of_kind("PersistentVolumeClaim"):
        place = document.place("spec", "resources")
        yield from _resources(place, mapping(document.spec.get("resources")))


def _resources(place: Place, resources: dict[str, Any]) -> Iterator[Finding]:
    limits, requests = mapping(resources.get("limits")), mapping(resources.get("requests"))
    for key, amounts in (("limits", limits), ("requests", requests)):
        for name, amount in amounts.items():
            yield from _one(place.child(key, name), amount)
    for name, amount in requests.items():
        asked, limit = quantity(amount), quantity(limits.get(name))
        if asked is not None and limit is not None and asked > limit and "/" not in name:
            yield QUANTITY.at(
                place.child("requests", name),
                f"the request of {name} is above its limit",
                f"raise limits.{name}, or ask for less",
            )


def _one(place: Place, value: Any) -> Iterator[Finding]:
    if value is None:
        return
    amount = quantity(value)
    if amount is None:
        written = str(value)[:40]
        suffix = written.lstrip("0123456789.")
        fix = f"did you mean {suffix and _LOOKALIKE.get(suffix)}?" if suffix in _LOOKALIKE else _FIX
        yield QUANTITY.at(place, f"{written!r} is no quantity", fix)
    elif amount < 0:
        yield QUANTITY.at(place, "a quantity cannot be negative", _FIX)
    elif str(place.path[-1]) in ("memory", "storage", "sizeLimit") and 0 < amount < 1024 * 1024:
        yield QUANTITY.at(
            place, f"{value!s:.40} is less than 1 MiB", "a unit is missing or wrong: m is milli"
        )


@check
def ports(scene: Scene) -> Iterator[Finding]:
    """Numbers of ports, and the other numbers that must be positive."""
    found: list[tuple[Place, Any]] = []
    for pod in scene.pods:
        for container in pod.containers:
            for index, port in mappings(container.data.get("ports")):
                place = container.place.child("ports", index, "containerPort")
                found.append((place, port.get("containerPort")))
    for service in scene.of_kind("Service"):
        for index, port in mappings(service.spec.get("ports")):
            place = service.place("spec", "ports", index)
            found += [(place.child(key), port.get(key)) for key in ("port", "targetPort")]
    for place, value in found:
        if number(value) is not None and not 1 <= whole(value, 0) <= 65535:
            yield PORT.at(place, f"{value} is no port", "write a number from 1 to 65535")
