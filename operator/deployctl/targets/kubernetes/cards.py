"""Which cards the nodes of a cluster have and who has taken them, and whether there is room for one
more pod, as far as can be said before the scheduler is asked. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal

from deployctl.targets.driver import Room
from deployctl.targets.kubernetes.cluster import Document

PRODUCT = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")
_MOST = 6  # nodes that are named
_ENDED = {"Succeeded", "Failed"}
_CARDS = "nvidia.com/"
_KEEPS_OUT = {"NoSchedule", "NoExecute"}


def told(nodes: Sequence[Document], pods: Sequence[Document]) -> str:
    """For people: `node-1 has 4 NVIDIA-L4, of which llm/chat has taken 4`. Of MIG slices too."""
    taken: dict[str, Counter[str]] = defaultdict(Counter)
    for pod in pods:
        if pod.get("status", {}).get("phase") not in _ENDED:
            place = str(pod["spec"].get("nodeName", ""))
            name = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            taken[place][name] += wanted(pod)
    lines = []
    for node in nodes:
        cards = {
            resource: int(count)
            for resource, count in (node["status"].get("allocatable") or {}).items()
            if resource.startswith("nvidia.com/") and int(count)
        }
        if not cards:
            continue
        card = product(node) or "of unknown kind"
        name = node["metadata"]["name"]
        count = sum(cards.values())
        users = [f"{user} has {n}" for user, n in taken[name].items() if n]
        lines.append(f"{name} has {count} {card}" + (f" ({', '.join(users)})" if users else ""))
    if not lines:
        return "no node offers an NVIDIA card: is the device plugin installed?"
    more = f"; and {len(lines) - _MOST} nodes more" if len(lines) > _MOST else ""
    return "; ".join(lines[:_MOST]) + more


def product(node: Document) -> str | None:
    """The card of a node, as its labels say it."""
    labels = node["metadata"].get("labels") or {}
    return next((str(labels[key]) for key in PRODUCT if key in labels), None)


def wanted(pod: Document) -> int:
    """How many cards a pod has, or asks for."""
    return sum(
        int(count)
        for container in pod["spec"].get("containers") or ()
        for resource, count in ((container.get("resources") or {}).get("limits") or {}).items()
        if resource.startswith("nvidia.com/")
    )


def room(spec: Document, nodes: Sequence[Document], pods: Sequence[Document]) -> Room:
    """Room for a pod of this spec on any of the nodes."""
    if spec.get("resourceClaims"):
        return Room(False, "what is free of cards by claim is not told beforehand")
    need = _asked(spec)
    cards = {name: int(count) for name, count in need.items() if name.startswith(_CARDS)}
    words = " and ".join(f"{count} {name}" for name, count in cards.items())
    words = words or f"{float(need['cpu']):g} cores"
    fitting = [node for node in nodes if _takes(node, spec)]
    if not fitting:
        return Room(False, "no node has its labels, and taints that it tolerates")
    taken: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for pod in pods:
        if pod.get("status", {}).get("phase") not in _ENDED:
            for what, amount in _asked(pod["spec"]).items():
                taken[pod["spec"].get("nodeName", "")][what] += amount
    for node in fitting:
        name = node["metadata"]["name"]
        free = _free(node, taken[name])
        if all(free.get(what, Decimal(0)) >= amount for what, amount in need.items()):
            return Room(True, f"{name} has {words} free")
    return Room(False, f"no node has {words} free")


def _free(node: Document, taken: Mapping[str, Decimal]) -> dict[str, Decimal]:
    allocatable = node["status"].get("allocatable") or {}
    return {what: _quantity(has) - taken.get(what, 0) for what, has in allocatable.items()}


def _asked(spec: Document) -> dict[str, Decimal]:
    """What a pod asks for, by resource."""
    asked = defaultdict(Decimal, pods=Decimal(1))
    for container in spec.get("containers") or ():
        resources = container.get("resources") or {}
        wanted = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
        for what, amount in wanted.items():
            asked[what] += _quantity(amount)
    return asked


def _takes(node: Document, spec: Document) -> bool:
    """Whether a node is one that the scheduler may choose."""
    if node["spec"].get("unschedulable") or not _ready(node):
        return False
    labels = node["metadata"].get("labels") or {}
    selector = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return False
    terms = list(_terms(spec))
    if terms and not any(all(_matches(e, labels) for e in term) for term in terms):
        return False
    tolerations = spec.get("tolerations") or ()
    taints = node["spec"].get("taints") or ()
    return all(
        any(_tolerates(toleration, taint) for toleration in tolerations)
        for taint in taints
        if taint.get("effect") in _KEEPS_OUT
    )


def _ready(node: Document) -> bool:
    conditions = node["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _terms(spec: Document) -> Iterator[list[Document]]:
    affinity = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    ) or {}
    for term in affinity.get("nodeSelectorTerms") or ():
        yield term.get("matchExpressions") or []


def _matches(expression: Document, labels: Mapping[str, str]) -> bool:
    key, operator = expression["key"], expression["operator"]
    if operator in ("Exists", "DoesNotExist"):
        return (key in labels) is (operator == "Exists")
    inside = labels.get(key) in (expression.get("values") or ())
    return inside if operator == "In" else not inside if operator == "NotIn" else True


def _tolerates(toleration: Document, taint: Document) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    key = toleration.get("key")
    if toleration.get("operator") == "Exists":
        return not key or key == taint["key"]
    return bool(key == taint["key"] and toleration.get("value", "") == taint.get("value", ""))


def _quantity(text: str) -> Decimal:
    from kubernetes.utils.quantity import parse_quantity

    return Decimal(parse_quantity(text))
