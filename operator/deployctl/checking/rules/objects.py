"""What the API server refuses though the schema lets it pass: names, labels, quantities, ports."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests, matches
from deployctl.checking.pods import SELECTING
from deployctl.checking.values import dig, mapping, number, text, whole
from deployctl.units import quantity

NAME = rule("name")
LABEL = rule("label")
DUPLICATE = rule("duplicate-object")
SELECTOR = rule("selector")
QUANTITY = rule("quantity")
PORT = rule("port-number")


class Form(NamedTuple):
    """What a kind of name may look like."""

    pattern: re.Pattern[str]
    longest: int
    fix: str


_SUBDOMAIN = Form(
    re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"),
    253,
    "use lower-case letters, digits, dashes and dots",
)
_DNS_LABEL = Form(
    re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?"),
    63,
    "63 characters at most: lower-case letters, digits and dashes",
)
_SERVICE = Form(
    re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?"),
    63,
    "63 characters at most: lower-case letters, digits and dashes, a letter first",
)
_PORT = Form(
    re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9]|-(?!-))*"),
    15,
    "15 characters at most: lower-case letters, digits and dashes",
)
_FORMS = {  # the others' are subdomains; names of some become host names
    "Service": _SERVICE,
    **dict.fromkeys(("Pod", "Namespace", "StatefulSet"), _DNS_LABEL),
}
_PATH_NAMED = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")  # colons are fine
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_FIX = "write for example 500m, 2 or 16Gi"
# A suffix people write and Kubernetes does not have, or that means something else.
_LOOKALIKE = {"GB": "G", "MB": "M", "KB": "k", "K": "Ki", "gb": "Gi", "g": "Gi", "mb": "Mi"}


@check
def names(manifests: Manifests) -> Iterator[Finding]:
    """Names of objects, containers, volumes and ports."""
    for document in manifests.objects:
        yield from _object(document)
    for container in manifests.containers:
        yield from _name(container.place.child("name"), "a container", _DNS_LABEL)
        for place, _ in container.place.mappings("ports"):
            yield from _name(place.child("name"), "a port", _PORT)
    for pod in manifests.pods:
        for place, _ in pod.place.mappings("volumes"):
            yield from _name(place.child("name"), "a volume", _DNS_LABEL)


def _object(document: Document) -> Iterator[Finding]:
    place = document.place("metadata", "name")
    if place.value in (None, "") and "generateName" not in document.metadata:
        if document.group != "kustomize.config.k8s.io":
            yield NAME.at(document.place("metadata"), "the object has no name", "write name: …")
    elif document.kind not in _PATH_NAMED:
        what = f"a {document.kind}" if document.kind in _FORMS else "an object"
        yield from _name(place, what, _FORMS.get(document.kind, _SUBDOMAIN))


def _name(place: Place, what: str, form: Form) -> Iterator[Finding]:
    name = text(place.value)
    if name and (not form.pattern.fullmatch(name) or len(name) > form.longest):
        yield NAME.at(place, f"{name[:80]!r} is not a valid name for {what}", form.fix)


@check
def labels(manifests: Manifests) -> Iterator[Finding]:
    """Labels and annotations of objects and of pod templates."""
    places = [document.place("metadata") for document in manifests.objects]
    places += [  # a pod may be the object itself, and a bare one has no metadata
        pod.template.child("metadata")
        for pod in manifests.pods
        if pod.template.path and not pod.bare
    ]
    for place in places:
        metadata = mapping(place.value)
        for key, value in mapping(metadata.get("labels")).items():
            yield from _label(place.child("labels", key), key, value)
        for key, value in mapping(metadata.get("annotations")).items():
            if not isinstance(value, str) and value is not None:
                yield LABEL.at(
                    place.child("annotations", key), f"{key} is not text", "quote the value"
                )
            else:
                yield from _key(place.child("annotations", key), key, "an annotation")


def _label(place: Place, key: str, value: object) -> Iterator[Finding]:
    yield from _key(place, key, "a label")
    if not isinstance(value, str):
        yield LABEL.at(place, f"the label {key[:80]} is not text", "quote the value")
    elif len(value) > 63 or not _VALUE.fullmatch(value):
        yield LABEL.at(
            place,
            f"the label {key[:80]} has a value that is not a valid label value",
            "63 characters at most of letters, digits, - _ .; a model id belongs in an annotation",
        )


def _key(place: Place, key: str, what: str) -> Iterator[Finding]:
    prefix, _, name = key.rpartition("/")
    if not _KEY.fullmatch(key) or len(name) > 63 or len(prefix) > 253:
        yield LABEL.at(
            place,
            f"{key[:80]!r} is not a valid name for {what}",
            "write prefix/name; 63 characters of letters, digits, - _ .",
        )


@check
def duplicates(manifests: Manifests) -> Iterator[Finding]:
    """Objects that are defined twice."""
    seen: dict[tuple[str, str, str, str], Document] = {}
    for document in manifests.objects:
        if not document.metadata.get("name"):
            continue
        key = (document.group, document.kind, document.namespace, document.name)
        if key in seen:
            first = seen[key].place("metadata", "name")
            yield DUPLICATE.at(
                document.place("metadata", "name"),
                f"there is another {document.title} in {first.document.file}:{first.line}",
                "give one of them another name or namespace, or check the sets one by one",
            )
        seen.setdefault(key, document)


@check
def selectors(manifests: Manifests) -> Iterator[Finding]:
    """Workloads whose selector does not find their own pods."""
    for pod in manifests.pods:
        if pod.document.kind not in SELECTING:
            continue
        selector = pod.document.spec.get("selector")
        place = pod.document.place("spec", "selector")
        labels = mapping(dig(selector, "matchLabels"))
        if not labels and not dig(selector, "matchExpressions"):
            yield SELECTOR.at(place, "the selector is empty", "name the labels of the pods")
        elif not matches(selector, pod.labels):
            wrong = [k for k, v in labels.items() if pod.labels.get(k) != v]
            yield SELECTOR.at(
                place,
                f"the selector does not find the pods of its own template: {', '.join(wrong)}",
                "give template.metadata.labels the labels of the selector",
            )


@check
def quantities(manifests: Manifests) -> Iterator[Finding]:
    """Requests, limits and sizes."""
    for container in manifests.containers:
        yield from _resources(container.place.child("resources"))
    for pod in manifests.pods:
        for place, _ in pod.place.mappings("volumes"):
            yield from _quantity(place.child("emptyDir", "sizeLimit"))
        for place, _ in pod.document.place("spec").mappings("volumeClaimTemplates"):
            yield from _resources(place.child("spec", "resources"))
    for document in manifests.of_kind("PersistentVolumeClaim"):
        yield from _resources(document.place("spec", "resources"))


def _resources(place: Place) -> Iterator[Finding]:
    limits, requests = (mapping(place.child(key).value) for key in ("limits", "requests"))
    for name in limits:
        yield from _quantity(place.child("limits", name))
    for name, amount in requests.items():
        yield from _quantity(place.child("requests", name))
        asked, limit = quantity(amount), quantity(limits.get(name))
        if asked is not None and limit is not None and asked > limit and "/" not in name:
            yield QUANTITY.at(
                place.child("requests", name),
                f"the request of {name} is above its limit",
                f"raise limits.{name}, or ask for less",
            )


def _quantity(place: Place) -> Iterator[Finding]:
    value = place.value
    if value is None:
        return
    amount = quantity(value)
    if amount is None:
        written = str(value)[:40]
        meant = _LOOKALIKE.get(written.lstrip("0123456789."))
        fix = f"did you mean {meant}?" if meant else _FIX
        yield QUANTITY.at(place, f"{written!r} is not a quantity", fix)
    elif amount < 0:
        yield QUANTITY.at(place, "a quantity cannot be negative", _FIX)
    elif str(place.path[-1]) in ("memory", "storage", "sizeLimit") and 0 < amount < 1024 * 1024:
        yield QUANTITY.at(
            place, f"{value!s:.40} is less than 1 MiB", "a unit is missing or wrong: m is milli"
        )


@check
def ports(manifests: Manifests) -> Iterator[Finding]:
    """Numbers of ports."""
    places = [
        place.child("containerPort")
        for container in manifests.containers
        for place, _ in container.place.mappings("ports")
    ]
    for service in manifests.of_kind("Service"):
        for place, _ in service.place("spec").mappings("ports"):
            places += [place.child("port"), place.child("targetPort")]
    for place in places:
        if number(place.value) is not None and not 1 <= whole(place.value, 0) <= 65535:
            yield PORT.at(
                place, f"{place.value} is not a valid port", "write a number from 1 to 65535"
            )
