"""Values of who reaches the engine, and how."""

from typing import Annotated, Literal

from pydantic import Field

from deployctl.render.values.base import (
    Annotations,
    HostName,
    Labels,
    Namespace,
    ObjectName,
    Section,
)

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

    hub: bool = Field(True, description="HTTPS to the world, for the Hub, while it downloads.")
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
        description="Prometheus. Metrics are on the API's port, so clients reach them too, "
        "unless there is a router.",
    )
    egress: Egress = Field(Egress(), description="What the engine may reach.")


class Ingress(Section):
    """An Ingress whose time-outs leave streams alone."""

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
