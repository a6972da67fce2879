"""Which cards the nodes of a cluster offer by a device plugin, and who has taken them. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from deployctl.targets.kubernetes.cluster import Document
from deployctl.targets.kubernetes.nodes import NVIDIA, cards_of, live, rooms, told_first
from deployctl.units import quantity

PRODUCT = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")


def told(nodes: Iterable[Document], pods: Iterable[Document]) -> str:
    """For people: `node-1 has 4 NVIDIA-L4 (1 unhealthy, llm/chat has 3)`. Of MIG slices too.

    Nodes of which there is more to say come first: of many only some are named.
    """
    users, nodes = holders(pods), list(nodes)
    lines = []
    for document, node in zip(nodes, rooms(nodes, ()), strict=True):
        count, healthy = (_count(document, which) for which in ("capacity", "allocatable"))
        if not count:
            continue
        card = labelled(node.labels) or "of unknown kind"
        notes = [] if node.ready else ["not ready"]
        notes += [f"{count - healthy} unhealthy"] if healthy < count else []
        notes += [f"{user} has {n}" for user, n in users.get(node.name, ())]
        line = f"{node.name} has {count} {card}" + (f" ({', '.join(notes)})" if notes else "")
        lines.append((bool(notes), line))
    if not lines:
        return "no node offers an NVIDIA card: is the device plugin installed?"
    return told_first(lines)


def _count(node: Document, which: str) -> int:
    """Of all that it has, or of those that device plugins call healthy."""
    named = (node.get("status") or {}).get(which) or {}
    return sum(int(quantity(n) or 0) for name, n in named.items() if name.startswith(NVIDIA))


def holders(pods: Iterable[Document]) -> dict[str, list[tuple[str, int]]]:
    """Who has how many cards, by node: `namespace/pod`, of pods that have not ended."""
    found: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for pod in live(pods):
        node, count = pod["spec"].get("nodeName"), cards_of(pod["spec"])
        if node and count:
            who = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
            found[node].append((who, count))
    return found


def labelled(labels: Mapping[str, str]) -> str | None:
    """The card of a node, as its labels say it."""
    return next((str(labels[key]) for key in PRODUCT if key in labels), None)
