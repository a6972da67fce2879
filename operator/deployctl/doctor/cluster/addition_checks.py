"""What is installed in a cluster besides Kubernetes: APIs with their releases, metrics, network
policies, runtime classes.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.doctor.cluster.facts import ClusterFacts, ClusterQuestion, Document
from deployctl.doctor.cluster.telling import some, unknown, values
from deployctl.doctor.facts import Check, Topic
from deployctl.targets.kubernetes.nodes import cards_of

_APIS = "kubectl api-resources"


class Addition(NamedTuple):
    """An API that comes with something that is installed."""

    id: str
    title: str
    group: str
    definition: str  # the definition whose annotations say a release
    labels: tuple[str, ...]  # where
    kinds: tuple[str, ...]  # of the chart
    option: str  # values that need it


ADDITIONS = (
    Addition(
        "crd-monitoring",
        "Prometheus operator",
        "monitoring.coreos.com",
        "podmonitors.monitoring.coreos.com",
        ("operator.prometheus.io/version",),
        ("PodMonitor", "ServiceMonitor", "PrometheusRule"),
        "monitoring.kind: none and no alerts.groups",
    ),
    Addition(
        "crd-keda",
        "KEDA",
        "keda.sh",
        "scaledobjects.keda.sh",
        ("app.kubernetes.io/version",),
        ("ScaledObject",),
        "autoscaling.kind: none or hpa",
    ),
    Addition(
        "crd-gateway",
        "Gateway API",
        "gateway.networking.k8s.io",
        "httproutes.gateway.networking.k8s.io",
        ("gateway.networking.k8s.io/bundle-version",),
        ("HTTPRoute",),
        "httpRoute.enabled: false",
    ),
    Addition(
        "crd-lws",
        "LeaderWorkerSet",
        "leaderworkerset.x-k8s.io",
        "leaderworkersets.leaderworkerset.x-k8s.io",
        ("app.kubernetes.io/version",),
        ("LeaderWorkerSet",),
        "a model that one node holds",
    ),
)


def addition_checks(facts: ClusterFacts, question: ClusterQuestion) -> Iterator[Check]:
    """What is installed besides Kubernetes itself."""
    if question.plugged:
        yield _runtime_class(facts, question)
    yield _policies(facts)
    yield _metrics(facts, question)
    for each in ADDITIONS:
        it = Topic(each.id, each.title)
        if facts.apis is None:
            yield unknown(it, facts, "apis", _APIS)
            continue
        wanted = sorted(question.needs.kinds & set(each.kinds)) if question.needs.planned else []
        versions = facts.apis.get(each.group, ())
        if not versions:
            if wanted:
                fix = f"install it; or in --values {each.option}"
                yield it.fail(f"not installed, and {', '.join(wanted)} is asked for", fix)
            else:
                yield it.good("not installed; nothing asks for it")
            continue
        release = _release(facts, each)
        yield it.good(f"{release + ', ' if release else ''}API {', '.join(versions)}")


def _release(facts: ClusterFacts, each: Addition) -> str:
    for found in facts.definitions or ():
        metadata = found["metadata"]
        if metadata["name"] == each.definition:
            said = {**(metadata.get("labels") or {}), **(metadata.get("annotations") or {})}
            return next((str(said[label]) for label in each.labels if label in said), "")
    return ""


def _metrics(facts: ClusterFacts, question: ClusterQuestion) -> Check:
    it = Topic("metrics-server", "Metrics APIs")
    if facts.apis is None:
        return unknown(it, facts, "apis", _APIS)
    there = {
        "metrics.k8s.io": "metrics-server",
        "custom.metrics.k8s.io": "an adapter for pod metrics",
        "external.metrics.k8s.io": "one for external metrics (KEDA)",
    }
    found = [words for group, words in there.items() if group in facts.apis]
    scalers = question.needs.of_kind("HorizontalPodAutoscaler") if question.needs.planned else []
    kinds = {m["type"] for each in scalers for m in (each.get("spec") or {}).get("metrics", ())}
    if "Resource" in kinds and "metrics.k8s.io" not in facts.apis:
        text = "none serves the pods' CPU, and autoscaling.cpuPercent is set: it would never scale"
        return it.fail(text, "install metrics-server, or autoscaling.kind: keda")
    if "Pods" in kinds and "custom.metrics.k8s.io" not in facts.apis:
        text = "no adapter serves pod metrics, and autoscaling.kind is hpa: it would never scale"
        return it.fail(text, "install prometheus-adapter, or autoscaling.kind: keda")
    if not found:
        return it.good("none: kubectl top says nothing, and nothing of ours asks for it")
    return it.good(", ".join(found))


def _policies(facts: ClusterFacts) -> Check:
    """Whether NetworkPolicies are enforced, as far as can be told without a pod."""
    it = Topic("network-policies", "Network policies")
    table: Mapping[str, Any] = assets.table("deploy", "kubernetes", "network.yaml")
    names = {d["metadata"]["name"]: d for d in facts.daemon_sets or ()}
    enforced = [table["enforced"][name] for name in names if name in table["enforced"]]
    for name, about in table["enforced_if"].items():
        if name in names and about["word"] in _words(names[name]):
            enforced.append(about["name"])
    k3s = table["k3s"]
    for node in facts.nodes or ():
        version = ((node.get("status") or {}).get("nodeInfo") or {}).get("kubeletVersion", "")
        said = (node["metadata"].get("annotations") or {}).get(k3s["annotation"], "")
        if k3s["version"] in version and k3s["off"] not in said:
            enforced.append("K3s")
    if enforced:
        return it.good(f"enforced by {some(enforced)}")
    fix = "networkPolicy.enabled makes them; a network plugin that enforces them must be there"
    off = [table["not_enforced"][name] for name in names if name in table["not_enforced"]]
    if off:
        return it.warn(f"not enforced: {some(off)} does not do that", fix)
    why = facts.untold.get("daemon_sets") or "no DaemonSet of a plugin that is known"
    return it.warn(f"unknown whether they are enforced: {why}", fix)


def _words(daemon_set: Document) -> list[str]:
    containers = daemon_set["spec"]["template"]["spec"].get("containers") or ()
    return [
        word for c in containers for word in (*(c.get("args") or ()), *(c.get("command") or ()))
    ]


def _runtime_class(facts: ClusterFacts, question: ClusterQuestion) -> Check:
    it = Topic("runtime-class", "Runtime class")
    engines = [p for p in question.needs.pods if p.gpus]
    named = {p.spec["runtimeClassName"] for p in engines if p.spec.get("runtimeClassName")}
    if facts.runtime_classes is None:
        return unknown(it, facts, "runtime_classes")
    there = {c["metadata"]["name"] for c in facts.runtime_classes}
    missing = sorted(named - there)
    if missing:
        fix = f"there are: {', '.join(sorted(there)) or 'none'}; scheduling.runtimeClassName"
        return it.fail(f"there is no class {', '.join(missing)}, which the plan names", fix)
    if named:
        return it.good(f"{', '.join(sorted(named))}, as the plan says")
    if any(cards_of(p["spec"]) and not p["spec"].get("runtimeClassName") for p in _running(facts)):
        return it.good("none is needed: pods with cards run without")
    plugin = [p["spec"].get("runtimeClassName") for p in _running(facts) if _gives_cards(p)]
    if plugin and not any(plugin):
        return it.good("none is needed: the device plugin runs without")
    likely = next(filter(None, plugin), "nvidia" if "nvidia" in there else None)
    fix = "--probe tries it"
    if likely is None:
        return it.warn("none: nothing shows that the containers' runtime is NVIDIA's", fix)
    yaml = values({"scheduling": {"runtimeClassName": likely}})
    text = f"there is a class {likely}, and no pod with a card shows that it is not needed"
    return it.warn(text, f"{fix}; if the engine sees no card, --values with this", yaml)


def _gives_cards(pod: Document) -> bool:
    name = pod["metadata"]["name"]
    return "nvidia" in name and "device-plugin" in name


def _running(facts: ClusterFacts) -> list[Document]:
    return [p for p in facts.pods or () if (p.get("status") or {}).get("phase") == "Running"]
