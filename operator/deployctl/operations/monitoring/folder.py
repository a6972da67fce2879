"""Files for a Prometheus, an Alertmanager and a Grafana that run already."""

import re
from collections.abc import Sequence
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
    monitor_port: int | None = None,
) -> dict[str, str]:
    """The files by path. `host`: by which name Prometheus reaches the services' host, if not by
    loopback; `monitor_port`: of the gateway before them, on Docker if it is not the usual one.

    Raises:
        InputError: that is no name of a host, or no service is scraped by such a port.
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
    if monitor_port is not None and not any(behind_gateway(e.plan, e.spec) for e in prepared):
        said, flag = "no service here is behind a gateway", "--monitor-port"
        raise InputError(said, where=flag, hint="leave it out, or say --gateway")
    monitor = f"{host}:{monitor_port}" if monitor_port else ""
    port = monitor_port or MONITOR_PORT
    services = [
        Watched(
            each.plan,
            each.spec.model_copy(update={"target": each.target}),
            *(
                reached(each.plan, each.spec, host, token_file(each.plan.name), port)
                if each.target == "docker"
                else (f"{host}:{each.spec.port}", token_file(each.plan.name), "", (), monitor)
            ),
        )
        for each in prepared
    ]
    return monitoring_folder(services, receivers)


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
