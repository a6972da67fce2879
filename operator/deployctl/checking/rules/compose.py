"""Compose: the same engine on one host, with Compose's own ways to go wrong."""

import re
from collections.abc import Iterator
from typing import Any

from deployctl.checking.compose import literal, reservations
from deployctl.checking.engine import DeclaredEngine
from deployctl.checking.finding import Finding, Severity, check, rule
from deployctl.checking.manifests import Manifests
from deployctl.checking.rules import exposure, gpu, probes, security, updates
from deployctl.checking.values import dig, items, mapping, number, seconds, text
from deployctl.units import duration

SERVICE = rule("compose-service")
HEALTH = rule("healthcheck-missing")
START = rule("start-period")
TIMEOUT = rule("healthcheck-timeout")
GPU = rule("gpu-reservation")
_HEALTHY_TIMEOUT_S = 5.0
_LOOPBACK = ("127.", "localhost", "[::1]", "::1")
_IPV4 = re.compile(r"^(\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]|localhost):", re.IGNORECASE)


@check
def services(manifests: Manifests) -> Iterator[Finding]:
    """What makes a mapping a service, and privileges of any."""
    for service in manifests.compose_services:
        given = dig(service.place.document.data, *service.place.path)
        if not isinstance(given, dict):
            yield SERVICE.at(service.place, "this is not a service", "write image: …")
        elif not any(key in given for key in ("image", "build", "extends")):
            yield SERVICE.at(service.place, "has neither image nor build", "write image: …")
        if service.data.get("privileged") is True:
            yield security.PRIVILEGED.at(
                service.place.child("privileged"),
                f"the service {service.name[:60]} is privileged",
                "remove it; a GPU needs a device reservation and no privilege",
            )


@check
def health(manifests: Manifests) -> Iterator[Finding]:
    """Health checks against loading and load."""
    for engine in manifests.compose_engines:
        place = engine.place.child("healthcheck")
        given = mapping(engine.data.get("healthcheck"))
        if not given or given.get("disable") is True:
            yield HEALTH.at(
                place,
                "nothing checks whether the engine answers",
                "add a healthcheck on /health with a start_period from deployctl plan",
            )
            continue
        needed, why = probes.needed_s(engine)
        start = seconds(literal(given.get("start_period"))) or 0.0
        interval = seconds(literal(given.get("interval"))) or 30.0
        retries = number(given.get("retries")) or 3.0
        allowed = start + interval * retries
        if allowed < needed:
            yield START.at(
                place.child("start_period"),
                f"counts as unhealthy after {duration(allowed)}; a start may take "
                f"{duration(needed)} ({why})",
                f"write start_period: {int(needed)}s",
            )
        asked = " ".join(str(w) for w in items(given.get("test"))) + text(given.get("test"))
        if engine.keyed and "/v1/" in asked and "Authorization" not in asked:
            yield probes.KEYED.at(
                place.child("test"), "a path under /v1 asks for the API key", "ask /health"
            )
        timeout = seconds(literal(given.get("timeout")))
        if timeout is not None and timeout < _HEALTHY_TIMEOUT_S:
            yield TIMEOUT.at(
                place.child("timeout"), f"waits {duration(timeout)}", "write timeout: 15s"
            )


@check
def devices(manifests: Manifests) -> Iterator[Finding]:
    """GPUs and shared memory."""
    for engine in manifests.compose_engines:
        reserved = reservations(engine.data)
        if engine.nvidia and not reserved and engine.data.get("runtime") != "nvidia":
            yield GPU.at(
                engine.place.child("deploy"),
                "the engine is built for CUDA and reserves no device"
                if engine.image.cuda
                else "reserves no device, and needs one if the image is built for CUDA",
                "write deploy.resources.reservations.devices: driver nvidia, count 1, "
                "capabilities [gpu]",
                severity=None if engine.image.cuda else Severity.note,
            )
        for device in reserved:
            if "gpu" not in [str(c) for c in items(device.get("capabilities"))]:
                yield GPU.at(
                    engine.place.child("deploy"),
                    "a device is reserved without the capability gpu",
                    "write capabilities: [gpu]",
                )
            yield from _count(engine, device)
        shared = engine.data.get("ipc") == "host"
        mount = engine.mount_at("/dev/shm")  # noqa: S108
        if engine.parallel and not shared:
            size = mount.size if mount else None
            if mount is None or (size is not None and size < gpu.LEAST_SHM):
                yield gpu.SHM.at(
                    engine.place.child("shm_size"),
                    f"several ranks share {(size or 64 * 1024**2) / 1024**2:.0f} MiB of /dev/shm",
                    "write shm_size: 8gb a GPU",
                )


def _count(engine: DeclaredEngine, device: dict[str, Any]) -> Iterator[Finding]:
    ids = items(device.get("device_ids"))
    count = len(ids) if ids else number(device.get("count"))
    if count is None or not engine.world or not engine.nvidia:
        return
    if engine.world > count:
        yield gpu.COUNT.at(
            engine.place.child("deploy"),
            f"the engine needs {engine.world} GPUs and gets {count:.0f}",
            f"write count: {engine.world}, or --tensor-parallel-size {count:.0f}",
        )


@check
def life(manifests: Manifests) -> Iterator[Finding]:
    """Restarts and the end."""
    for engine in manifests.compose_engines:
        policy = literal(engine.data.get("restart"))
        if policy in ("", "no") or policy.startswith("on-failure"):
            deployed = text(dig(engine.data, "deploy", "restart_policy", "condition"))
            if deployed == "any":
                continue
            yield updates.RESTART.at(
                engine.place.child("restart"),
                "an engine that exits with 0 is not restarted"
                if policy.startswith("on-failure")
                else "an engine that exits is not restarted",
                "write restart: unless-stopped",
            )
        grace = seconds(literal(engine.data.get("stop_grace_period"))) or 10.0
        if grace < updates.DEFAULT_GRACE_S:
            yield updates.GRACE.at(
                engine.place.child("stop_grace_period"),
                f"requests have {grace:.0f} s to end",
                "write stop_grace_period: 60s",
            )


@check
def access(manifests: Manifests) -> Iterator[Finding]:
    """Ports that everybody reaches."""
    for engine in manifests.compose_engines:
        host = engine.data.get("network_mode") == "host"
        for index, port in enumerate(items(engine.data.get("ports"))):
            if _open(port):
                place = engine.place.child("ports", index)
                who = "the port is open on every interface and leads to the engine"
                yield from exposure.reached(engine, place, who)
        if host and not (engine.command.text("host") or "").startswith(_LOOPBACK):
            place = engine.place.child("network_mode")
            who = "the host's own interfaces lead to the engine"
            yield from exposure.reached(engine, place, who)


def _open(port: Any) -> bool:
    if isinstance(port, dict):
        address = text(port.get("host_ip"))
        return port.get("published") is not None and not address.startswith(_LOOPBACK)
    given = literal(port)
    bound = _IPV4.match(given)
    return bool(given) and not (bound and bound[1].startswith(_LOOPBACK)) and "expose" not in given


@check
def confinement(manifests: Manifests) -> Iterator[Finding]:
    """What the engine's container may do."""
    for engine in manifests.compose_engines:
        place = engine.place
        if not engine.unprivileged:
            yield security.ROOT.at(
                place.child("user"),
                "the engine runs as root, or as whatever the image says",
                'write user: "10001:10001", and give HOME and the caches a volume',
            )
        if "ALL" not in [str(c).upper() for c in items(engine.data.get("cap_drop"))]:
            yield security.CAPABILITIES.at(
                place.child("cap_drop"),
                "the engine keeps the default capabilities",
                "write cap_drop: [ALL]",
            )
        options = [str(o).replace("=", ":") for o in items(engine.data.get("security_opt"))]
        if not any(o in ("no-new-privileges", "no-new-privileges:true") for o in options):
            yield security.ESCALATION.at(
                place.child("security_opt"),
                "the engine may gain privileges",
                'write security_opt: ["no-new-privileges:true"]',
            )
        for key in ("ipc", "pid"):
            if engine.data.get(key) == "host":
                yield security.HOST.at(
                    place.child(key),
                    f"the engine shares the host's {key}",
                    "write shm_size: 8gb instead" if key == "ipc" else "remove it",
                    severity=Severity.warning if key == "ipc" else None,
                )
