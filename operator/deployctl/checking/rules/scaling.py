"""Autoscalers: that they find their target, and scale on something that means load."""

import re
from collections.abc import Iterator

from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.values import dig, mapping, text, whole

NO_SUM = rule("metric-no-sum")
TARGET = rule("autoscaler-target")
SIGNAL = rule("autoscaler-signal")
FIGHT = rule("autoscaler-fights-replicas")
BOUNDS = rule("autoscaler-bounds")
_AGGREGATES = re.compile(
    r"\b(sum|avg|max|min|count|quantile|scalar|group|topk|bottomk|stddev)\s*"
    r"((by|without)\s*\([^()]*\)\s*)?\(",
    re.IGNORECASE,
)
_SCALED = ("Deployment", "StatefulSet")
_SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


@check
def aggregates(manifests: Manifests) -> Iterator[Finding]:
    """Queries that give one number a pod."""
    for document in manifests.of_kind("ScaledObject"):
        for place, trigger in document.place("spec").mappings("triggers"):
            if trigger.get("type") != "prometheus":
                continue
            query = text(dig(trigger, "metadata", "query"))[:10_000]
            if "vllm:" in query and not _AGGREGATES.search(query):
                yield NO_SUM.at(
                    place.child("metadata", "query"),
                    "gives one value for each pod and not one number",
                    f"write sum({query[:80]})",
                )


@check
def targets(manifests: Manifests) -> Iterator[Finding]:
    """What autoscalers scale."""
    workloads = list(manifests.of_kind(*_SCALED))
    for document in manifests.of_kind(*_SCALERS):
        target = mapping(document.spec.get("scaleTargetRef"))
        kind, name = text(target.get("kind")) or "Deployment", text(target.get("name"))
        gone = kind in _SCALED and manifests.find(kind, name, document.namespace) is None
        if workloads and gone:
            yield TARGET.at(
                document.place("spec", "scaleTargetRef", "name"),
                f"there is no {kind} {name[:60]} here",
                f"use one of: {', '.join(w.name for w in workloads[:5])}",
            )
        prefix = "Replicas" if document.kind == "HorizontalPodAutoscaler" else "ReplicaCount"
        least = whole(document.spec.get(f"min{prefix}"), 0)
        most = whole(document.spec.get(f"max{prefix}"), 10**6)
        if least > most:
            yield BOUNDS.at(
                document.place("spec", f"min{prefix}"),
                f"the minimum ({least}) is above the maximum ({most})",
                "swap them",
            )


@check
def signals(manifests: Manifests) -> Iterator[Finding]:
    """Autoscalers of engines that scale on the CPU, and replicas that an autoscaler sets too."""
    for pod in manifests.engine_pods:
        scalers = list(manifests.scalers(pod))
        for document in scalers:
            for place, metric in document.place("spec").mappings("metrics"):
                name = text(dig(metric, "resource", "name"))
                if name in ("cpu", "memory") and any(e.nvidia for e in pod.engines):
                    yield SIGNAL.at(
                        place.child("resource"),
                        f"scales on {name}",
                        "scale on vllm:num_requests_waiting or vllm:num_requests_running",
                    )
        if scalers and "replicas" in pod.document.spec:
            yield FIGHT.at(
                pod.document.place("spec", "replicas"),
                f"{scalers[0].title} sets the replicas too",
                "leave replicas out",
            )
