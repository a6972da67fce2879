"""Probes: a start takes minutes, and a saturated engine answers late without being ill."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from deployctl.checking.documents import Place
from deployctl.checking.engine import DeclaredEngine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.values import dig, mapping, number, text
from deployctl.units import duration

BUDGET = rule("startup-budget")
NO_STARTUP = rule("startup-probe-missing")
LIVENESS = rule("liveness-timeout")
READINESS = rule("readiness-timeout")
NO_READINESS = rule("readiness-probe-missing")
NO_LIVENESS = rule("liveness-probe-missing")
KEYED = rule("probe-needs-key")
LEAST_TIMEOUT_S = 5.0  # 1 s dropped saturated pods in the field; 15 s held
LEAST_UNANSWERED_S = 60.0  # before a liveness probe kills: period × failures
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")
_BILLIONS = re.compile(r"(?:(\d+)x)?(\d+(?:\.\d+)?)b(?![a-z])", re.IGNORECASE)
_FOUR_BITS = re.compile(r"awq|gptq|int4|4[-_]?bit|w4a16|nf4|fp4|mxfp4", re.IGNORECASE)
_EIGHT_BITS = re.compile(r"fp8|int8|8[-_]?bit|w8a8|w8a16", re.IGNORECASE)


def needed_s(engine: DeclaredEngine) -> tuple[float, str]:
    """Seconds that a start may take at least, and where the figure is from."""
    if engine.startup_budget:
        return engine.startup_budget, "the plan's budget"
    from deployctl.planning import estimates  # the planner is slow to import

    size = weight_bytes(engine.model)
    least = float(estimates.LEAST_STARTUP_S)
    if size is None:
        return least, "shorter budgets have killed pods that still loaded"
    whole = estimates.startup_s(
        weight_bytes=size,
        local=engine.model_local,
        layers=0,
        graphs=0,
        eager="enforce-eager" in engine.command.flags,
        world=engine.world or 1,
        cpu=engine.cpu,
    )
    estimate = max(whole / estimates.STARTUP_MARGIN, least)
    return estimate, f"about {size / 1e9:.0f} GB of weights, by the model's name"


def weight_bytes(model: str) -> float | None:
    """A guess at the size of a checkpoint from its name; None when the name tells nothing."""
    last = model.rstrip("/").rsplit("/", 1)[-1]
    match = _BILLIONS.search(last)
    if match is None or len(last) > 200:
        return None
    billions = float(match[2]) * int(match[1] or 1)
    if not 0 < billions < 5000:
        return None
    each = 0.6 if _FOUR_BITS.search(last) else 1.05 if _EIGHT_BITS.search(last) else 2.0
    return billions * 1e9 * each


@dataclass(frozen=True)
class Probe:
    """A container's probe, with the defaults of Kubernetes. Times in seconds."""

    place: Place
    data: dict[str, Any]

    def _number(self, key: str, default: float) -> float:
        value = number(self.data.get(key))
        return default if value is None or value < 0 else min(value, 1e9)

    @property
    def delay_s(self) -> float:
        """From the start of the container to the first question."""
        return self._number("initialDelaySeconds", 0)

    @property
    def period_s(self) -> float:
        """Between two questions."""
        return self._number("periodSeconds", 10) or 10.0

    @property
    def timeout_s(self) -> float:
        """How long it waits for an answer."""
        return self._number("timeoutSeconds", 1)

    @property
    def unanswered_s(self) -> float:
        """How long answers may fail before it has failed for good."""
        return self.period_s * self._number("failureThreshold", 3)


def _probe(engine: DeclaredEngine, kind: str) -> Probe | None:
    data = mapping(engine.data.get(kind))
    return Probe(engine.place.child(kind), data) if data else None


@check
def budgets(manifests: Manifests) -> Iterator[Finding]:
    """Start-up budgets of Kubernetes containers."""
    for engine in manifests.serving_engines:
        kind = "startupProbe" if "startupProbe" in engine.data else "livenessProbe"
        probe = _probe(engine, kind)
        if probe is None:
            continue
        if kind == "livenessProbe":
            yield NO_STARTUP.at(
                engine.place.child("startupProbe"),
                "the liveness probe alone must wait for loading and find a dead engine soon",
                "add a startupProbe on /health with the start-up budget of deployctl plan",
            )
        allowed = probe.delay_s + probe.unanswered_s
        needed, why = needed_s(engine)
        if allowed < needed:
            failures = math.ceil(max(0.0, needed - probe.delay_s) / max(1.0, probe.period_s))
            yield BUDGET.at(
                probe.place,
                f"gives up after {duration(allowed)}; a start may take {duration(needed)} ({why})",
                f"write failureThreshold: {failures}",
            )


@check
def timeouts(manifests: Manifests) -> Iterator[Finding]:
    """Time-outs of the probes that run while the engine serves."""
    for engine in manifests.serving_engines:
        liveness = _probe(engine, "livenessProbe")
        if liveness is not None:
            yield from _liveness(liveness)
        else:
            yield NO_LIVENESS.at(
                engine.place.child("livenessProbe"),
                "nothing restarts an engine that hangs",
                "add a livenessProbe on /health: timeoutSeconds 15, failureThreshold 10",
            )
        readiness = _probe(engine, "readinessProbe")
        if readiness is None:
            yield NO_READINESS.at(
                engine.place.child("readinessProbe"),
                "the pod counts as ready while the model loads",
                "add a readinessProbe on /health",
            )
        elif readiness.timeout_s < LEAST_TIMEOUT_S:
            yield READINESS.at(
                readiness.place.child("timeoutSeconds"),
                f"waits {duration(readiness.timeout_s)} for an answer",
                "write timeoutSeconds: 15",
            )


def _liveness(probe: Probe) -> Iterator[Finding]:
    if probe.timeout_s < LEAST_TIMEOUT_S:
        yield LIVENESS.at(
            probe.place.child("timeoutSeconds"),
            f"waits {duration(probe.timeout_s)} for an answer, then counts a failure",
            "write timeoutSeconds: 15 and failureThreshold: 10",
        )
    elif probe.unanswered_s < LEAST_UNANSWERED_S:
        yield LIVENESS.at(
            probe.place.child("failureThreshold"),
            f"kills the engine after {duration(probe.unanswered_s)} without an answer",
            "write failureThreshold: 10",
            severity=Severity.warning,
        )


@check
def keyed_paths(manifests: Manifests) -> Iterator[Finding]:
    """Probes that ask what only a client with the key may ask."""
    for _, engine in manifests.pod_engines:
        if not engine.keyed:
            continue
        for probe in PROBES:
            asked = mapping(dig(engine.data, probe, "httpGet"))
            path = text(asked.get("path"))
            if path.startswith("/v1") and not asked.get("httpHeaders"):
                yield KEYED.at(
                    engine.place.child(probe, "httpGet", "path"),
                    f"{path[:60]} asks for the API key",
                    "ask /health",
                )
