"""Api: requests and streams to one API server.

By urllib3 itself: Kubernetes' client asks by it too, and takes longer to import than all of
`status` takes, for what nothing here uses (benchmarks/cluster).
"""

import json
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3

from deployctl import __version__
from deployctl.targets.kubernetes.identity import Pairs
from deployctl.targets.kubernetes.kubeconfig import ServerAccess

if TYPE_CHECKING:
    from websocket import WebSocket

_KEPT = 32  # connections: several services may be brought up at once
_CHANNELS = "v5.channel.k8s.io,v4.channel.k8s.io"  # protocols of a stream, the best first
_TLS = "https"


class Api:
    """One API server, asked as one user.

    Raises, in every method:
        HTTPError (of urllib3), OSError: it does not answer.
        ClusterError: the credential is gone.
    """

    def __init__(self, access: ServerAccess, as_whom: Pairs = ()) -> None:
        """`as_whom` are headers by which a user acts as another one.

        Raises:
            SSLError, ValueError: certificates or proxy are none.
        """
        self.host = access.host
        self._credential, self._as = access.credential, as_whom
        self._server_name = access.server_name
        self._proxy = access.proxy or _usual_proxy(access.host)
        self._tls = _tls(access) if access.host.startswith(_TLS) else None
        self._pool = self._opened()

    def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        headers: Mapping[str, str],
        body: dict[str, Any] | None,
        *,
        timeout_s: tuple[float, float | None],
        whole: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """Asks once; seconds are those to connect, and without a byte. What is not `whole` is read
        by the caller."""
        connect, read = timeout_s
        return self._pool.request(
            method,
            f"{self.host}{path}" + (f"?{urlencode(query)}" if query else ""),
            headers=self._headers(headers),
            body=None if body is None else json.dumps(body).encode(),
            timeout=urllib3.Timeout(connect=connect, read=read),
            retries=False,
            preload_content=whole,
        )

    def stream(self, path: str) -> "WebSocket":
        """Opens a stream, as exec and port-forward are.

        Raises:
            WebSocketException: it is refused.
        """
        from websocket import WebSocket

        lines = [f"{name}: {value}" for name, value in self._headers({}).items()]
        lines.append(f"sec-websocket-protocol: {_CHANNELS}")
        options: dict[str, Any] = {"header": lines}
        if self._proxy:
            proxy = urlsplit(self._proxy)
            options |= {"http_proxy_host": proxy.hostname, "http_proxy_port": proxy.port}
        tls = {"context": self._tls, "server_hostname": self._server_name}
        socket = WebSocket(sslopt={k: v for k, v in tls.items() if v}, skip_utf8_validation=False)
        socket.connect(f"ws{self.host.removeprefix('http')}{path}", **options)  # type: ignore[no-untyped-call]
        return socket

    def _headers(self, given: Mapping[str, str]) -> urllib3.HTTPHeaderDict:
        together = urllib3.HTTPHeaderDict({"user-agent": f"deployctl/{__version__}", **given})
        if credential := self._credential():
            together["authorization"] = credential
        for name, value in self._as:
            together.add(name, value)
        return together

    def _opened(self) -> urllib3.PoolManager:
        options: dict[str, Any] = {"maxsize": _KEPT}
        if self._tls is not None:
            options["ssl_context"] = self._tls
        if self._server_name:
            options["server_hostname"] = self._server_name
        if self._proxy is None:
            return urllib3.PoolManager(**options)
        if self._proxy.startswith("socks"):
            from urllib3.contrib.socks import SOCKSProxyManager

            return SOCKSProxyManager(self._proxy, **options)
        return urllib3.ProxyManager(self._proxy, **options)


def _usual_proxy(host: str) -> str | None:
    """The one that the environment names, unless it leaves this host out."""
    parts, proxies = urlsplit(host), getproxies()
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


def _tls(access: ServerAccess) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not access.verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif access.ca:
        context.load_verify_locations(cadata=access.ca.decode())
    else:
        context.load_default_certs()
    if access.certificate:
        # ssl takes these from a file alone, which is ours to read, and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(access.certificate + b"\n" + (access.key or b""))
            file.flush()
            context.load_cert_chain(file.name)
    return context
