"""Files for a Prometheus, an Alertmanager and a Grafana that run already."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from deployctl.errors import InputError, PlanRefusedError
from deployctl.operations.prepare import Prepared, refuse_unfit
from deployctl.render.bundle import LOOPBACK, behind_gateway, listens_on
from deployctl.render.gateway import MONITOR_PORT
from deployctl.render.monitoring import Watched, monitoring_folder
from deployctl.render.monitoring.folder import token_file
from deployctl.render.monitoring.project import reached
from deployctl.spec.receivers import Receivers, load_receivers

_LOOPBACK = re.compile(r"127\.0\.0\.1|localhost")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]")
_MONITOR = re.compile(r"(docker|process)=([1-9][0-9]{0,4})")


def receivers_of(file: Path | None) -> Receivers:
    """Those of a file; none where there is no file.

    Raises:
        SpecError: the file is wrong.
    """
    return () if file is None else load_receivers(file)


def folder_of(
    prepared: Sequence[Prepared],
    receivers: Receivers,
    host: str | None = None,
    monitor_ports: Sequence[str] = (),
) -> dict[str, str]:
    """The files by path. `host`: by which name Prometheus reaches the services' host, if not by
    loopback; `monitor_ports`: of the gateways before them, each TARGET=PORT.

    Raises:
        InputError: that is no name of a host, or of no gateway before these services a port.
        PlanRefusedError: a service is on a cluster, listens where that host is not, or its plan
            refuses.
    """
    host = host or LOOPBACK
    if not _HOST.fullmatch(host):
        raise InputError(
            f"{host!r} is no name of a host",
            where="--scrape-host",
            hint="a name or an address alone: the port is the service's",
        )
    for each in prepared:
        refuse_unfit(each.plan)
        if each.target == "kubernetes":
            raise PlanRefusedError(
                f"{each.plan.name} is on a cluster, where the chart brings monitors, rules and "
                "dashboards",
                where="--target monitoring",
                hint="--target helm with values monitoring.kind, alerts and dashboards: "
                "docs/guides/dashboards.md",
            )
    _refuse_unreachable(prepared, host)
    ports = _monitors(monitor_ports, prepared)
    return monitoring_folder([_watched(each, host, ports) for each in prepared], receivers)


def _watched(each: Prepared, host: str, ports: Mapping[str, int]) -> Watched:
    """Where Prometheus finds a service on that host, and the gateway before it."""
    plan, spec = each.plan, each.spec.model_copy(update={"target": each.target})
    token, port = token_file(plan.name), ports.get(each.target)
    if each.target == "docker":
        return Watched(plan, spec, *reached(plan, spec, host, token, port or MONITOR_PORT))
    monitor = f"{host}:{port}" if port and behind_gateway(plan, spec) else ""
    return Watched(plan, spec, f"{host}:{spec.port}", token, gateway=monitor)


def _monitors(given: Sequence[str], prepared: Sequence[Prepared]) -> dict[str, int]:
    """Where gateways tell their metrics, by the target of the services behind each.

    Raises:
        InputError: that is no port of a target, or no service there is behind a gateway.
    """
    flag, found = "--monitor-port", dict[str, int]()
    there = {each.target for each in prepared if behind_gateway(each.plan, each.spec)}
    for item in given:
        match = _MONITOR.fullmatch(item)
        if match is None or int(match[2]) > 65535:
            hint = "for example process=20191; there are docker and process"
            raise InputError(f"{item!r} is not TARGET=PORT", where=flag, hint=hint)
        if match[1] not in there:
            said = f"no service of target {match[1]} here is behind a gateway"
            raise InputError(said, where=flag, hint="leave it out, or say --gateway")
        found[match[1]] = int(match[2])
    return found


def _refuse_unreachable(prepared: Sequence[Prepared], host: str) -> None:
    """Raises PlanRefusedError where Prometheus is elsewhere, and a service on loopback alone."""
    if _LOOPBACK.fullmatch(host):
        return
    loopback = [each for each in prepared if listens_on(each.plan, each.spec) == LOOPBACK]
    if hidden := [each.plan.name for each in loopback]:
        several = len(hidden) > 1
        behind = all(behind_gateway(each.plan, each.spec) for each in loopback)
        raise PlanRefusedError(
            f"{', '.join(hidden)} listen{'' if several else 's'} on loopback alone, where nothing "
            f"is found at {host}",
            where="--scrape-host",
            hint="leave --scrape-host out for a Prometheus on the services' host"
            + ("" if behind else ", or expose what is scraped from elsewhere: --expose"),
        )
