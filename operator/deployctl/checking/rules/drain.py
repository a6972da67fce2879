"""The end of a pod: requests that run get the time to end."""

import re
from collections.abc import Iterator
from typing import Any

from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, items, mapping, number

GROUP = "Updates"
PRE_STOP = rule(
    "pre-stop-missing",
    Severity.warning,
    "The engine ends while Services still send to it: requests fail at every update.",
    group=GROUP,
)
GRACE = rule(
    "grace-period",
    Severity.warning,
    "Requests that still run are cut when the pod's grace period ends; answers take minutes.",
    group=GROUP,
)
SHUTDOWN = rule(
    "shutdown-timeout",
    Severity.error,
    "The pod is killed before the engine's own shutdown is over: requests are cut.",
    group=GROUP,
)
LEAST_GRACE_S = 60.0
DEFAULT_GRACE_S = 30.0
_SLEEP = re.compile(r"\bsleep\s+(\d{1,6})")


@check
def drains(scene: Scene) -> Iterator[Finding]:
    """preStop, grace period and the engine's shutdown, in that order."""
    for pod in scene.engine_pods:
        if pod.document.kind in ("Job", "CronJob"):
            continue
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
            hook = mapping(dig(engine.data, "lifecycle", "preStop"))
            if not hook:
                yield PRE_STOP.at(
                    engine.place.child("lifecycle", "preStop"),
                    "the engine is told to end before the Services know",
                    "write lifecycle: {preStop: {sleep: {seconds: 15}}}",
                )
            shutdown = engine.command.number("shutdown-timeout", 0)
            wait = sleep_s(hook)
            if shutdown and wait is not None and wait + shutdown > grace:
                yield SHUTDOWN.at(
                    place,
                    f"preStop takes {wait:.0f} s and the engine's shutdown {shutdown:.0f} s; the "
                    f"pod is killed after {grace:.0f} s",
                    f"write terminationGracePeriodSeconds: {int(wait + shutdown + 5)}, or a "
                    "shorter --shutdown-timeout",
                )
            elif wait is not None and wait >= grace:
                yield SHUTDOWN.at(
                    place,
                    f"preStop alone takes {wait:.0f} s of the {grace:.0f} s",
                    f"write terminationGracePeriodSeconds: {int(wait + 60)}",
                )


def sleep_s(hook: dict[str, Any]) -> float | None:
    """Seconds that a preStop hook sleeps; None when it does something else."""
    if not hook:
        return 0.0
    slept = number(dig(hook, "sleep", "seconds"))
    if slept is not None:
        return slept
    words = " ".join(str(w) for w in items(dig(hook, "exec", "command")))
    found = _SLEEP.search(words[:10_000])
    return float(found[1]) if found else None
