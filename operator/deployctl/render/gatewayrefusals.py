"""What no gateway can do for a service, in words. Pure."""

from deployctl.errors import InputError, PlanRefusedError
from deployctl.planning.plan import ServingPlan
from deployctl.spec import ServiceSpec

MOST_PORT = 65535


def port_of_the_monitor(port: int) -> InputError:
    """It is not for services: the gateway tells its own health and metrics there."""
    return InputError(
        f"port {port} is where the gateway tells its own health and metrics",
        where="gateway_port",
        hint="give the service another with --gateway-port",
    )


def refuse_unserved(spec: ServiceSpec, hint: str = "add --gateway, or leave it out") -> None:
    """Refuses what is said of a gateway that there is none of.

    Raises:
        InputError: says what.
    """
    for name in ("gateway_port", "hold", "with_chat"):
        if getattr(spec, name):
            raise InputError(
                f"{name} is said of a gateway, and {spec.service} is behind none",
                where=name,
                hint=hint,
            )


def refuse_without(plan: ServingPlan, spec: ServiceSpec) -> None:
    """Refuses several engines of a host, or a domain, that are to do without one.

    Raises:
        InputError: the engines would have an address each, the domain would not be served.
    """
    if spec.gateway is not False:
        return
    if spec.domain:
        raise InputError(
            f"{plan.name} is served at {spec.domain} by the gateway alone",
            where="gateway",
            hint="leave out --no-gateway, or --domain",
        )
    if plan.replicas > 1:
        raise InputError(
            f"{plan.replicas} replicas of {plan.name} have one address by the gateway alone",
            where="gateway",
            hint="leave --no-gateway out, or say --replicas 1",
        )


def refuse_ports(plan: ServingPlan, spec: ServiceSpec, port: int) -> None:
    """Refuses engines as processes whose ports, one after the other, are none, or the gateway's.

    Raises:
        InputError: says which.
    """
    last = spec.port + plan.replicas - 1
    if last > MOST_PORT:
        raise InputError(
            f"{plan.replicas} replicas have ports {spec.port} to {last}, and there is none above "
            f"{MOST_PORT}",
            where="port",
            hint="give the first another with --port",
        )
    if spec.port <= port <= last:
        raise InputError(
            f"port {port} cannot be the gateway's and an engine's",
            where="gateway_port",
            hint="give the engine another with --port, or the gateway with --gateway-port",
        )


def refuse(spec: ServiceSpec) -> None:
    """Refuses a gateway on a cluster.

    Raises:
        InputError: there is none, and something is said of it.
        PlanRefusedError: the service wants one, or what one alone does.
    """
    if spec.wants_gateway:
        where = "domain" if spec.domain else "gateway"
        raise PlanRefusedError(
            "a gateway stands before the services of a host alone",
            where=where,
            hint="on Kubernetes an Ingress or the Gateway API does that",
        )
    refuse_unserved(spec, "leave it out: on Kubernetes there is none")
    if spec.routing == "least-busy":
        raise PlanRefusedError(
            "a Service of Kubernetes asks nobody how busy a pod is",
            where="routing",
            hint="leave it out, or give --routing prefix for a router",
        )
