"""Values of what is around the pods: who reaches the engine, and what watches and scales it."""

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from deployctl.render.values.base import (
    Annotations,
    HostName,
    Image,
    Labels,
    Line,
    Namespace,
    ObjectName,
    Quantity,
    Section,
    Url,
)

ROUTER_IMAGE = "vllm/vllm-router:v0.1.17"
PROXY_IMAGE = "haproxy:3.0.11"
_CIDR = r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$|^[0-9a-fA-F:]+/[0-9]{1,3}$"


class Service(Section):
    """The Service that clients use."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        "ClusterIP", description="LoadBalancer and NodePort leave the cluster: keep the API key."
    )
    port: int = Field(8000, ge=1, le=65535, description="Port of the Service.")
    annotations: Annotations = Field({}, description="For a cloud's load balancer.")


class Peer(Section):
    """Pods, of a namespace or with labels, that may connect."""

    namespace: Namespace = Field("", description="Its name; this one when empty.")
    pod_labels: Labels = Field({}, description="Labels of the pods; all when empty.")


class Prometheus(Peer):
    """Who reads the metrics."""


class Egress(Section):
    """What the engine may reach. Only the Hub by default, and no metadata service."""

    hub: bool = Field(True, description="HTTPS to the internet, for the Hub, while it downloads.")
    blocked: list[Annotated[str, Field(pattern=_CIDR, max_length=50)]] = Field(
        [
            "169.254.0.0/16",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "fc00::/7",
            "fe80::/10",
        ],
        max_length=50,
        description="Networks that HTTPS may not go to: a cloud's metadata, the cluster itself.",
    )
    traces_port: int = Field(
        0, ge=0, le=65535, description="Port of the collector of traces, wherever it is; 0: none."
    )


class NetworkPolicy(Section):
    """Who may connect: clients to the API, Prometheus for metrics."""

    enabled: bool = Field(True, description="Make NetworkPolicies; the network must enforce them.")
    clients: list[Peer] = Field(
        [],
        max_length=50,
        description="E.g. the gateway's namespace. [default: every pod of this namespace]",
    )
    prometheus: Prometheus = Field(
        Prometheus(namespace="monitoring"),
        description="Prometheus. Metrics are on the API's port, and want the operator's token.",
    )
    egress: Egress = Field(Egress(), description="What the engine may reach.")


class Ingress(Section):
    """An Ingress whose time-outs do not cut streams."""

    enabled: bool = Field(False, description="Make an Ingress. Only /v1 is published.")
    class_name: ObjectName = Field("", description="[default: the cluster's]")
    host: HostName = Field("", description="Host name; required.")
    tls_secret: ObjectName = Field("", description="Secret with its certificate; required.")
    annotations: Annotations = Field(
        {}, description="Added to those that stop ingress-nginx from cutting or buffering streams."
    )


class ParentRef(Section):
    """A Gateway."""

    name: ObjectName = Field(min_length=1, description="Name of the Gateway.")
    namespace: Namespace = Field("", description="Its namespace; this one when empty.")
    section_name: ObjectName = Field("", description="One of its listeners.")


class HttpRoute(Section):
    """A Gateway API route without a time-out for streams."""

    enabled: bool = Field(False, description="Make an HTTPRoute. Only /v1 is published.")
    parents: list[ParentRef] = Field([], max_length=32, description="Gateways; one at least.")
    hostnames: list[HostName] = Field([], max_length=16, description="Host names.")


class Monitoring(Section):
    """How Prometheus finds the metrics."""

    kind: Literal["none", "podMonitor", "serviceMonitor"] = Field(
        "none",
        description="Needs the Prometheus operator's resources in the cluster, and the operator's "
        "token in its Secret.",
    )
    interval_seconds: int = Field(15, ge=1, le=3600, description="Scrape interval.")
    labels: Labels = Field({}, description="Labels by which your Prometheus selects monitors.")


class AlertObjectives(Section):
    """What the alerts that deployctl renders hold the service to."""

    availability: float = Field(
        0.995, ge=0, lt=1, description="Share of answers of /v1 that are no 5xx. 0: not promised."
    )
    share: float = Field(0.95, gt=0, lt=1, description="Share that keeps within the limits below.")
    ttft_seconds: float = Field(0, ge=0, le=3600, description="Time to the first token. 0: any.")
    itl_seconds: float = Field(0, ge=0, le=3600, description="Time between tokens. 0: any.")
    e2e_seconds: float = Field(0, ge=0, le=86400, description="Time of a whole request. 0: any.")


class Alerts(Section):
    """A PrometheusRule."""

    groups: list[dict[str, Any]] = Field(
        [],
        max_length=100,
        description="Groups of rules; `$service_series` in them is what selects the service's "
        "series, `$service_namespace` where it is. With a monitor, deployctl renders its own.",
    )
    labels: Labels = Field({}, description="Labels by which your Prometheus selects rules.")
    objectives: AlertObjectives = Field(AlertObjectives(), description=AlertObjectives.__doc__)
    machines: bool = Field(
        False,
        description="Alerts of the machines too, by node-exporter and DCGM exporter: the same for "
        "every service of a Prometheus, so one of them brings them.",
    )
    runbooks: Url = Field(
        "", description="Where docs/runbooks is published: `runbook_url` of alerts begins so."
    )


class Dashboards(Section):
    """ConfigMaps that Grafana's sidecar loads."""

    include: list[Literal["service", "engine", "fleet", "loadtest"]] = Field(
        [],
        max_length=4,
        description="Dashboards of deployctl's, a ConfigMap each: of the service by the names of "
        "its release, with its objectives. `fleet` shows every service: one of them brings it.",
    )
    files: dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z0-9._-]+\.json$", max_length=253)],
        Annotated[
            str, StringConstraints(max_length=900000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")
        ],
    ] = Field({}, description="Others as JSON, by file name: one ConfigMap.")
    labels: Labels = Field(
        {"grafana_dashboard": "1"}, description="Labels that Grafana's sidecar looks for."
    )


class Autoscaling(Section):
    """Autoscaling."""

    kind: Literal["none", "keda", "hpa"] = Field(
        "none",
        description="keda asks Prometheus itself; hpa needs an adapter that serves pod metrics, or "
        "cpuPercent.",
    )
    min_replicas: int = Field(1, ge=1, le=1000, description="Fewest replicas.")
    max_replicas: int = Field(2, ge=1, le=1000, description="Most replicas: as cards allow.")
    prometheus_url: Url = Field("", description="Required by keda.")
    prometheus_selector: Line = Field(
        "",
        description="Labels of our series. [default: namespace and pod, as the operator's "
        "monitors set them]",
    )
    running_per_replica: int = Field(16, ge=1, le=100000, description="Target: running requests.")
    waiting_per_replica: int = Field(5, ge=1, le=100000, description="Target: waiting requests.")
    kv_cache_percent: int = Field(
        0, ge=0, le=100, description="Target: mean use of the KV cache (keda); 0: not used."
    )
    cpu_percent: int = Field(
        0,
        ge=0,
        le=1000,
        description="Target of hpa instead of requests: mean use of the CPU request, as "
        "metrics-server tells it; for engines on a CPU. 0: not used.",
    )
    polling_seconds: int = Field(15, ge=1, le=3600, description="Between two queries (keda).")
    scale_down_seconds: int = Field(
        300, ge=0, le=3600, description="How long the load must be low: a start is expensive."
    )


class Router(Section):
    """The upstream vllm-router: a plain Service would scatter what a prefix cache holds."""

    enabled: bool = Field(False, description="Put a router before the replicas.")
    policy: Literal["prefixAware", "session", "roundRobin"] = Field(
        "prefixAware",
        description="prefixAware: to a replica that has the prompt's prefix cached; session: by "
        "the header X-Session-ID; roundRobin.",
    )
    image: Image = Field(
        ROUTER_IMAGE, description="Image, pinned; or one that docker/router.Dockerfile builds."
    )
    proxy_image: Image = Field(
        PROXY_IMAGE,
        description="HAProxy before it, which lets through what clients may ask; the image of "
        "docker/router.Dockerfile has it too.",
    )
    replicas: int = Field(
        2, ge=1, le=100, description="Routers; each keeps its own record of caches."
    )
    port: int = Field(8080, ge=1024, le=65000, description="Port where clients reach it.")
    metrics_port: int = Field(29000, ge=1024, le=65000, description="Port of its metrics.")
    cpu: Quantity = Field("500m", min_length=1, description="CPU request.")
    memory: Quantity = Field("1Gi", min_length=1, description="Memory request and limit.")
    request_timeout_seconds: int = Field(
        3600, ge=1, le=86400, description="For the longest answer, streams included."
    )


class Tests(Section):
    """`helm test`."""

    enabled: bool = Field(True, description="Render the test pod.")
