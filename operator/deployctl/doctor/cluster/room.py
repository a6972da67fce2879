"""Which nodes would take a pod, and whether all pods find one: the scheduler's first questions,
asked beforehand. Pure.

What it leaves out (spread, affinity to other pods, priorities, volumes that stay with a node) can
only make a place less, so "no room" is certain, and "room" is likely.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployctl.checking.values import quantity
from deployctl.doctor.cluster.needs import Needs, PodNeed, asked

Document = dict[str, Any]
INSTANCE = "app.kubernetes.io/instance"
_NAMED = 4  # names in a line
_WORDS = {"cpu": "CPU", "memory": "memory", "pods": "room for a pod", "ephemeral-storage": "disk"}


@dataclass
class NodeRoom:
    """A node, and what is free on it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Document, ...] = ()
    ready: bool = True
    cordoned: bool = False
    free: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)

    def refusal(self, spec: Mapping[str, Any]) -> str | None:
        """Why a pod is not put here, however free the node is; None where it may be."""
        if not self.ready:
            return "not ready"
        if self.cordoned:
            return "cordoned"
        if not selected(self.labels, spec):
            return "other labels than the pod asks for"
        taint = untolerated(self.taints, spec.get("tolerations") or ())
        if taint is not None:
            return f"taint {taint['key']} is not tolerated"
        return None

    def lacks(self, requests: Mapping[str, float]) -> str | None:
        """What of a pod's requests is not free here; None where all is."""
        for name, amount in {**requests, "pods": 1.0}.items():
            if amount > self.free.get(name, 0.0) + 1e-9:
                word = _WORDS.get(name, name)
                more = amount > self.total.get(name, 0.0) + 1e-9
                return f"too little {word}" if more else f"too little {word} free"
        return None


def places(
    nodes: Sequence[Document], pods: Sequence[Document], needs: Needs, namespace: str
) -> list[NodeRoom]:
    """The nodes as they would be without the pods of these services, which make room."""
    taken: dict[str, dict[str, float]] = {}
    for pod in pods:
        labels = pod["metadata"].get("labels") or {}
        own = pod["metadata"]["namespace"] == namespace and labels.get(INSTANCE) in needs.services
        node = pod["spec"].get("nodeName")
        if node and not own:
            holds = taken.setdefault(node, {})
            for name, amount in {**asked(pod["spec"]), "pods": 1.0}.items():
                holds[name] = holds.get(name, 0.0) + amount
    return [_place(node, taken.get(node["metadata"]["name"], {})) for node in nodes]


def _place(node: Document, taken: Mapping[str, float]) -> NodeRoom:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    total = {n: quantity(v) or 0.0 for n, v in (status.get("allocatable") or {}).items()}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return NodeRoom(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        taints=tuple(t for t in spec.get("taints") or () if t.get("effect") != "PreferNoSchedule"),
        ready=conditions.get("Ready") == "True",
        cordoned=bool(spec.get("unschedulable")),
        free={name: amount - taken.get(name, 0.0) for name, amount in total.items()},
        total=total,
    )


def untolerated(taints: Sequence[Document], tolerations: Sequence[Document]) -> Document | None:
    """The first taint that keeps a pod away."""
    return next((t for t in taints if not any(_tolerates(x, t) for x in tolerations)), None)


def _tolerates(toleration: Document, taint: Document) -> bool:
    if toleration.get("effect") not in (None, "", taint.get("effect")):
        return False
    key, exists = toleration.get("key"), bool(toleration.get("operator", "Equal") == "Exists")
    if not key:
        return exists
    same: bool = exists or (toleration.get("value") or "") == (taint.get("value") or "")
    return same and bool(key == taint["key"])


def selected(labels: Mapping[str, str], spec: Mapping[str, Any]) -> bool:
    """Whether a node has the labels that a pod asks for."""
    if any(labels.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(
        all(_holds(labels, each) for each in term.get("matchExpressions") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def _holds(labels: Mapping[str, str], expression: Document) -> bool:
    value, values = labels.get(expression["key"]), expression.get("values") or ()
    operator = expression["operator"]
    if operator in ("Gt", "Lt"):
        try:
            number, limit = int(value or ""), int(next(iter(values), ""))
        except ValueError:
            return False
        return number > limit if operator == "Gt" else number < limit
    has = value is not None
    found = {"In": value in values, "NotIn": value not in values, "Exists": has}
    return bool(found.get(operator, not has))


@dataclass(frozen=True)
class Homeless:
    """Pods of one kind that found no node, and what the nodes say."""

    pod: PodNeed
    count: int
    reasons: Counter[str]

    def told(self) -> str:
        """`chat: 1 of 2 pods finds no node: 3 nodes: taint … is not tolerated; …`."""
        said = "; ".join(
            f"{n} node{'s' if n > 1 else ''}: {reason}" for reason, n in self.reasons.most_common()
        )
        several = (
            f"{self.count} of {self.pod.replicas} pods find" if self.pod.replicas > 1 else "finds"
        )
        return f"{self.pod.name}: {several} no node ({said or 'there are no nodes'})"


def put(nodes: Sequence[NodeRoom], pods: Sequence[PodNeed]) -> list[Homeless]:
    """Puts every pod onto the first node that takes it, those with most cards first; changes what
    is free there. Returns those that find none.
    """
    homeless = []
    for pod in sorted(pods, key=lambda p: (-p.gpus, -p.requests.get("memory", 0.0))):
        left = pod.replicas
        for place in nodes:
            while left and place.refusal(pod.spec) is None and place.lacks(pod.requests) is None:
                for name, amount in {**pod.requests, "pods": 1.0}.items():
                    place.free[name] = place.free.get(name, 0.0) - amount
                left -= 1
        if left:
            said = (place.refusal(pod.spec) or place.lacks(pod.requests) for place in nodes)
            homeless.append(Homeless(pod, left, Counter(s for s in said if s)))
    return homeless


def some(names: Sequence[str]) -> str:
    """The first names, each once, and how many there are more."""
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - _NAMED} more" if len(each) > _NAMED else ""
    return ", ".join(each[:_NAMED]) + more
