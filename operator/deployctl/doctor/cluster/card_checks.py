"""Cards: are those there that are wanted, are they well, and may pods come to them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document
from deployctl.doctor.cluster.telling import some, values
from deployctl.doctor.facts import Check, Topic
from deployctl.hardware import GpuProfile, all_profiles, nvidia, own_profiles
from deployctl.targets.kubernetes import cards
from deployctl.targets.kubernetes.nodes import NVIDIA, rooms, selected, untolerated
from deployctl.units import quantity

_PRESENT = ("nvidia.com/gpu.present", "feature.node.kubernetes.io/pci-10de.present")
_PLUGIN = "install NVIDIA's GPU operator, or its device plugin and GPU feature discovery"


class Cards(NamedTuple):
    """The cards of one node."""

    node: str
    product: str | None
    resource: str
    there: int  # what the node has
    offered: int  # of these, those that are healthy
    free: int


def card_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """All about cards; the nodes are known."""
    found = cards_of(facts)
    it = Topic("gpu-nodes", "GPU nodes")
    if not found:
        claimed = f"; {_claimed(facts)}" if facts.slices else ""
        labelled = _labelled(facts.nodes or ())
        if labelled:
            text = f"{labelled} say that they have cards and offer none{claimed}"
            yield it.fail(text, f"the device plugin does not run there: {_PLUGIN}")
        else:
            yield it.fail(f"no node offers an NVIDIA card{claimed}", f"{_PLUGIN}; or --gpu cpu")
        return
    yield _kinds(found, facts, question)
    ill = [c for c in found if c.offered < c.there]
    if ill:
        text = "; ".join(f"{c.node}: {c.there - c.offered} of {c.there}" for c in ill)
        fix = "the device plugin's log there says why: kubectl get pods -A -o wide | grep plugin"
        yield Topic("gpu-health", "Unhealthy cards").warn(text, fix)
    yield _source(facts, found)
    yield _driver(facts, question, found)
    yield from _taints(facts, question, found)


def cards_of(facts: ClusterFacts) -> list[Cards]:
    """What device plugins offer, a line a node and resource."""
    found = []
    for node, room in zip(
        facts.nodes or (), rooms(facts.nodes or (), facts.pods or ()), strict=True
    ):
        for resource, count in ((node.get("status") or {}).get("capacity") or {}).items():
            there = int(quantity(count) or 0)
            if resource.startswith(NVIDIA) and there:
                offered, free = (int(of.get(resource, 0)) for of in (room.total, room.free))
                found.append(
                    Cards(room.name, cards.labelled(room.labels), resource, there, offered, free)
                )
    return found


def profile_of(product: str | None) -> GpuProfile | None:
    """The profile whose nodes have that label."""
    every = (*own_profiles(), *all_profiles())
    labels = ((p, {*p.node_selector.values(), *p.node_selector_gke.values()}) for p in every)
    return next((p for p, names in labels if product in names), None)


def _labelled(nodes: Sequence[Document]) -> str:
    names = [
        node["metadata"]["name"]
        for node in nodes
        if any((node["metadata"].get("labels") or {}).get(label) == "true" for label in _PRESENT)
    ]
    return some(names)


def _kinds(found: list[Cards], facts: ClusterFacts, question: ClusterQuestion) -> Check:
    """Which cards there are, and whether those that are wanted are among them."""
    it, profile = Topic("gpu-nodes", "GPU nodes"), question.profile
    text = _there(found, known=facts.pods is not None)
    unlabelled = [c.node for c in found if c.product is None]
    engines = [p for p in question.needs.pods if p.gpus]
    if profile is None or not engines:
        if unlabelled:
            fix = "GPU feature discovery labels them; or kubectl label node NAME " + (
                f"{cards.PRODUCT[0]}=NVIDIA-L4"
            )
            return it.warn(f"{text}; which cards {some(unlabelled)} have is not said", fix)
        known = {c.product: profile_of(c.product) for c in found}
        names = ", ".join(dict.fromkeys(p.name for p in known.values() if p))
        return it.good(text + (f" (--gpu {names})" if names else ""))
    nodes = {n["metadata"]["name"]: n["metadata"].get("labels") or {} for n in facts.nodes or ()}
    right = [c for c in found if any(selected(nodes[c.node], p.spec) for p in engines)]
    if right:
        return it.good(f"{_there(right, known=facts.pods is not None)} (profile {profile.name})")
    wanted = " or ".join(f"{k}={v}" for k, v in profile.node_selector.items()) or profile.title
    others = dict.fromkeys(p.name for c in found if (p := profile_of(c.product)))
    fix = f"--gpu {' or '.join(others)}; " if others else ""
    yaml = values({"scheduling": {"gpuNodes": []}})
    text = f"no node has the label {wanted}; there are {text}"
    return it.fail(text, f"{fix}or label the nodes; or take any card, --values with this", yaml)


def _there(found: list[Cards], *, known: bool) -> str:
    """`8 NVIDIA-L4 on node-1, node-2, 5 free`."""
    by: dict[tuple[str, str], list[Cards]] = defaultdict(list)
    for each in found:
        kind = "" if each.resource == f"{NVIDIA}gpu" else f" ({each.resource})"
        by[(each.product or "cards of unknown kind", kind)].append(each)
    lines = []
    for (product, kind), group in by.items():
        free = f", {sum(c.free for c in group)} free" if known else ", free unknown"
        count = sum(c.offered for c in group)
        lines.append(f"{count} {product}{kind} on {some([c.node for c in group])}{free}")
    return "; ".join(lines)


def _source(facts: ClusterFacts, found: list[Cards]) -> Check:
    it = Topic("gpu-source", "How cards are given")
    names = some([c.node for c in found])
    claims = f"; {_claimed(facts)}" if facts.slices else ""
    return it.good(f"device plugin on {names}{claims}")


def _claimed(facts: ClusterFacts) -> str:
    """Cards that are given by claims: `4 by claims of gpu.nvidia.com (DeviceClass …), 3 free`."""
    drivers: Counter[str] = Counter()
    for part in facts.slices or ():
        drivers[part["spec"]["driver"]] += len(part["spec"].get("devices") or ())
    taken: Counter[str] = Counter()
    for claim in facts.device_claims or ():
        devices = ((claim.get("status") or {}).get("allocation") or {}).get("devices") or {}
        taken.update(result["driver"] for result in devices.get("results") or ())
    classes = ", ".join(c["metadata"]["name"] for c in facts.device_classes or ()) or "none"
    lines = [
        f"{n} by claims of {driver}"
        + (f", {n - taken[driver]} free" if facts.device_claims is not None else "")
        for driver, n in drivers.items()
    ]
    return f"{'; '.join(lines)} (DeviceClasses: {classes})"


def _driver(facts: ClusterFacts, question: ClusterQuestion, found: list[Cards]) -> Check:
    versions: dict[str, list[str]] = defaultdict(list)
    with_cards = {c.node for c in found}
    for node in facts.nodes or ():
        if node["metadata"]["name"] in with_cards:
            versions[_version(node)].append(node["metadata"]["name"])
    fix = "GPU feature discovery labels it; nvidia-smi on the node says it too"
    return driver_check("NVIDIA driver", versions, question.vllm_version, fix)


def driver_check(
    title: str, versions: Mapping[str, Sequence[str]], vllm_version: str, fix: str
) -> Check:
    """Whether the drivers of nodes, by version, are new enough for the engine's CUDA; "" is a
    version that is not told, and `fix` what tells it.
    """
    it = Topic("gpu-driver", title)
    cuda = nvidia.image_cuda(vllm_version)
    oldest = nvidia.oldest_branch(cuda)
    wants = f"vLLM {vllm_version} is built with CUDA {cuda}, which needs {oldest} or newer"
    old = {v: nodes for v, nodes in versions.items() if v and nvidia.numbers(v)[0] < oldest}
    if old:
        text = "; ".join(f"{v} on {some(nodes)}" for v, nodes in old.items())
        return it.fail(
            f"{text}: {wants}", "update the driver there: the GPU operator's ClusterPolicy"
        )
    if "" in versions:
        return it.warn(f"unknown on {some(versions[''])}: nothing says it; {wants}", fix)
    return it.good(", ".join(versions) + f", for CUDA {cuda}")


def _version(node: Document) -> str:
    """As GPU feature discovery has it: whole, and in older releases in parts."""
    labels = node["metadata"].get("labels") or {}
    whole = labels.get("nvidia.com/cuda.driver-version.full")
    parts = [labels.get(f"nvidia.com/cuda.driver.{part}") for part in ("major", "minor", "rev")]
    return str(whole or ".".join(p for p in parts if p))


def _taints(facts: ClusterFacts, question: ClusterQuestion, found: list[Cards]) -> Iterator[Check]:
    """Taints of the nodes with cards that the pods do not tolerate."""
    it = Topic("gpu-taints", "Taints of GPU nodes")
    engines = [p for p in question.needs.pods if p.gpus]
    kept: dict[tuple[str, str], list[str]] = defaultdict(list)
    names = {c.node for c in found}
    nodes = [node for node in rooms(facts.nodes or (), ()) if node.name in names]
    for pod in engines:
        able = [node for node in nodes if selected(node.labels, pod.spec)]
        for node in able:
            taint = untolerated(node.taints, pod.spec.get("tolerations") or ())
            if taint is not None:
                kept[(taint["key"], taint.get("effect", ""))].append(node.name)
    if not engines:
        return
    if not kept:
        yield it.good("none that keeps a pod away")
        return
    away = {name for nodes_ in kept.values() for name in nodes_}
    text = "; ".join(
        f"{key}:{effect} on {some(sorted(set(at)))}" for (key, effect), at in kept.items()
    )
    tolerations = [
        *engines[0].spec.get("tolerations", ()),
        *({"key": k, "effect": e} for k, e in kept),
    ]
    yaml = values({"scheduling": {"tolerations": tolerations}})
    fix = "if they are for engines, --values with this"
    left = [node for node in able if node.name not in away]
    tell = it.warn if left else it.fail
    yield tell(f"{text}: pods do not tolerate that", fix, yaml)
