"""Objects against the schemas of a Kubernetes release, strictly: no unknown fields.

The schemas come with the package kubernetes-validate. It is asked for its files alone: its own
function reports one error an object and reads two megabytes of JSON for each.
"""

import difflib
import json
import re
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from deployctl.checking import customschemas
from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.scene import Scene
from deployctl.checking.walk import text

GROUP = "Objects"
SCHEMA = rule(
    "schema",
    Severity.error,
    "The API server refuses the object, or drops the field and the setting with it.",
    group=GROUP,
)
API = rule(
    "api-unknown",
    Severity.error,
    "The cluster does not know this kind: applying the whole set stops there.",
    group=GROUP,
)
NO_SCHEMA = rule(
    "no-schema",
    Severity.note,
    "A custom resource whose fields deployctl does not know was not checked.",
    group=GROUP,
)
_BOUNDS = {
    "minimum": ("too small", "write at least"),
    "maximum": ("too large", "write at most"),
    "minItems": ("too short a list", "entries wanted:"),
    "minLength": ("too short", "characters wanted:"),
    "pattern": ("not of the form wanted", "write what matches"),
}
MAX_ERRORS = 20  # of one object
# Not objects of a cluster.
_OTHERS = ("kustomize.config.k8s.io",)


@check
def objects(scene: Scene) -> Iterator[Finding]:
    """Every object against its schema."""
    if not scene.objects:
        return
    version = schema_version(scene.options.kubernetes)
    seen: set[str] = set()
    for document in scene.objects:
        api = text(document.data.get("apiVersion"))
        if not api or not document.kind:
            missing = "kind" if api else "apiVersion"
            yield SCHEMA.at(document.place(), f"{missing} is missing", f"write {missing}: …")
            continue
        custom = customschemas.document(document.group, document.kind)
        if custom is not None:
            yield from _custom(document, version, custom)
            continue
        validator = _validator(version, api, document.kind)
        if validator is not None:
            yield from _errors(document.place(), document.data, validator)
        elif not document.custom:
            yield API.at(
                document.place("apiVersion"),
                f"Kubernetes {version} knows no {document.kind} in {api[:80]}",
                _instead(version, document.kind),
            )
        elif document.group not in _OTHERS:
            yield from _templates(scene, document, version)
            if api + document.kind in seen:
                continue
            seen.add(api + document.kind)
            yield NO_SCHEMA.at(
                document.place("kind"),
                f"{document.kind} of {document.group} is a custom resource without a schema here; "
                "pods in it are checked, its own fields are not",
                "kubectl apply --dry-run=server checks it against the cluster's own",
            )


def _custom(document: Document, version: str, known: dict[str, Any]) -> Iterator[Finding]:
    """A custom resource against its operator's definition."""
    release = text(document.data.get("apiVersion")).partition("/")[2]
    if release not in known["versions"]:
        yield API.at(
            document.place("apiVersion"),
            f"{known['source']} knows no {document.kind} in {document.group}/{release[:40]}",
            f"write apiVersion: {document.group}/{known['versions'][0]}",
        )
        return
    validator = _custom_validator(version, document.group, document.kind)
    yield from _errors(document.place(), document.data, validator, custom=True)


def _templates(scene: Scene, document: Document, version: str) -> Iterator[Finding]:
    """The pod templates of a custom resource whose own fields are not known."""
    for pod in scene.pods:
        if pod.document is document and not pod.bare:
            yield from _errors(pod.template, pod.data, _template_validator(version), custom=True)


@cache
def _template_validator(version: str) -> Any:
    return _made(version, customschemas.referring("io.k8s.api.core.v1.PodTemplateSpec"))


@cache
def _custom_validator(version: str, group: str, kind: str) -> Any:
    known = customschemas.document(group, kind)
    return _made(version, known["schema"] if known else {})


@cache
def _root() -> Path:
    found = find_spec("kubernetes_validate")  # not imported: its files are all that is wanted
    if found is None or found.origin is None:
        raise ModuleNotFoundError("kubernetes_validate is not installed")
    return Path(found.origin).parent / "kubernetes-json-schema"


@cache
def versions() -> tuple[str, ...]:
    """The Kubernetes releases whose schemas are held, oldest first: `1.25`, …"""
    found = [re.match(r"v(\d+)\.(\d+)", p.name) for p in _root().iterdir()]
    numbers = sorted({(int(m[1]), int(m[2])) for m in found if m})
    return tuple(f"{major}.{minor}" for major, minor in numbers)


def schema_version(wanted: str) -> str:
    """The release whose schemas serve for `wanted`: itself, or the nearest older one held."""
    if not wanted:
        return versions()[-1]
    number = tuple(int(n) for n in re.findall(r"\d+", wanted)[:2])
    older = [v for v in versions() if tuple(int(n) for n in v.split(".")) <= number]
    return older[-1] if older else versions()[0]


def _folder(version: str) -> Path:
    return _root() / f"v{version}.0-local-strict"


def _file(version: str, api: str, kind: str) -> Path:
    group, slash, release = api.partition("/")
    name = f"{group.split('.')[0]}-{release}" if slash else group
    plain = re.sub(r"[^a-z0-9-]", "", f"{kind.lower()}-{name}")
    return _folder(version) / f"{plain}.json"


def _instead(version: str, kind: str) -> str:
    found = sorted(_folder(version).glob(re.sub(r"[^a-z]", "", kind.lower()) + "-*.json"))
    for file in found:
        schema = json.loads(file.read_text(encoding="utf-8"))
        allowed = schema.get("properties", {}).get("apiVersion", {}).get("enum")
        if allowed:
            return f"write apiVersion: {allowed[0]}"
    return "check apiVersion and kind"


@cache
def _registry(version: str) -> Any:
    from referencing import Registry, Resource

    definitions = json.loads((_folder(version) / "_definitions.json").read_text(encoding="utf-8"))
    return Resource.from_contents(definitions) @ Registry()


@cache
def _validator(version: str, api: str, kind: str) -> Any:
    """The validator of a kind; None when the release has no such kind."""
    try:
        schema = json.loads(_file(version, api, kind).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if "apiVersion" not in schema.get("properties", {}):
        return None  # a part of an object, not an object
    return _made(version, schema)


def _made(version: str, schema: dict[str, Any]) -> Any:
    from jsonschema.validators import Draft202012Validator
    from referencing import Resource

    return Draft202012Validator(
        schema, registry=Resource.from_contents(schema) @ _registry(version)
    )


def _errors(place: Place, value: Any, validator: Any, *, custom: bool = False) -> Iterator[Finding]:
    for number, error in enumerate(validator.iter_errors(value)):
        if number >= MAX_ERRORS:
            return
        if error.instance is None and (custom or error.validator == "oneOf"):
            continue  # an empty value stands for an absent one; of custom ones the server drops it
        path = [p if isinstance(p, int) else str(p) for p in error.absolute_path]
        message, fix = _say(error)
        yield SCHEMA.at(place.child(*path), message, fix)


def _say(error: Any) -> tuple[str, str]:
    """An error in our words; the value itself stays out, for it may be a secret."""
    if error.validator == "additionalProperties":
        known = list(error.schema.get("properties", {}))
        extra = [k for k in error.instance if k not in known]
        near = difflib.get_close_matches(extra[0], known, n=1) if extra else []
        fix = f"did you mean {near[0]}?" if near else "remove it, or put it where it belongs"
        return f"there is no field {', '.join(k[:60] for k in extra[:5])} here", fix
    if error.validator == "required":
        missing = [k for k in error.validator_value if k not in error.instance]
        return f"{', '.join(missing)} is missing", f"write {missing[0]}: …" if missing else ""
    if error.validator in ("type", "oneOf"):
        wanted = error.validator_value if error.validator == "type" else ["string", "number"]
        names = [w for w in ([wanted] if isinstance(wanted, str) else wanted) if w != "null"]
        return f"this is {_kind(error.instance)}", f"write {_article(' or '.join(names))}"
    if error.validator == "enum":
        allowed = ", ".join(str(v) for v in error.validator_value if v is not None)
        return "this value is not one of those allowed", f"write one of: {allowed}"
    bound = _BOUNDS.get(error.validator)
    if bound is not None:
        return f"this is {bound[0]}", f"{bound[1]} {error.validator_value}"
    return f"does not satisfy the schema ({error.validator})", "see kubectl explain"


def _kind(value: Any) -> str:
    names = {str: "text", bool: "a boolean", int: "a number", float: "a number"}
    names |= {list: "a list", dict: "a mapping", type(None): "empty"}
    return names.get(type(value), "something else")


def _article(words: str) -> str:
    return f"an {words}" if words[:1] in "aeiou" else f"a {words}"
