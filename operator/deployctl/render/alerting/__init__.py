"""Recording rules and alerts of one service, from one source: Prometheus' own form and the chart's.

Every name is one that the service's release exports (engines/vllm/series.py); every alert has a
page in docs/runbooks, and a severity: `critical` wakes somebody, `warning` waits for the morning.
"""

from typing import Any

from deployctl.render.alerting import capacity, gateway, health, host, objectives, usage
from deployctl.render.alerting.host import PROBES
from deployctl.render.alerting.scope import Objectives, Scope

__all__ = ["PROBES", "Objectives", "Scope", "host_groups", "rule_groups"]


def rule_groups(scope: Scope, wanted: Objectives) -> list[dict[str, Any]]:
    """The groups of a rule file, or of a PrometheusRule's spec."""
    groups = {
        "objectives": objectives.rules(scope, wanted),
        "health": health.rules(scope),
        "capacity": capacity.rules(scope),
        "usage": usage.rules(scope),
    }
    return [
        {"name": f"deployctl-{scope.service}-{name}", "rules": list(rules)}
        for name, rules in groups.items()
    ]


def host_groups(scope: Scope, *, gateways: bool = False) -> list[dict[str, Any]]:
    """The groups of the machines, which are the same for every service: `scope` is of none. With
    those of `gateways` before services, of which a cluster has none."""
    rules = {"host": host.rules} | ({"gateway": gateway.rules} if gateways else {})
    return [{"name": f"deployctl-{name}", "rules": list(of(scope))} for name, of in rules.items()]
