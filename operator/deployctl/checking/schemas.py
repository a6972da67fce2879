"""The schemas of Kubernetes' objects and of custom resources, as validators.

Kubernetes' own come with the package kubernetes-validate. It is asked for its files alone: its own
function reports one error an object and reads two megabytes of JSON for each. Those of custom
resources that a service may come with are data in deploy/kubernetes/schemas, which scripts/crds.py
writes from the operators' own definitions. There the metadata of an object is held against
Kubernetes' definition of it, by reference.
"""

import json
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from deployctl import assets

# The release of a dialect that the custom schemas are written in, and the place that their
# references to Kubernetes' definitions start from.
_CUSTOM = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$id": "https://kubernetes.io/api/custom",
}
_POD_TEMPLATE = "/api/_definitions.json#/$defs/io.k8s.api.core.v1.PodTemplateSpec"
_NAME = re.compile(r"[a-z0-9.-]{1,100}_[a-z0-9]{1,100}")  # of a file


class CustomKind(NamedTuple):
    """What an operator defines of a custom resource."""

    source: str  # the operator and its release
    versions: tuple[str, ...]  # of the resource's group, the best first
    schema: dict[str, Any]


@cache
def custom_kind(group: str, kind: str) -> CustomKind | None:
    """What is known of a custom resource; None when nothing is."""
    name = f"{group}_{kind}".lower()
    if not _NAME.fullmatch(name):
        return None
    try:
        data = assets.table("deploy", "kubernetes", "schemas", f"{name}.json")
    except FileNotFoundError:
        return None
    return CustomKind(data["source"], tuple(data["versions"]), data["schema"] | _CUSTOM)


@cache
def custom(version: str, group: str, kind: str) -> Any:
    """The validator of a custom resource that is known; metadata is of a Kubernetes release."""
    known = custom_kind(group, kind)
    return _validator(version, known.schema if known else {})


@cache
def pod_template(version: str) -> Any:
    """The validator of a pod template."""
    return _validator(version, {**_CUSTOM, "$ref": _POD_TEMPLATE})


@cache
def builtin(version: str, api: str, kind: str) -> Any:
    """The validator of a kind of Kubernetes; None when the release has no such kind."""
    group, slash, release = api.partition("/")
    name = f"{group.split('.')[0]}-{release}" if slash else group
    plain = re.sub(r"[^a-z0-9-]", "", f"{kind.lower()}-{name}")
    try:
        schema = json.loads((_folder(version) / f"{plain}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "apiVersion" not in schema.get("properties", {}):
        return None  # a part of an object, not an object
    return _validator(version, schema)


def api_of(version: str, kind: str) -> str | None:
    """The `apiVersion` under which a release has a kind."""
    for file in sorted(_folder(version).glob(re.sub(r"[^a-z]", "", kind.lower()) + "-*.json")):
        schema = json.loads(file.read_text(encoding="utf-8"))
        allowed = schema.get("properties", {}).get("apiVersion", {}).get("enum")
        if allowed:
            return str(allowed[0])
    return None


@cache
def releases() -> tuple[str, ...]:
    """The Kubernetes releases whose schemas are held, oldest first: `1.25`, …"""
    names = [re.match(r"v(\d+)\.(\d+)", folder.name) for folder in _root().iterdir()]
    numbers = sorted({(int(name[1]), int(name[2])) for name in names if name})
    return tuple(f"{major}.{minor}" for major, minor in numbers)


def nearest_release(wanted: str) -> str:
    """The release whose schemas serve for `wanted`: itself, or the nearest older one held."""
    if not wanted:
        return releases()[-1]
    number = tuple(int(n) for n in re.findall(r"\d{1,9}", wanted)[:2])
    older = [r for r in releases() if tuple(int(n) for n in r.split(".")) <= number]
    return older[-1] if older else releases()[0]


@cache
def _root() -> Path:
    package = find_spec("kubernetes_validate")  # not imported: its files are all that is wanted
    if package is None or package.origin is None:
        raise ModuleNotFoundError("kubernetes_validate is not installed")
    return Path(package.origin).parent / "kubernetes-json-schema"


def _folder(version: str) -> Path:
    return _root() / f"v{version}.0-local-strict"


@cache
def _registry(version: str) -> Any:
    from referencing import Registry, Resource

    definitions = json.loads((_folder(version) / "_definitions.json").read_text(encoding="utf-8"))
    return Resource.from_contents(definitions) @ Registry()


def _validator(version: str, schema: dict[str, Any]) -> Any:
    from jsonschema.validators import Draft202012Validator
    from referencing import Resource

    return Draft202012Validator(
        schema, registry=Resource.from_contents(schema) @ _registry(version)
    )
