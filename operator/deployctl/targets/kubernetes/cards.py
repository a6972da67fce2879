"""Which cards the nodes of a cluster have, and who has taken them. Pure."""

from collections import Counter, defaultdict
from collections.abc import Sequence

from deployctl.targets.kubernetes.cluster import Document

PRODUCT = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")
_MOST = 6  # nodes that are named
_ENDED = {"Succeeded", "Failed"}


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
