"""Whether a request comes to an engine through the gateway: asked as a client of this host asks."""

from pathlib import Path

from deployctl.endpoint import Endpoint
from deployctl.render.bundle import LOOPBACK
from deployctl.render.gateway import GatewayEntry

ASK_S = 5.0


def ask(entry: GatewayEntry, ca_file: Path | None, *, place: str | None = None) -> str | None:
    """Why no request comes to the service's engine; None where one does. `place` says by which
    HOST:PORT the gateway is reached from here, where that is not its port on loopback.

    What a public authority signs is not looked into: it may not have signed yet, and it does so for
    who comes from outside.
    """
    import httpx

    from deployctl import web

    scheme = "https" if entry.domain else "http"
    headers = {"Host": entry.domain} if entry.domain else {}
    at = place or f"{LOOPBACK}:{entry.port}"
    asked = Endpoint(f"{scheme}://{at}", None, None, None, ca_file, headers)
    named = {"sni_hostname": entry.domain} if entry.domain else {}
    try:
        with web.client(asked, ASK_S) as client:
            status = client.get(f"/{entry.service}/health", extensions=named).status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        if entry.tls == "acme" and "[SSL" in str(error):
            return None
        return web.problem(error)
    return None if status == httpx.codes.OK else f"HTTP {status}"
