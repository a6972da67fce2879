"""The chart's values, as a model: the one source of its schema, its defaults and their docs.

scripts/chart.py writes charts/vllm/values.{yaml,schema.json} and docs/reference/values.md.
"""

from typing import Any

from pydantic import Field

from deployctl.render.values import cluster, pods
from deployctl.render.values.base import Labels, Line, Name, Section
from deployctl.render.values.door import DoorSection
from deployctl.render.values.scheduling import Scheduling

__all__ = ["Values"]


def _section(kind: type[Section]) -> Any:
    return Field(kind(), description=kind.__doc__)


class Values(Section):
    """All of charts/vllm/values.yaml."""

    name: Name = Field("", description="Name of the objects. [default: the release's]")
    labels: Labels = Field({}, description="Labels on every object.")
    managed_by: Line = Field("", max_length=63, description="[default: Helm]")
    replicas: int = Field(1, ge=0, le=1000, description="Copies of the engine.")
    engine: pods.EngineSection = _section(pods.EngineSection)
    model: pods.Model = _section(pods.Model)
    api_key: pods.ApiKey = _section(pods.ApiKey)
    operator_token: pods.OperatorToken = _section(pods.OperatorToken)
    door: DoorSection = _section(DoorSection)
    hub_token: pods.HubToken = _section(pods.HubToken)
    gpu: pods.Gpu = _section(pods.Gpu)
    group: pods.NodeGroup = _section(pods.NodeGroup)
    resources: pods.Resources = _section(pods.Resources)
    cache: pods.Cache = _section(pods.Cache)
    download: pods.Download = _section(pods.Download)
    scheduling: Scheduling = _section(Scheduling)
    security: pods.Security = _section(pods.Security)
    probes: pods.Probes = _section(pods.Probes)
    drain: pods.Drain = _section(pods.Drain)
    rollout: pods.RolloutSection = _section(pods.RolloutSection)
    disruption_budget: pods.DisruptionBudget = _section(pods.DisruptionBudget)
    service: cluster.Service = _section(cluster.Service)
    network_policy: cluster.NetworkPolicy = _section(cluster.NetworkPolicy)
    ingress: cluster.Ingress = _section(cluster.Ingress)
    http_route: cluster.HttpRoute = _section(cluster.HttpRoute)
    monitoring: cluster.Monitoring = _section(cluster.Monitoring)
    alerts: cluster.Alerts = _section(cluster.Alerts)
    dashboards: cluster.Dashboards = _section(cluster.Dashboards)
    autoscaling: cluster.Autoscaling = _section(cluster.Autoscaling)
    router: cluster.Router = _section(cluster.Router)
    tests: cluster.Tests = _section(cluster.Tests)
