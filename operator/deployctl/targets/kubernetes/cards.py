"""Which cards the nodes of a cluster offer by a device plugin, and who has taken them. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from deployctl.targets.kubernetes.cluster import Document
from deployctl.targets.kubernetes.nodes import NVIDIA, cards_of, live, rooms

PRODUCT = ("nvidia.com/gpu.product", "cloud.google.com/gke-accelerator")
_MOST = 6  # nodes that are named


def told(nodes: Iterable[Document], pods: Iterable[Document]) -> str:
    """For people: `node-1 has 4 NVIDIA-L4 (llm/chat has 4)`. Of MIG slices too."""
    users = holders(pods)
    lines = []
    for node in rooms(nodes, ()):
        count = sum(int(n) for name, n in node.total.items() if name.startswith(NVIDIA))
        if not count:
            continue
        card = labelled(node.labels) or "of unknown kind"
        having = [f"{user} has {n}" for user, n in users.get(node.name, ())]
        lines.append(
            f"{node.name} has {count} {card}" + (f" ({', '.join(having)})" if having else "")
        )
    if not lines:
        return "no node offers an NVIDIA card: is the device plugin installed?"
    more = f"; and {len(lines) - _MOST} nodes more" if len(lines) > _MOST else ""
    return "; ".join(lines[:_MOST]) + more


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
