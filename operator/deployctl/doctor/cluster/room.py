"""Whether all pods of services find a node: they are put onto the nodes, as the scheduler would.
Pure.
"""

from collections.abc import Sequence
from typing import NamedTuple

from deployctl.doctor.cluster.facts import ClusterFacts, Document
from deployctl.doctor.cluster.needs import Needs, PodNeed
from deployctl.targets.kubernetes.nodes import NodeRoom, refusals, rooms

_INSTANCE = "app.kubernetes.io/instance"


def own(pod: Document, facts: ClusterFacts, needs: Needs) -> bool:
    """Whether it is one of these services already, and makes room for what they will be."""
    service = (pod["metadata"].get("labels") or {}).get(_INSTANCE)
    return pod["metadata"]["namespace"] == facts.namespace and service in needs.services


def places(facts: ClusterFacts, needs: Needs) -> list[NodeRoom]:
    """The nodes as they would be without the pods of these services."""
    others = (pod for pod in facts.pods or () if not own(pod, facts, needs))
    return rooms(facts.nodes or (), others)


class Homeless(NamedTuple):
    """Pods of one kind that found no node, and what the nodes say."""

    pod: PodNeed
    left: int
    why: str

    def told(self) -> str:
        """`chat: 1 of 2 pods find no node (3 nodes: taint … is not tolerated; …)`."""
        several = self.pod.replicas > 1
        subject = f"{self.left} of {self.pod.replicas} pods find" if several else "finds"
        return f"{self.pod.name}: {subject} no node ({self.why})"


def put(nodes: Sequence[NodeRoom], pods: Sequence[PodNeed]) -> list[Homeless]:
    """Puts every pod onto the first node that takes it, those with most cards first; changes what
    is free there. Returns those that find none.
    """
    homeless = []
    for pod in sorted(pods, key=lambda p: (-p.gpus, -p.requests.get("memory", 0.0))):
        left = pod.replicas
        for place in nodes:
            while left and place.refusal(pod.spec) is None:
                place.take(pod.spec)
                left -= 1
        if left:
            homeless.append(Homeless(pod, left, refusals(pod.spec, nodes)))
    return homeless
