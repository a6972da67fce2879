"""Nodes, what is free on them, and whether one takes a pod: the scheduler's first questions, asked
beforehand. Pure.

What it leaves out (spread, affinity to other pods, priorities, volumes that stay with a node) can
only make a place less, so "no room" is certain, and "room" is likely.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from deployctl.targets.driver import Room
from deployctl.targets.kubernetes.cluster import Document
from deployctl.units import quantity

NVIDIA = "nvidia.com/"  # what device plugins call cards begins with it; MIG slices too
_ENDED = {"Succeeded", "Failed"}
_MOST = 6  # nodes that are named
_WORDS = {"cpu": "CPU", "memory": "memory", "pods": "room for a pod", "ephemeral-storage": "disk"}


@dataclass
class NodeRoom:
    """A node, and what is free on it."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Document, ...] = ()  # that keep pods away
    ready: bool = True
    cordoned: bool = False
    free: dict[str, float] = field(default_factory=dict)
    total: dict[str, float] = field(default_factory=dict)

    def refusal(self, spec: Mapping[str, Any]) -> str | None:
        """Why a pod is not put here; None where it may be."""
        if not self.ready:
            return "not ready"
        if self.cordoned:
            return "cordoned"
        if not selected(self.labels, spec):
            return "other labels than the pod asks for"
        taint = untolerated(self.taints, spec.get("tolerations") or ())
        if taint is not None:
            return f"taint {taint['key']} is not tolerated"
        for name, amount in _taken_by(spec).items():
            if amount > self.free.get(name, 0.0) + 1e-9:
                more = amount > self.total.get(name, 0.0) + 1e-9
                return f"too little {_WORDS.get(name, name)}{'' if more else ' free'}"
        return None

    def take(self, spec: Mapping[str, Any]) -> None:
        """Puts a pod here: what it asks for is no longer free."""
        for name, amount in _taken_by(spec).items():
            self.free[name] = self.free.get(name, 0.0) - amount


def rooms(nodes: Iterable[Document], pods: Iterable[Document]) -> list[NodeRoom]:
    """The nodes, and what these pods leave of them; of pods that have ended nothing is taken."""
    there = {node["metadata"]["name"]: _empty(node) for node in nodes}
    for pod in live(pods):
        place = there.get(str(pod["spec"].get("nodeName")))
        if place is not None:
            place.take(pod["spec"])
    return list(there.values())


def _empty(node: Document) -> NodeRoom:
    spec, status = node.get("spec") or {}, node.get("status") or {}
    total = {n: quantity(v) or 0.0 for n, v in (status.get("allocatable") or {}).items()}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or ()}
    return NodeRoom(
        name=node["metadata"]["name"],
        labels=node["metadata"].get("labels") or {},
        taints=tuple(t for t in spec.get("taints") or () if t.get("effect") != "PreferNoSchedule"),
        ready=conditions.get("Ready") == "True",
        cordoned=bool(spec.get("unschedulable")),
        free=dict(total),
        total=total,
    )


def room(spec: Mapping[str, Any], nodes: Sequence[NodeRoom]) -> Room:
    """Whether any of these nodes has room for one pod more."""
    for node in nodes:
        if node.refusal(spec) is None:
            return Room(True, f"{node.name} has {_wish(spec)} free")
    return Room(False, f"no node has room for a pod more ({refusals(spec, nodes)})")


def _wish(spec: Mapping[str, Any]) -> str:
    """The scarcest that a pod asks for."""
    if spec.get("resourceClaims"):
        return "the cards that it claims"
    wanted = asked(spec)
    cards = [f"{n:g} {name}" for name, n in wanted.items() if name.startswith(NVIDIA)]
    return " and ".join(cards) or f"{wanted.get('cpu', 0):g} CPU"


def refusals(spec: Mapping[str, Any], nodes: Iterable[NodeRoom]) -> str:
    """For people, why nodes take no such pod: `3 nodes: cordoned; 1 node: too little CPU free`."""
    said = Counter(reason for node in nodes if (reason := node.refusal(spec)))
    told = (f"{n} node{'s' if n > 1 else ''}: {reason}" for reason, n in said.most_common())
    return "; ".join(told) or "there are no nodes"


def kept_away(spec: Mapping[str, Any], nodes: Iterable[NodeRoom]) -> str:
    """For people, by which taints a pod is kept away from nodes that have the labels it asks for:
    the scheduler does not name them any more. "" where there is none."""
    found = []
    for node in nodes:
        taint = untolerated(node.taints, spec.get("tolerations") or ())
        if taint is not None and selected(node.labels, spec):
            found.append(f"{node.name} ({taint['key']})")
    more = f" and {len(found) - _MOST} nodes more" if len(found) > _MOST else ""
    return f"kept away by taints: {', '.join(found[:_MOST])}{more}" if found else ""


def told_first(lines: Sequence[tuple[bool, str]]) -> str:
    """For people, of many nodes the first few: those before the others of which there is more to
    say, by (whether there is, the line)."""
    more = f"; and {len(lines) - _MOST} nodes more" if len(lines) > _MOST else ""
    named = sorted(lines, key=lambda each: not each[0])[:_MOST]
    return "; ".join(line for _, line in named) + more


def live(pods: Iterable[Document]) -> Iterator[Document]:
    """Those that have not ended."""
    return (pod for pod in pods if (pod.get("status") or {}).get("phase") not in _ENDED)


def cards_of(spec: Mapping[str, Any]) -> int:
    """How many cards a pod asks device plugins for; of MIG slices too."""
    return sum(int(n) for name, n in asked(spec).items() if name.startswith(NVIDIA))


def asked(spec: Mapping[str, Any], what: str = "requests") -> dict[str, float]:
    """What a pod requests, or its limits, in cores, bytes and pieces: its containers and sidecars
    together, or its largest init container; a limit without a request is one, as the API server
    has it.
    """
    total: dict[str, float] = {}
    first = spec.get("initContainers") or ()
    stay = [container for container in first if container.get("restartPolicy") == "Always"]
    for container in [*(spec.get("containers") or ()), *stay]:
        for name, amount in _of_container(container, what).items():
            total[name] = total.get(name, 0.0) + amount
    for container in first:
        for name, amount in _of_container(container, what).items():
            total[name] = max(total.get(name, 0.0), amount)
    return total


def _taken_by(spec: Mapping[str, Any]) -> dict[str, float]:
    return {**asked(spec), "pods": 1.0}


def _of_container(container: Mapping[str, Any], what: str) -> dict[str, float]:
    resources = container.get("resources") or {}
    named = dict(resources.get("limits") or {})
    if what == "requests":
        named |= resources.get("requests") or {}
    return {name: quantity(value) or 0.0 for name, value in named.items()}


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
        all(holds(labels, each) for each in term.get("matchExpressions") or ())
        for term in required.get("nodeSelectorTerms") or ()
    )


def holds(labels: Mapping[str, str], expression: Document) -> bool:
    """Whether labels are what an expression of a selector asks for."""
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
