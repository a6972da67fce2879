"""What no gateway can do for a service, in words. Pure."""

from deployctl.errors import InputError, PlanRefusedError
from deployctl.spec import ServiceSpec


def port_of_the_monitor(port: int) -> InputError:
    """It is not for services: the gateway tells its own health and metrics there."""
    return InputError(
        f"port {port} is where the gateway tells its own health and metrics",
        where="gateway_port",
        hint="give the service another with --gateway-port",
    )


def refuse(spec: ServiceSpec, hint: str) -> None:
    """Refuses a gateway on a target that has none.

    Raises:
        PlanRefusedError: the service wants one, or what one alone does.
    """
    if spec.behind_gateway:
        where = "domain" if spec.domain else "gateway"
        raise PlanRefusedError(
            "a gateway stands before the services of a host alone", where=where, hint=hint
        )
    if spec.routing == "least-busy":
        raise PlanRefusedError(
            "a Service of Kubernetes asks nobody how busy a pod is",
            where="routing",
            hint="leave it out, or give --routing prefix for a router",
        )
