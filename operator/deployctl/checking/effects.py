"""What a changed field does to what runs."""

from enum import StrEnum
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.checking.documents import Document
from deployctl.checking.pods import surges
from deployctl.checking.values import dig, whole
from deployctl.units import quantity

Field = tuple[str, ...]  # the path of a value, as words


class Effect(StrEnum):
    """What applying a change does, gravest first."""

    refused = "refused"  # the API server or the target will not take it
    restarts = "restarts"  # the service answers nothing while the engine restarts
    rolls = "rolls"  # pods are replaced while others serve
    in_place = "in_place"  # takes effect without touching the engine
    nothing = "nothing"  # does not affect what runs


class Verdict(NamedTuple):
    """An effect, and why."""

    effect: Effect
    why: str


NOTHING = Verdict(Effect.nothing, "does not affect what runs")
# Names of fields; the file says what each list is for.
_KNOWN: dict[str, list[str]] = assets.table("deploy", "checks", "effects.yaml")


def of_object(document: Document, path: Field, old: Any, new: Any) -> Verdict:
    """The effect of one changed field of a Kubernetes object; `document` is the new one."""
    if path[0] in ("metadata", "status"):
        return Verdict(Effect.nothing, "labels and annotations of the object itself")
    if document.kind in _KNOWN["workloads"]:
        return _workload(document, path)
    if document.kind in ("Job", "CronJob") and path[:2] == ("spec", "template"):
        if document.kind == "Job":
            return Verdict(Effect.refused, "a Job's pods cannot be changed: delete the Job first")
        return Verdict(Effect.in_place, "from its next run on")
    if document.kind == "PersistentVolumeClaim" and path[0] == "spec":
        return _claim(path, old, new)
    if document.kind == "Service" and path[:2] == ("spec", "clusterIP"):
        return Verdict(Effect.refused, "a Service keeps its address: delete it first")
    if document.kind in ("ConfigMap", "Secret"):
        return Verdict(Effect.in_place, "pods read it when they start")
    if document.kind == "Kustomization":
        return NOTHING
    return Verdict(Effect.in_place, "takes effect immediately; the engine is not touched")


def _workload(document: Document, path: Field) -> Verdict:
    setting = path[1] if path[0] == "spec" and len(path) > 1 else ""
    if setting == "template":
        deployment = document.kind == "Deployment"
        if deployment and dig(document.spec, "strategy", "type") == "Recreate":
            return Verdict(Effect.restarts, "strategy Recreate ends every pod first")
        one = whole(document.spec.get("replicas"), 1) <= 1
        if one and not (deployment and surges(document)):
            return Verdict(Effect.restarts, "the only pod ends before the new one starts")
        return Verdict(Effect.rolls, "pods are replaced a few at a time")
    if setting == "replicas":
        return Verdict(Effect.in_place, "pods are added or taken away")
    if setting in _KNOWN["next_update"]:
        return Verdict(Effect.nothing, "matters to the next update alone")
    if setting in _KNOWN["fixed"]:
        return Verdict(Effect.refused, "cannot be changed: delete the workload first")
    return Verdict(Effect.in_place, "the pods stay")


def _claim(path: Field, old: Any, new: Any) -> Verdict:
    if path[-1] == "storage":
        before, after = quantity(old), quantity(new)
        if before is not None and after is not None and after >= before:
            return Verdict(Effect.in_place, "grows where the storage class allows it")
        return Verdict(Effect.refused, "a volume cannot shrink")
    return Verdict(Effect.refused, "a claim cannot be changed: make another, or delete it first")


def of_compose(path: Field, *, digest_differs: bool | None) -> Verdict:
    """The effect of one changed field of a Compose file.

    `digest_differs` compares the digest labels of deployctl's own files, which cover the whole
    document; None where there are none.
    """
    if digest_differs:
        return Verdict(Effect.restarts, "the label io.deployctl.digest changes with it")
    if digest_differs is False:
        return NOTHING
    if path[0] != "services" or len(path) < 3:
        kinds = {"networks", "volumes", "configs", "secrets"}
        effect = Effect.in_place if path[0] in kinds else Effect.nothing
        return Verdict(effect, "Compose creates what is missing and changes nothing that exists")
    if path[2] in _KNOWN["compose_free"]:
        return Verdict(Effect.nothing, "Compose does not recreate a container for it")
    return Verdict(Effect.restarts, f"Compose recreates the container of {path[1]}")


def of_values(path: Field) -> Verdict:
    """The effect of one changed value of the chart, as far as the values tell."""
    if path[0] in _KNOWN["not_of_pods"]:
        return Verdict(Effect.in_place, "by the values' section; exact only with helm")
    if path[0] == "replicas":
        return Verdict(Effect.in_place, "pods are added or taken away")
    return Verdict(Effect.rolls, "by the values' section; exact only with helm")
