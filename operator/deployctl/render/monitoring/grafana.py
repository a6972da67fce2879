"""What Grafana is told: where Prometheus and Alertmanager are, and our dashboards.

Provisioning files, as Grafana reads them at its start (pkg/services/provisioning).
"""

from collections.abc import Collection, Mapping
from typing import Any

from deployctl.engines.vllm import exported
from deployctl.engines.vllm.versions import key
from deployctl.render.dashboards import dashboards
from deployctl.render.monitoring.prometheus import INTERVAL_S, Watched

DATASOURCE = "deployctl-prometheus"


def datasources(prometheus: str, alertmanager: str, *, default: bool) -> dict[str, Any]:
    """The provisioning file of data sources; `default`: Grafana has no other."""
    shared = {"access": "proxy", "orgId": 1, "editable": False}
    return {
        "apiVersion": 1,
        "datasources": [
            {
                "name": "deployctl",
                "uid": DATASOURCE,
                "type": "prometheus",
                "url": prometheus,
                "isDefault": default,
                **shared,
                "jsonData": {"httpMethod": "POST", "timeInterval": f"{INTERVAL_S}s"},
            },
            {
                "name": "deployctl alerts",
                "uid": "deployctl-alertmanager",
                "type": "alertmanager",
                "url": alertmanager,
                **shared,
                "jsonData": {"implementation": "prometheus"},
            },
        ],
    }


def provider(path: str) -> dict[str, Any]:
    """The provisioning file of dashboards: those in a folder, as Grafana sees it."""
    return {
        "apiVersion": 1,
        "providers": [
            {
                "name": "deployctl",
                "folder": "deployctl",
                "type": "file",
                "disableDeletion": False,
                "allowUiUpdates": False,
                "updateIntervalSeconds": 30,
                "options": {"path": path},
            }
        ],
    }


def boards(services: Collection[Watched]) -> Mapping[str, str]:
    """Our dashboards by file name, with the names of the release that services run: of the newest
    where they run several, and of the newest of all where there are none."""
    versions = (watched.plan.engine.version for watched in services)
    version = max(versions, key=key, default=exported.newest())
    speculates = any("--speculative-config" in each.plan.engine.args for each in services)
    return dashboards(version, speculates or not services)
