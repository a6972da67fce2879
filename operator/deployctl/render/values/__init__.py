"""The chart's values, as a model: the one source of its schema, its defaults and their docs.

scripts/chart.py writes charts/vllm/values.{yaml,schema.json} and docs/reference/values.md.
"""

from pydantic import Field

from deployctl.render.values.base import Labels, Line, Name, Section
from deployctl.render.values.cluster import (
    Alerts,
    Autoscaling,
    Dashboards,
    HttpRoute,
    Ingress,
    Monitoring,
    NetworkPolicy,
    Router,
    Service,
    Tests,
)
from deployctl.render.values.pods import (
    ApiKey,
    Cache,
    DisruptionBudget,
    Download,
    Drain,
    EngineSection,
    Gpu,
    HubToken,
    Model,
    Probes,
    Resources,
    RolloutSection,
    Scheduling,
    Security,
)

__all__ = ["Values"]


class Values(Section):
    """All of charts/vllm/values.yaml."""

    name: Name = Field("", description="Name of the objects. [default: the release's]")
    labels: Labels = Field({}, description="Labels on every object.")
    managed_by: Line = Field("", max_length=63, description="[default: Helm]")
    replicas: int = Field(1, ge=0, le=1000, description="Copies of the engine.")
    engine: EngineSection = Field(EngineSection(), description="The engine and what it is told.")
    model: Model = Field(Model(), description="Which checkpoint, and where it lies.")
    api_key: ApiKey = Field(ApiKey(), description="The key that clients must give.")
    hub_token: HubToken = Field(HubToken(), description="For gated and private models.")
    gpu: Gpu = Field(Gpu(), description="Cards of one replica.")
    resources: Resources = Field(Resources(), description="What a replica needs beside cards.")
    cache: Cache = Field(Cache(), description="Where downloads and compiled code are kept.")
    download: Download = Field(Download(), description="A Job that fetches the model once.")
    scheduling: Scheduling = Field(Scheduling(), description="Which nodes.")
    security: Security = Field(Security(), description="Who the containers run as.")
    probes: Probes = Field(Probes(), description="When a pod is started, ready and alive.")
    drain: Drain = Field(Drain(), description="How a pod ends without losing requests.")
    rollout: RolloutSection = Field(RolloutSection(), description="How pods are replaced.")
    disruption_budget: DisruptionBudget = Field(
        DisruptionBudget(), description="What a node's drain may take at once."
    )
    service: Service = Field(Service(), description="The Service that clients use.")
    network_policy: NetworkPolicy = Field(NetworkPolicy(), description="Who may connect.")
    ingress: Ingress = Field(Ingress(), description="An Ingress for streams.")
    http_route: HttpRoute = Field(HttpRoute(), description="A Gateway API route for streams.")
    monitoring: Monitoring = Field(Monitoring(), description="How Prometheus finds metrics.")
    alerts: Alerts = Field(Alerts(), description="A PrometheusRule.")
    dashboards: Dashboards = Field(Dashboards(), description="Dashboards for Grafana.")
    autoscaling: Autoscaling = Field(Autoscaling(), description="Replicas that follow the load.")
    router: Router = Field(Router(), description="The upstream router, before the replicas.")
    tests: Tests = Field(Tests(), description="helm test.")
