"""Probes: a start takes minutes, and a saturated engine answers late without being ill."""

import re
from collections.abc import Iterator
from typing import Any

from deployctl.checking.documents import Place
from deployctl.checking.engine import Engine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.scene import Scene
from deployctl.checking.walk import dig, mapping, number, text
from deployctl.units import duration

GROUP = "Probes"
BUDGET = rule(
    "startup-budget",
    Severity.error,
    "A probe that gives up before the model is loaded kills the pod, again and again.",
    group=GROUP,
)
NO_STARTUP = rule(
    "startup-probe-missing",
    Severity.warning,
    "Without a start-up probe one budget serves for loading and for finding a dead engine.",
    group=GROUP,
)
LIVENESS = rule(
    "liveness-timeout",
    Severity.error,
    "A saturated engine answers /health late: a short time-out kills it with all its requests.",
    group=GROUP,
)
READINESS = rule(
    "readiness-timeout",
    Severity.warning,
    "A saturated engine answers /health late: a short time-out takes it out of the Service.",
    group=GROUP,
)
NO_READINESS = rule(
    "readiness-probe-missing",
    Severity.error,
    "Requests are sent to an engine that still loads.",
    group=GROUP,
)
NO_LIVENESS = rule(
    "liveness-probe-missing",
    Severity.warning,
    "An engine that hangs stays in service until somebody notices.",
    group=GROUP,
)
KEYED = rule(
    "probe-needs-key",
    Severity.error,
    "With an API key, paths under /v1 answer 401 to a probe, which then kills the pod.",
    group=GROUP,
)
LEAST_TIMEOUT_S = 5.0  # 1 s dropped saturated pods in the field; 15 s held
LEAST_PATIENCE_S = 60.0  # of a liveness probe: period × failures
_BILLIONS = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
_FOUR_BITS = re.compile(r"awq|gptq|int4|4[-_]?bit|w4a16|nf4|fp4|mxfp4", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"fp8|int8|8[-_]?bit|w8a8|w8a16", re.IGNORECASE)


def needed_s(engine: Engine) -> tuple[float, str]:
    """Seconds that a start may take at least, and where the figure is from."""
    planned = engine.pod.startup_budget if engine.pod else None
    if planned:
        return planned, "the plan's budget"
    from deployctl.planning import startup  # the planner is slow to import

    size = weight_bytes(engine.model)
    if size is None:
        return float(startup.LEAST_S), "shorter budgets have killed pods that still loaded"
    whole = startup.budget_s(
        weight_bytes=size,
        local=engine.model_local,
        layers=0,
        graphs=0,
        eager="enforce-eager" in engine.command.flags,
        world=engine.world or 1,
        cpu=engine.cpu,
    )
    estimate = max(whole / startup.MARGIN, float(startup.LEAST_S))
    return estimate, f"about {size / 1e9:.0f} GB of weights, by the model's name"


def weight_bytes(model: str) -> float | None:
    """A guess at the size of a checkpoint from its name; None when the name tells nothing."""
    last = model.rstrip("/").rsplit("/", 1)[-1]
    found = _BILLIONS.search(last)
    if found is None or len(last) > 200:
        return None
    billions = float(found[2]) * int(found[1] or 1)
    if not 0 < billions < 5000:
        return None
    each = 0.6 if _FOUR_BITS.search(last) else 1.05 if _EIGHT_BITS.search(last) else 2.0
    return billions * 1e9 * each


@check
def budgets(scene: Scene) -> Iterator[Finding]:
    """Start-up budgets of Kubernetes containers."""
    for engine in scene.engines:
        if engine.pod is None or engine.pod.document.kind in ("Job", "CronJob"):
            continue
        data = engine.data
        first = "startupProbe" if "startupProbe" in data else "livenessProbe"
        probe = mapping(data.get(first))
        if first == "livenessProbe" and probe:
            yield NO_STARTUP.at(
                engine.place.child("startupProbe"),
                "the liveness probe alone must wait for loading and find a dead engine soon",
                "add a startupProbe on /health with the start-up budget of deployctl plan",
            )
        if not probe:
            continue
        given = allowed_s(probe)
        needed, why = needed_s(engine)
        if given < needed:
            yield BUDGET.at(
                engine.place.child(first),
                f"gives up after {duration(given)}; a start may take {duration(needed)} ({why})",
                f"write failureThreshold: {_failures(probe, needed)}",
            )


def allowed_s(probe: dict[str, Any]) -> float:
    """Seconds from the start of the container until the probe has failed for good."""
    return _get(probe, "initialDelaySeconds", 0) + _period(probe) * _get(
        probe, "failureThreshold", 3
    )


def _failures(probe: dict[str, Any], needed: float) -> int:
    rest = max(0.0, needed - _get(probe, "initialDelaySeconds", 0))
    return int(-(-rest // max(1.0, _period(probe))))


def _get(probe: dict[str, Any], key: str, default: float) -> float:
    value = number(probe.get(key))
    return default if value is None or value < 0 else min(value, 1e9)


def _period(probe: dict[str, Any]) -> float:
    return _get(probe, "periodSeconds", 10) or 10.0


@check
def patience(scene: Scene) -> Iterator[Finding]:
    """Time-outs of the probes that run while the engine serves."""
    for engine in scene.engines:
        if engine.pod is None or engine.pod.document.kind in ("Job", "CronJob"):
            continue
        place = engine.place
        liveness, readiness = (
            mapping(engine.data.get(f"{k}Probe")) for k in ("liveness", "readiness")
        )
        if liveness:
            yield from _liveness(place.child("livenessProbe"), liveness)
        else:
            yield NO_LIVENESS.at(
                place.child("livenessProbe"),
                "nothing restarts an engine that hangs",
                "add a livenessProbe on /health: timeoutSeconds 15, failureThreshold 10",
            )
        timeout = _get(readiness, "timeoutSeconds", 1)
        if not readiness:
            yield NO_READINESS.at(
                place.child("readinessProbe"),
                "the pod counts as ready while the model loads",
                "add a readinessProbe on /health",
            )
        elif timeout < LEAST_TIMEOUT_S:
            yield READINESS.at(
                place.child("readinessProbe", "timeoutSeconds"),
                f"waits {duration(timeout)} for an answer",
                "write timeoutSeconds: 15",
            )


def _liveness(place: Place, probe: dict[str, Any]) -> Iterator[Finding]:
    timeout = _get(probe, "timeoutSeconds", 1)
    patience_s = _period(probe) * _get(probe, "failureThreshold", 3)
    if timeout < LEAST_TIMEOUT_S:
        yield LIVENESS.at(
            place.child("timeoutSeconds"),
            f"waits {duration(timeout)} for an answer, then counts a failure",
            "write timeoutSeconds: 15 and failureThreshold: 10",
        )
    elif patience_s < LEAST_PATIENCE_S:
        yield LIVENESS.at(
            place.child("failureThreshold"),
            f"kills the engine after {duration(patience_s)} without an answer",
            "write failureThreshold: 10",
            severity=Severity.warning,
        )


@check
def keyed_paths(scene: Scene) -> Iterator[Finding]:
    """Probes that ask what only a client with the key may ask."""
    for engine in scene.engines:
        if engine.pod is None or not engine.keyed:
            continue
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            path = text(dig(engine.data, probe, "httpGet", "path"))
            if path.startswith("/v1") and not dig(engine.data, probe, "httpGet", "httpHeaders"):
                yield KEYED.at(
                    engine.place.child(probe, "httpGet", "path"),
                    f"{path[:60]} asks for the API key",
                    "ask /health",
                )
