"""Objects against the schemas of a Kubernetes release, strictly: no unknown fields."""

from collections.abc import Iterator
from typing import Any

from deployctl.checking import schemas
from deployctl.checking.documents import Document, Place
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.values import mapping, text
from deployctl.errors import did_you_mean

SCHEMA = rule("schema")
API = rule("api-unknown")
NO_SCHEMA = rule("no-schema")
_BOUNDS = {
    "minimum": ("too small", "write at least"),
    "maximum": ("too large", "write at most"),
    "minItems": ("a list that is too short", "required entries:"),
    "minLength": ("too short", "required characters:"),
    "pattern": ("not of the required form", "write what matches"),
}
MAX_ERRORS = 20  # of one object
# Not objects of a cluster.
_OTHERS = ("kustomize.config.k8s.io",)


@check
def objects(manifests: Manifests) -> Iterator[Finding]:
    """Every object against its schema."""
    version = schemas.nearest_release(manifests.options.kubernetes) if manifests.objects else ""
    seen: set[str] = set()
    for document in manifests.objects:
        api = text(document.data.get("apiVersion"))
        if not api or not document.kind:
            missing = "kind" if api else "apiVersion"
            yield SCHEMA.at(document.place(), f"{missing} is missing", f"write {missing}: …")
        elif (custom := schemas.custom_kind(document.group, document.kind)) is not None:
            yield from _custom(document, version, custom)
        elif (validator := schemas.builtin(version, api, document.kind)) is not None:
            yield from _errors(document.place(), document.data, validator)
        elif not document.custom:
            known = schemas.api_of(version, document.kind)
            yield API.at(
                document.place("apiVersion"),
                f"Kubernetes {version} knows no {document.kind} in {api[:80]}",
                f"write apiVersion: {known}" if known else "check apiVersion and kind",
            )
        elif document.group not in _OTHERS:
            yield from _templates(manifests, document, version)
            if api + document.kind not in seen:
                yield NO_SCHEMA.at(
                    document.place("kind"),
                    f"{document.kind} of {document.group} is a custom resource without a schema "
                    "here; pods in it are checked, its own fields are not",
                    "kubectl apply --dry-run=server checks it against the cluster's own",
                )
            seen.add(api + document.kind)


def _custom(document: Document, version: str, known: schemas.CustomKind) -> Iterator[Finding]:
    """A custom resource against its operator's definition."""
    release = text(document.data.get("apiVersion")).partition("/")[2]
    if release in known.versions:
        validator = schemas.custom(version, document.group, document.kind)
        yield from _errors(document.place(), document.data, validator, custom=True)
    else:
        yield API.at(
            document.place("apiVersion"),
            f"{known.source} knows no {document.kind} in {document.group}/{release[:40]}",
            f"write apiVersion: {document.group}/{known.versions[0]}",
        )


def _templates(manifests: Manifests, document: Document, version: str) -> Iterator[Finding]:
    """The pod templates of a custom resource whose own fields are not known."""
    for pod in manifests.pods:
        if pod.document is document and not pod.bare:
            yield from _errors(
                pod.template,
                mapping(pod.template.value),
                schemas.pod_template(version),
                custom=True,
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
        near = did_you_mean(extra[0], known) if extra else ""
        fix = near or "remove it, or put it where it belongs"
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
