"""Nodes: are they well, and is there a place for every pod."""

from collections import Counter
from collections.abc import Iterator, Sequence

from deployctl.doctor.cluster.card_checks import card_checks
from deployctl.doctor.cluster.card_claim_checks import card_claim_checks
from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document
from deployctl.doctor.cluster.needs import PodNeed
from deployctl.doctor.cluster.room import places, put
from deployctl.doctor.cluster.telling import refused, some, unknown, values
from deployctl.doctor.facts import Check, Topic
from deployctl.targets.kubernetes.cards import holders
from deployctl.units import size


def node_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """Nodes, cards, taints, driver, and whether all pods find a place."""
    it = Topic("nodes", "Nodes")
    if facts.nodes is None:
        yield unknown(it, facts, "nodes")
        return
    yield _nodes(facts.nodes)
    if question.cpu:
        yield _cpu_nodes(facts)
    yield from card_claim_checks(facts, question)
    if question.plugged:
        yield from card_checks(facts, question)
    yield _room(facts, question)


def _nodes(nodes: Sequence[Document]) -> Check:
    it = Topic("nodes", "Nodes")
    ill = []
    for node in nodes:
        conditions = {c["type"]: c for c in (node.get("status") or {}).get("conditions") or ()}
        name, ready = node["metadata"]["name"], conditions.get("Ready") or {}
        if ready.get("status") != "True":
            why = ready.get("message") or ready.get("reason") or "no word of it"
            ill.append(f"{name} is not ready ({why})")
        pressed = [t for t, c in conditions.items() if "Pressure" in t and c["status"] == "True"]
        ill += [f"{name} has {pressure}" for pressure in pressed]
        if (node.get("spec") or {}).get("unschedulable"):
            ill.append(f"{name} is cordoned")
    if not nodes:
        return it.fail("none", "add a node")
    if ill:
        return it.warn("; ".join(ill), "kubectl describe node NAME; kubectl uncordon NAME")
    return it.good(f"{len(nodes)}, all ready")


def _cpu_nodes(facts: ClusterFacts) -> Check:
    it = Topic("cpu-nodes", "CPU nodes")
    kinds: Counter[str] = Counter()
    for node in facts.nodes or ():
        info = (node.get("status") or {}).get("nodeInfo") or {}
        if info.get("operatingSystem", "linux") == "linux":
            kinds[str(info.get("architecture", "unknown processor"))] += 1
    if not kinds:
        return it.fail("no Linux node", "add one")
    text = ", ".join(f"{n} {kind}" for kind, n in kinds.items())
    if len(kinds) > 1:
        yaml = values({"scheduling": {"nodeSelector": {"kubernetes.io/arch": "amd64"}}})
        return it.warn(f"{text}: the image must be for both", "--values with this", yaml)
    return it.good(text)


def _room(facts: ClusterFacts, question: ClusterQuestion) -> Check:
    it, needs = Topic("room", "Room for the pods"), question.needs
    if facts.pods is None:
        return unknown(it, facts, "pods")
    if not needs.pods:
        why = "no plan to go by" if needs.planned else "what a service asks for needs helm"
        return it.warn(f"unknown: {why}", "see Plan" if needs.planned else "install Helm")
    asked_for = "; ".join(dict.fromkeys(_asked(pod) for pod in needs.pods))
    homeless = put(places(facts, needs), needs.pods)
    if homeless:
        text = "; ".join(each.told() for each in homeless)
        text += f"; a pod asks for {asked_for}"
        fix = _who(facts) + "free some, add a node, or ask for less (resources in --values)"
        return refused(it, needs, text, fix)
    usual = "" if needs.planned else "a usual service's: "
    return it.good(f"{usual}{asked_for}")


def _asked(pod: PodNeed) -> str:
    wanted = pod.requests
    words = [f"{pod.gpus} card{'s' if pod.gpus > 1 else ''}"] if pod.gpus else []
    words += [f"{wanted.get('cpu', 0):g} CPU", size(wanted.get("memory", 0))]
    return (f"{pod.replicas} × " if pod.replicas > 1 else "") + ", ".join(words)


def _who(facts: ClusterFacts) -> str:
    """Who has cards: `llm/chat-abc has 2; `."""
    users = [f"{user} has {n}" for node in holders(facts.pods or ()).values() for user, n in node]
    return f"of the cards {some(users)}; " if users else ""
