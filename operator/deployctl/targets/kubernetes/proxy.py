"""Proxy: what stands between us and an API server, the same for requests and for streams."""

from contextlib import suppress
from importlib.util import find_spec
from ipaddress import ip_address, ip_network
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from deployctl.errors import ClusterError

_PORTS = {"http": 80, "https": 443}  # where none is said; of SOCKS 1080
_SOCKS = "socks"
# The streams' library asks the environment too, unless it is told of a proxy and to leave it out.
_NONE = {"http_proxy_host": "none", "http_proxy_port": 1, "http_no_proxy": ["*"]}
_NOBODY = ["-"]  # no host's name: what was decided here holds


class Proxy(NamedTuple):
    """One that is to be asked."""

    scheme: str
    host: str
    port: int
    login: tuple[str, str] | None = None  # user and password; never printed

    @property
    def url(self) -> str:
        """Its address, without a login."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def proxy_for(server: str, named: str | None) -> Proxy | None:
    """The one that the kubeconfig names; else the environment's, unless that leaves it out.

    Raises:
        ValueError: it is no address.
        ClusterError: what speaks with it is not installed.
    """
    address = named or _usual(server)
    if not address:
        return None
    parts = urlsplit(address if "://" in address else f"http://{address}")
    if not parts.hostname:
        raise ValueError("the proxy's address has no host")
    login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    port = parts.port or _PORTS.get(parts.scheme, 1080)
    found = Proxy(parts.scheme, parts.hostname, port, login)
    if found.scheme.startswith(_SOCKS) and find_spec("socks") is None:
        raise ClusterError(
            "the proxy speaks SOCKS, for which the library PySocks is missing",
            where=found.url,
            hint="install PySocks, and python-socks for streams; or name a proxy that speaks HTTP, "
            "or leave the cluster out with NO_PROXY",
        )
    return found


def manager(proxy: Proxy | None, options: dict[str, Any]) -> urllib3.PoolManager:
    """What keeps the connections of requests."""
    if proxy is None:
        return urllib3.PoolManager(**options)
    user, password = proxy.login or (None, None)
    if proxy.scheme.startswith(_SOCKS):
        from urllib3.contrib.socks import SOCKSProxyManager

        return SOCKSProxyManager(proxy.url, username=user, password=password, **options)
    shown = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}") if proxy.login else None
    return urllib3.ProxyManager(proxy.url, proxy_headers=shown, **options)


def of_stream(proxy: Proxy | None) -> dict[str, Any]:
    """The same as options of WebSocket.connect.

    Raises:
        ClusterError: no stream goes through it.
    """
    if proxy is None:
        return dict(_NONE)
    if proxy.scheme == "https":
        raise ClusterError(
            "no stream can be opened through a proxy that is asked by https",
            where=proxy.url,
            hint="name one that is asked by http, under proxy-url or HTTPS_PROXY",
        )
    return {
        "http_proxy_host": proxy.host,
        "http_proxy_port": proxy.port,
        "http_proxy_auth": proxy.login,
        "proxy_type": proxy.scheme,
        "http_no_proxy": _NOBODY,
    }


def _usual(server: str) -> str | None:
    """The one that the environment names, unless it leaves this server out."""
    parts, proxies = urlsplit(server), getproxies()
    name = parts.hostname or ""
    if proxy_bypass(name) or _is_within(name, proxies.get("no", "")):
        return None
    return proxies.get(parts.scheme) or proxies.get("all")


def _is_within(host: str, left_out: str) -> bool:
    """Whether it is an address of a network that NO_PROXY leaves out (10.0.0.0/8), which kubectl
    takes too, and Python's own library does not."""
    for each in left_out.split(","):
        with suppress(ValueError):  # names
            if ip_address(host) in ip_network(each.strip(), strict=False):
                return True
    return False
