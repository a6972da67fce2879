"""Updates and evictions: GPUs are scarce, starts take minutes, requests get the time to end."""

import math
import re
from collections.abc import Iterator
from typing import Any

from deployctl.checking.documents import Place
from deployctl.checking.engine import DeclaredEngine
from deployctl.checking.finding import Finding, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.pods import gpus, max_surge, surges
from deployctl.checking.rules.probes import needed_s
from deployctl.checking.values import dig, items, mapping, number
from deployctl.units import duration

SURGE = rule("rollout-surge")
DEADLINE = rule("rollout-deadline")
MEMORY = rule("memory-request")
RESTART = rule("restart-policy")
PRE_STOP = rule("pre-stop-missing")
GRACE = rule("grace-period")
SHUTDOWN = rule("shutdown-timeout")
LEAST_GRACE_S = 60.0
DEFAULT_GRACE_S = 30.0
_SLEEP = re.compile(r"\bsleep\s+(\d{1,6})")


@check
def surge(manifests: Manifests) -> Iterator[Finding]:
    """Updates that need more GPUs than the service has."""
    for pod in manifests.engine_pods:
        if pod.document.kind != "Deployment" or pod.replicas == 0 or not surges(pod.document):
            continue
        if not any(gpus(container.data, "limits") for container in pod.containers):
            continue
        given = max_surge(pod.document)
        more = _pods(given, pod.replicas)
        yield SURGE.at(
            pod.document.place("spec", "strategy"),
            f"an update starts {more} more pod{'s' * (more > 1)} with GPUs before it ends "
            f"{'any' if pod.replicas > 1 else 'the old one'} (maxSurge {given!s:.10})",
            "write rollingUpdate: {maxSurge: 0, maxUnavailable: 1}",
        )


def _pods(given: Any, replicas: int) -> int:
    """The pods that a number or a share of the replicas comes to; one at least."""
    if isinstance(given, str) and given.rstrip("%").isdecimal():
        return max(1, math.ceil(int(given.rstrip("%")[:6]) * replicas / 100))
    return max(1, int(number(given) or 1))


@check
def deadlines(manifests: Manifests) -> Iterator[Finding]:
    """The controller's deadline against the start-up budget."""
    for pod in manifests.engine_pods:
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
                f"write progressDeadlineSeconds: {math.ceil(needed * 1.5 / 60) * 60} or more",
            )


@check
def resources(manifests: Manifests) -> Iterator[Finding]:
    """Memory that the scheduler knows of."""
    for _, engine in manifests.pod_engines:
        known = mapping(engine.data.get("resources"))
        if "memory" not in mapping(known.get("requests")) | mapping(known.get("limits")):
            yield MEMORY.at(
                engine.place.child("resources", "requests"),
                "asks for no memory",
                "request what loading needs: about the size of the largest weight file, "
                "and 8 GiB more",
            )


@check
def restarts(manifests: Manifests) -> Iterator[Finding]:
    """Whether an engine that dies comes back."""
    for pod in manifests.serving_pods:
        policy = pod.spec.get("restartPolicy", "Always")
        if policy != "Always":
            yield RESTART.at(
                pod.place.child("restartPolicy"),
                f"with {policy!s:.20}, an engine that exits with 0 is not restarted",
                "write restartPolicy: Always",
            )


@check
def drains(manifests: Manifests) -> Iterator[Finding]:
    """preStop, grace period and the engine's shutdown, in that order."""
    for pod in manifests.serving_pods:
        grace = number(pod.spec.get("terminationGracePeriodSeconds", DEFAULT_GRACE_S))
        if grace is None:
            continue  # no number: the schema says so
        place = pod.place.child("terminationGracePeriodSeconds")
        if grace < LEAST_GRACE_S:
            yield GRACE.at(
                place,
                f"requests have {grace:.0f} s to end",
                "write terminationGracePeriodSeconds: 75, or more for long answers",
            )
        for engine in pod.engines:
            yield from _shutdown(engine, place, grace)


def _shutdown(engine: DeclaredEngine, place: Place, grace: float) -> Iterator[Finding]:
    hook = mapping(dig(engine.data, "lifecycle", "preStop"))
    if not hook:
        yield PRE_STOP.at(
            engine.place.child("lifecycle", "preStop"),
            "the engine is told to end before the Services know",
            "write lifecycle: {preStop: {sleep: {seconds: 15}}}",
        )
    shutdown = engine.command.number("shutdown-timeout", 0)
    wait = _sleep_s(hook)
    if wait is None:
        return
    if shutdown and wait + shutdown > grace:
        yield SHUTDOWN.at(
            place,
            f"preStop takes {wait:.0f} s and the engine's shutdown {shutdown:.0f} s; the "
            f"pod is killed after {grace:.0f} s",
            f"write terminationGracePeriodSeconds: {int(wait + shutdown + 5)}, or a "
            "shorter --shutdown-timeout",
        )
    elif wait >= grace:
        yield SHUTDOWN.at(
            place,
            f"preStop alone takes {wait:.0f} s of the {grace:.0f} s",
            f"write terminationGracePeriodSeconds: {int(wait + 60)}",
        )


def _sleep_s(hook: dict[str, Any]) -> float | None:
    """Seconds that a preStop hook sleeps; None when it does something else."""
    if not hook:
        return 0.0
    slept = number(dig(hook, "sleep", "seconds"))
    if slept is not None:
        return slept
    words = " ".join(str(w) for w in items(dig(hook, "exec", "command")))
    match = _SLEEP.search(words[:10_000])
    return float(match[1]) if match else None
