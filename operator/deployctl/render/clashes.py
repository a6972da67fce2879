"""Services of one host that cannot be beside each other: their ports, and their gateways. Pure."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from deployctl.errors import InputError
from deployctl.planning.plan import ServingPlan
from deployctl.render import gateway
from deployctl.render.gatewayentry import GatewayEntry
from deployctl.spec import ServiceSpec, TargetKind
from deployctl.spec.service import HOSTS


class Hosted(NamedTuple):
    """A service that is planned, and where it is to run."""

    plan: ServingPlan
    spec: ServiceSpec
    target: TargetKind

    @property
    def entry(self) -> GatewayEntry | None:
        """What it wants of the gateway, of which each target has its own."""
        return gateway.entry(self.plan, self.spec, contained=self.target == "docker")

    @property
    def ports(self) -> range:
        """Those of the host that its engines have: in Docker behind the gateway none."""
        if self.target == "process":
            return range(self.spec.port, self.spec.port + self.plan.replicas)
        return range(self.spec.port, self.spec.port + (self.entry is None))


def clashes(services: Iterable[Hosted], *, apart: bool = False) -> Iterator[InputError]:
    """What `up` would refuse once those before are up: for each service the first, an error of its
    own. What does not fit, or is on a cluster, is left out. `apart`: Docker's are on another host
    than processes."""
    before: list[Hosted] = []
    for each in services:
        if each.plan.verdict != "fits" or each.target not in HOSTS:
            continue
        beside = (other for other in before if not apart or other.target == each.target)
        error = next(filter(None, (_between(each, other) for other in beside)), None)
        if error is not None:
            error.service = each.plan.name
            yield error
        before.append(each)


def _between(later: Hosted, other: Hosted) -> InputError | None:
    wanted, there, name = later.entry, other.entry, other.plan.name
    if wanted and there and later.target == other.target:
        try:
            gateway.admitted(wanted, [there])
        except InputError as error:
            return error
    elif wanted and there and wanted.port == there.port:
        return InputError(
            f"port {there.port} is that of another gateway: {name} is for target {other.target}, "
            f"and {later.plan.name} for {later.target}",
            where="gateway_port",
            hint="give it a port of its own with --gateway-port, or both the same --target",
        )
    if wanted and wanted.port in other.ports:
        return InputError(
            f"port {wanted.port} cannot be the gateway's and an engine's of {name}",
            where="gateway_port",
            hint="give it another with --gateway-port, or the engine with --port",
        )
    if there and there.port in later.ports:
        return InputError(
            f"port {there.port} cannot be an engine's and the gateway's, behind which {name} is",
            where="port",
            hint="give the engine another with --port",
        )
    if both := set(later.ports) & set(other.ports):
        return InputError(
            f"port {min(both)} is an engine's of {name} too",
            where="port",
            hint="give each service its own with --port; each replica has the one after the last",
        )
    return None
