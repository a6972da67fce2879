"""Names and labels that the API server refuses, though the schema lets them pass."""

import re
from collections.abc import Iterator

from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.scene import Scene, matches
from deployctl.checking.walk import dig, mapping, mappings, text

GROUP = "Objects"
NAME = rule(
    "name", Severity.error, "The API server refuses a name that is no DNS name.", group=GROUP
)
LABEL = rule(
    "label",
    Severity.error,
    "The API server refuses the object for a label or annotation it cannot store.",
    group=GROUP,
)
TWINS = rule(
    "duplicate-object",
    Severity.error,
    "Two objects of one name overwrite each other; the order of the files decides.",
    group=GROUP,
)
SELECTOR = rule(
    "selector",
    Severity.error,
    "A workload whose selector misses its own pods is refused.",
    group=GROUP,
)
_SUBDOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_SERVICE = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_PORT = re.compile(r"[a-z0-9]([a-z0-9]|-(?!-))*")
_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?)?")
_KEY = re.compile(r"([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?")
_LABELLED = ("Pod", "Namespace", "StatefulSet")  # whose names become host names
_PATH_NAMED = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")  # colons are fine


@check
def names(scene: Scene) -> Iterator[Finding]:
    """Names of objects, containers, volumes and ports."""
    for document in scene.objects:
        yield from _object(document)
    for pod in scene.pods:
        for container in pod.containers:
            yield from _dns_label(container.place.child("name"), container.name, "a container")
            for index, port in mappings(container.data.get("ports")):
                name = text(port.get("name"))
                wrong = not _PORT.fullmatch(name) or len(name) > 15 or not re.search("[a-z]", name)
                if name and wrong:
                    yield NAME.at(
                        container.place.child("ports", index, "name"),
                        f"{name[:80]!r} is no name of a port",
                        "15 characters at most: lower-case letters, digits and dashes",
                    )
        for index, volume in mappings(pod.spec.get("volumes")):
            place = pod.place.child("volumes", index, "name")
            yield from _dns_label(place, text(volume.get("name")), "a volume")


def _object(document: Document) -> Iterator[Finding]:
    name = document.metadata.get("name")
    place = document.place("metadata", "name")
    if name is None and "generateName" not in document.metadata:
        if document.group != "kustomize.config.k8s.io":
            yield NAME.at(document.place("metadata"), "the object has no name", "write name: …")
        return
    if not isinstance(name, str) or document.kind in _PATH_NAMED:
        return
    if document.kind == "Service":
        if not _SERVICE.fullmatch(name) or len(name) > 63:
            yield NAME.at(
                place,
                f"{name[:80]!r} is no name of a Service",
                "63 characters at most: lower-case letters, digits and dashes, a letter first",
            )
    elif document.kind in _LABELLED:
        yield from _dns_label(place, name, f"a {document.kind}")
    elif not _SUBDOMAIN.fullmatch(name) or len(name) > 253:
        yield NAME.at(
            place,
            f"{name[:80]!r} is no name of an object",
            "use lower-case letters, digits, dashes and dots",
        )


def _dns_label(place: Place, name: str, what: str) -> Iterator[Finding]:
    if name and (not _DNS_LABEL.fullmatch(name) or len(name) > 63):
        yield NAME.at(
            place,
            f"{name[:80]!r} is no name of {what}",
            "63 characters at most: lower-case letters, digits and dashes",
        )


@check
def labels(scene: Scene) -> Iterator[Finding]:
    """Labels, annotations and selectors."""
    places = [(d.place("metadata"), d.metadata) for d in scene.objects]
    places += [
        (p.template.child("metadata"), mapping(p.data.get("metadata")))
        for p in scene.pods
        if p.template.path
    ]
    for place, metadata in places:
        for key, value in mapping(metadata.get("labels")).items():
            yield from _label(place.child("labels", key), key, value)
        for key, value in mapping(metadata.get("annotations")).items():
            if not isinstance(value, str) and value is not None:
                yield LABEL.at(
                    place.child("annotations", key), f"{key} is not text", "quote the value"
                )
            elif not _key(key):
                yield LABEL.at(
                    place.child("annotations", key),
                    f"{key[:80]!r} is no name of an annotation",
                    "write prefix/name; 63 characters of letters, digits, - _ .",
                )


def _label(place: Place, key: str, value: object) -> Iterator[Finding]:
    if not _key(key):
        yield LABEL.at(
            place,
            f"{key[:80]!r} is no name of a label",
            "write prefix/name; 63 characters of letters, digits, - _ .",
        )
    if not isinstance(value, str):
        yield LABEL.at(place, f"the label {key[:80]} is not text", "quote the value")
    elif len(value) > 63 or not _VALUE.fullmatch(value):
        yield LABEL.at(
            place,
            f"the label {key[:80]} has a value that no label can hold",
            "63 characters at most of letters, digits, - _ .; a model id belongs in an annotation",
        )


def _key(key: str) -> bool:
    prefix, _, name = key.rpartition("/")
    return bool(_KEY.fullmatch(key)) and len(name) <= 63 and len(prefix) <= 253


@check
def twins(scene: Scene) -> Iterator[Finding]:
    """Objects that are there twice."""
    seen: dict[tuple[str, str, str, str], Document] = {}
    for document in scene.objects:
        if not document.metadata.get("name"):
            continue
        key = (document.group, document.kind, document.namespace, document.name)
        if key in seen:
            first = seen[key].place("metadata", "name")
            yield TWINS.at(
                document.place("metadata", "name"),
                f"there is another {document.title} in {first.document.file}:{first.line}",
                "give one of them another name or namespace, or check the sets one by one",
            )
        seen.setdefault(key, document)


@check
def selectors(scene: Scene) -> Iterator[Finding]:
    """Workloads whose selector does not find their own pods."""
    for pod in scene.pods:
        selector = pod.document.spec.get("selector")
        if pod.document.kind not in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet"):
            continue
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
