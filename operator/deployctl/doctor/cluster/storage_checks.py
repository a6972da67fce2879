"""Storage classes, and whether the claims that services make or mount would be given."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from deployctl import assets
from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document
from deployctl.doctor.cluster.needs import PodNeed, named_claims
from deployctl.doctor.cluster.telling import LOOKS, unknown, values
from deployctl.doctor.facts import Check, Topic
from deployctl.units import quantity, size

_DEFAULT = "storageclass.kubernetes.io/is-default-class"
UNNAMED = "model-" + 16 * "0"  # the claim of a folder, whose name is that of its content
_MANY = {"ReadWriteMany", "ReadOnlyMany"}
Writers = Literal["once", "many", "static"]


def storage_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """The classes in all, then each claim."""
    if facts.storage_classes is None:
        yield unknown(Topic("storage-classes", "Storage classes"), facts, "storage_classes")
    else:
        yield _classes(facts.storage_classes)
    for claim in question.needs.of_kind("PersistentVolumeClaim"):
        yield _made(claim, facts, planned=question.needs.planned)
    for name, pod in named_claims(question.needs).items():
        yield _mounted(name, pod, facts, question.weights.get(pod.service, 0.0))


def writers(provisioner: str) -> Writers | None:
    """How many nodes may write a volume of it, as far as is known."""
    table: Mapping[str, Any] = assets.table("deploy", "kubernetes", "storage.yaml")
    for count in ("once", "many", "static"):
        if any(provisioner == name or provisioner.endswith(f".{name}") for name in table[count]):
            return count
    return None


def _classes(classes: list[Document]) -> Check:
    it = Topic("storage-classes", "Storage classes")
    if not classes:
        yaml = values({"cache": {"enabled": False}})
        fix = "install a provisioner; or keep no cache, so that each start downloads: --values"
        return it.fail("none, so no claim gets a volume", fix, yaml)
    words = {"once": "one node writes", "many": "many nodes write", "static": "made by hand"}
    told = []
    for each in classes:
        count = writers(each["provisioner"])
        parts = [each["provisioner"], words[count] if count else "access modes unknown"]
        parts.append(each.get("volumeBindingMode", "Immediate"))
        default = " (default)" if _is_default(each) else ""
        told.append(f"{each['metadata']['name']}{default}: {', '.join(parts)}")
    defaults = [c["metadata"]["name"] for c in classes if _is_default(c)]
    if not defaults:
        patch = f'{{"metadata":{{"annotations":{{"{_DEFAULT}":"true"}}}}}}'
        name = classes[0]["metadata"]["name"]
        fix = f"--values with cache.storageClass; or kubectl patch storageclass {name} -p '{patch}'"
        return it.warn(f"no default; {'; '.join(told)}", fix)
    if len(defaults) > 1:
        fix = "Kubernetes takes the newest; name one with cache.storageClass"
        return it.warn(f"several defaults ({', '.join(defaults)}); {'; '.join(told)}", fix)
    return it.good("; ".join(told))


def _is_default(each: Document) -> bool:
    return (each["metadata"].get("annotations") or {}).get(_DEFAULT) == "true"


def _made(claim: Document, facts: ClusterFacts, *, planned: bool) -> Check:
    """A claim that the chart makes."""
    name, spec = claim["metadata"]["name"], claim["spec"]
    modes, wanted = spec["accessModes"], spec["resources"]["requests"]["storage"]
    title = "Claim for the folder" if name.startswith(UNNAMED) else f"Claim {name}"
    it = Topic("claim", title if planned else "A usual claim")
    text = f"{wanted}, {', '.join(modes)}"
    there = next((c for c in facts.claims or () if c["metadata"]["name"] == name), None)
    if planned and there is not None:
        return _kept(it, claim, there)
    if facts.storage_classes is None:
        return it.warn(f"{text}: unknown whether it is given", LOOKS)
    chosen = _class(spec.get("storageClassName"), facts.storage_classes)
    if chosen is None:
        named = spec.get("storageClassName")
        what = f"there is no storage class {named}" if named else "there is no default class"
        known = ", ".join(c["metadata"]["name"] for c in facts.storage_classes) or "none"
        return it.fail(f"{text}: {what}; there are: {known}", "cache.storageClass in --values")
    return _given(it, text, modes, chosen, shared=_shared(chosen, facts))


def _class(name: str | None, classes: list[Document]) -> Document | None:
    if name:
        return next((c for c in classes if c["metadata"]["name"] == name), None)
    defaults = [c for c in classes if _is_default(c)]
    return max(defaults, key=lambda c: str(c["metadata"].get("creationTimestamp")), default=None)


def _shared(chosen: Document, facts: ClusterFacts) -> bool:
    """Whether a volume of a class is there that many nodes write."""
    name = chosen["metadata"]["name"]
    return any(
        volume["spec"].get("storageClassName") == name
        and "ReadWriteMany" in (volume["spec"].get("accessModes") or ())
        for volume in facts.volumes or ()
    )


def _given(it: Topic, text: str, modes: list[str], chosen: Document, *, shared: bool) -> Check:
    """Whether a class gives volumes of these access modes."""
    name, provisioner = chosen["metadata"]["name"], chosen["provisioner"]
    text, count = f"{text} of {name}", writers(provisioner)
    fix = "one replica, a class that many nodes write (cache.storageClass), or cache.enabled: false"
    if count == "static":
        return it.warn(f"{text}: no volume is made by itself", "make a PersistentVolume by hand")
    if _MANY & set(modes) and count == "once":
        return it.fail(f"{text}: {provisioner} gives volumes that one node writes", fix)
    if _MANY & set(modes) and count is None and shared:
        return it.good(f"{text}, as others have")
    if _MANY & set(modes) and count is None:
        what = f"{text}: unknown whether {provisioner} gives volumes that many nodes write"
        return it.warn(what, f"its documentation says; if not: {fix}")
    if chosen.get("volumeBindingMode", "Immediate") == "Immediate" and count == "once":
        what = (
            f"{text}: the volume is made before the pod has a node, perhaps in a zone without one"
        )
        return it.warn(what, "a class with volumeBindingMode: WaitForFirstConsumer")
    return it.good(text)


def _kept(it: Topic, claim: Document, there: Document) -> Check:
    """A claim that a former release left."""
    status, wanted = there.get("status") or {}, claim["spec"]["resources"]["requests"]["storage"]
    has = (status.get("capacity") or {}).get("storage") or there["spec"]["resources"]["requests"][
        "storage"
    ]
    text = f"there already, {status.get('phase', 'of unknown state')}, {has}"
    if status.get("phase") == "Lost":
        return it.fail(text, f"its volume is gone: kubectl delete pvc {claim['metadata']['name']}")
    if set(claim["spec"]["accessModes"]) - set(there["spec"]["accessModes"]):
        was, now = (", ".join(each["spec"]["accessModes"]) for each in (there, claim))
        return it.fail(
            f"{text}, {was}; {now} is asked for, and the modes of a claim cannot be changed",
            "cache.accessMode as it was, or deployctl down --volumes and up: it downloads again",
        )
    if (quantity(has) or 0) < (quantity(wanted) or 0):
        return it.warn(
            f"{text}; {wanted} is asked for", "it grows if its class has allowVolumeExpansion"
        )
    return it.good(text)


def _mounted(name: str, pod: PodNeed, facts: ClusterFacts, weights: float) -> Check:
    """A claim of the user's own."""
    it = Topic("claim", f"Claim {name}")
    if facts.claims is None:
        return unknown(it, facts, "claims", "see Permissions")
    found = next((c for c in facts.claims if c["metadata"]["name"] == name), None)
    if found is None:
        return it.fail(
            f"{pod.name} mounts it, and it is not there", f"make it in {facts.namespace}"
        )
    phase = (found.get("status") or {}).get("phase")
    if phase == "Bound":
        capacity = (found["status"].get("capacity") or {}).get("storage", "size unknown")
        text = f"bound, {capacity}, {', '.join(found['spec']['accessModes'])}"
        room = quantity(capacity)
        if room is not None and room < weights:
            return it.fail(f"{text}: the weights are {size(weights)}", "a larger claim")
        if pod.replicas > 1 and not _MANY & set(found["spec"]["accessModes"]):
            fix = "a claim that many nodes have, fewer replicas, or a model's image"
            return it.warn(f"{text}: all {pod.replicas} replicas must run on its node", fix)
        return it.good(text)
    chosen = _class(found["spec"].get("storageClassName"), facts.storage_classes or [])
    waits = (chosen or {}).get("volumeBindingMode") == "WaitForFirstConsumer"
    if phase == "Pending" and waits:
        return it.good("waits for its first pod")
    return it.fail(f"{phase or 'of unknown state'}", f"kubectl describe pvc {name} says why")
