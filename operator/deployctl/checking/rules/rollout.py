"""Updates: cards are scarce, and a start takes longer than the controller's patience."""

from collections.abc import Iterator
from typing import Any

from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.pods import Pod, gpus
from deployctl.checking.rules.probes import needed_s
from deployctl.checking.rules.storage import surges
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, mapping, number
from deployctl.units import duration

GROUP = "Updates"
SURGE = rule(
    "rollout-surge",
    Severity.warning,
    "An update that adds pods first needs cards that are not there, and never ends.",
    group=GROUP,
)
DEADLINE = rule(
    "rollout-deadline",
    Severity.warning,
    "A rollout is called failed while the model still loads; pipelines then roll back.",
    group=GROUP,
)
MEMORY = rule(
    "memory-request",
    Severity.warning,
    "A pod without a memory request is the first to be evicted, with the model it has loaded.",
    group=GROUP,
)
RESTART = rule(
    "restart-policy",
    Severity.error,
    "The engine can die and exit with 0: a restart on failure never comes.",
    group=GROUP,
)


@check
def surge(scene: Scene) -> Iterator[Finding]:
    """Updates that need more cards than the service has."""
    for pod in scene.engine_pods:
        if pod.document.kind != "Deployment" or pod.replicas == 0 or not surges(pod):
            continue
        if not any(gpus(dig(c.data, "resources", "limits")) for c in pod.containers):
            continue
        strategy = mapping(pod.document.spec.get("strategy"))
        given = mapping(strategy.get("rollingUpdate")).get("maxSurge", "25%")
        more = _surge(given, pod)
        yield SURGE.at(
            pod.document.place("spec", "strategy"),
            f"an update starts {more} more pod{'s' * (more > 1)} with GPUs before it ends "
            f"{'any' if pod.replicas > 1 else 'the old one'} (maxSurge {given!s:.10})",
            "write rollingUpdate: {maxSurge: 0, maxUnavailable: 1}",
        )


def _surge(given: Any, pod: Pod) -> int:
    if isinstance(given, str) and given.rstrip("%").isdecimal():
        return max(1, -(-int(given.rstrip("%")[:6]) * pod.replicas // 100))
    return max(1, int(number(given) or 1))


@check
def deadlines(scene: Scene) -> Iterator[Finding]:
    """The controller's patience against the start-up budget."""
    for pod in scene.engine_pods:
        if pod.document.kind != "Deployment":
            continue
        given = number(pod.document.spec.get("progressDeadlineSeconds"))
        deadline = 600.0 if given is None else given
        needed, _ = max(needed_s(engine) for engine in pod.engines)
        if deadline < needed:
            yield DEADLINE.at(
                pod.document.place("spec", "progressDeadlineSeconds"),
                f"the rollout counts as failed after {duration(deadline)}; one start may take "
                f"{duration(needed)}",
                f"write progressDeadlineSeconds: {int(-(-needed * 1.5 // 60) * 60)} or more",
            )


@check
def resources(scene: Scene) -> Iterator[Finding]:
    """Memory that the scheduler knows of."""
    for pod in scene.engine_pods:
        for engine in pod.engines:
            known = mapping(engine.data.get("resources"))
            if "memory" not in mapping(known.get("requests")) | mapping(known.get("limits")):
                yield MEMORY.at(
                    engine.place.child("resources", "requests"),
                    "asks for no memory",
                    "request what loading needs: about the size of the largest weight file, "
                    "and 8 GiB more",
                )


@check
def restarts(scene: Scene) -> Iterator[Finding]:
    """Whether an engine that dies comes back."""
    for pod in scene.engine_pods:
        policy = pod.spec.get("restartPolicy", "Always")
        if pod.document.kind in ("Job", "CronJob") or policy == "Always":
            continue
        yield RESTART.at(
            pod.place.child("restartPolicy"),
            f"with {policy!s:.20}, an engine that exits with 0 stays dead",
            "write restartPolicy: Always",
        )
