"""GatewayEntry: what one service wants of the gateway, a small document of its bundle. Pure."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from deployctl.render.bundle import EVERYWHERE, LOOPBACK
from deployctl.spec import Routing, ServiceSpec

HTTP_PORT, HTTPS_PORT = 8080, 443


class GatewayEntry(BaseModel):
    """What one service wants of the gateway."""

    model_config = ConfigDict(frozen=True)

    version: Literal[1] = 1
    service: str
    port: int  # of the gateway
    exposed: bool  # on every interface, or on loopback
    domain: str | None
    tls: Literal["acme", "internal"] | None
    hold_s: int
    replicas: int = 1  # engines
    routing: Routing = "least-busy"
    at_once: int | None = None  # requests that each engine computes at once; None: not known
    root: bool = False  # it has the paths that begin with no service's name
    chat: bool = False  # it has a chat page

    @property
    def host(self) -> str:
        """The address on which the gateway listens."""
        return EVERYWHERE if self.exposed else LOOPBACK

    @property
    def upstreams(self) -> list[str]:
        """The files with the addresses of its engines, below UPSTREAMS. Whoever comes from outside
        is led by others than loopback's: a request that came while it was exposed, and that the
        proxy has still, finds no engine that asks for no key."""
        name = f"{self.service}.exposed" if self.exposed else self.service
        several = [f"{name}.{number}" for number in range(self.replicas)]
        return several if self.replicas > 1 else [name]

    @property
    def by_prefix(self) -> bool:
        """Whether there is a choice that a prompt's beginning makes."""
        return self.replicas > 1 and self.routing == "prefix"

    @property
    def url(self) -> str:
        """Where clients find it: no trailing slash, no `/v1`."""
        scheme, usual = ("https", HTTPS_PORT) if self.domain else ("http", 80)
        port = "" if self.port == usual else f":{self.port}"
        path = "" if self.root else f"/{self.service}"
        return f"{scheme}://{self.domain or LOOPBACK}{port}{path}"


def port_of(spec: ServiceSpec) -> int:
    """Where clients find a service that is behind it."""
    return spec.gateway_port or (HTTPS_PORT if spec.domain else HTTP_PORT)
