"""Autoscalers: that they find their target, and scale on something that means load."""

import re
from collections.abc import Iterator

from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.rules.monitoring import trigger_metadata
from deployctl.checking.scene import Scene, same_namespace
from deployctl.checking.walk import dig, mapping, mappings, text, whole

GROUP = "Autoscaling"
NO_SUM = rule(
    "metric-no-sum",
    Severity.error,
    "KEDA wants one number; a query that gives one a pod fails, and nothing scales.",
    group=GROUP,
)
TARGET = rule(
    "autoscaler-target",
    Severity.error,
    "An autoscaler whose target is not there scales nothing.",
    group=GROUP,
)
SIGNAL = rule(
    "autoscaler-signal",
    Severity.warning,
    "The CPU of a GPU's engine is busy when it waits and when it works: it says nothing of load.",
    group=GROUP,
)
FIGHT = rule(
    "autoscaler-fights-replicas",
    Severity.warning,
    "A number of replicas in the manifest undoes the autoscaler's at every apply.",
    group=GROUP,
)
BOUNDS = rule(
    "autoscaler-bounds",
    Severity.error,
    "An autoscaler whose least is above its most is refused.",
    group=GROUP,
)
_AGGREGATES = re.compile(
    r"\b(sum|avg|max|min|count|quantile|scalar|group|topk|bottomk|stddev)\s*"
    r"((by|without)\s*\([^()]*\)\s*)?\(",
    re.IGNORECASE,
)
_SCALERS = ("HorizontalPodAutoscaler", "ScaledObject")


@check
def aggregates(scene: Scene) -> Iterator[Finding]:
    """Queries that give one number a pod."""
    for document in scene.of_kind("ScaledObject"):
        for place, metadata in trigger_metadata(document):
            query = text(metadata.get("query"))[:10_000]
            if "vllm:" in query and not _AGGREGATES.search(query):
                yield NO_SUM.at(
                    place.child("query"),
                    "gives one value for each pod and not one number",
                    f"write sum({query[:80]})",
                )


@check
def targets(scene: Scene) -> Iterator[Finding]:
    """What autoscalers scale."""
    workloads = [d for d in scene.objects if d.kind in ("Deployment", "StatefulSet")]
    for document in scene.of_kind(*_SCALERS):
        target = mapping(document.spec.get("scaleTargetRef"))
        kind, name = text(target.get("kind")) or "Deployment", text(target.get("name"))
        if workloads and kind in ("Deployment", "StatefulSet"):
            same = [
                w
                for w in workloads
                if w.kind == kind
                and w.name == name
                and same_namespace(w.namespace, document.namespace)
            ]
            if not same:
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
                f"the least ({least}) is above the most ({most})",
                "swap them",
            )


@check
def signals(scene: Scene) -> Iterator[Finding]:
    """Autoscalers of engines that look at the CPU, and replicas set beside an autoscaler."""
    for pod in scene.engine_pods:
        scalers = list(scene.scalers(pod))
        for document in scalers:
            for index, metric in mappings(document.spec.get("metrics")):
                name = text(dig(metric, "resource", "name"))
                if name in ("cpu", "memory") and any(e.nvidia for e in pod.engines):
                    yield SIGNAL.at(
                        document.place("spec", "metrics", index, "resource"),
                        f"scales on {name}",
                        "scale on vllm:num_requests_waiting or vllm:num_requests_running",
                    )
        if scalers and "replicas" in pod.document.spec:
            yield FIGHT.at(
                pod.document.place("spec", "replicas"),
                f"{scalers[0].title} sets the replicas too",
                "leave replicas out",
            )
