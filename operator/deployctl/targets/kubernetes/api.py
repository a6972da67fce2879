"""Api: requests and streams to one API server.

By urllib3 itself: Kubernetes' client asks by it too, and takes longer to import than all of
`status` takes, for what nothing here uses (benchmarks/cluster).
"""

import json
import ssl
import tempfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3

from deployctl import __version__
from deployctl.targets.kubernetes import proxy
from deployctl.targets.kubernetes.identity import Pairs
from deployctl.targets.kubernetes.kubeconfig import ServerAccess

if TYPE_CHECKING:
    from websocket import WebSocket

_KEPT = 32  # connections: several services may be brought up at once
_CHANNELS = "v5.channel.k8s.io,v4.channel.k8s.io"  # protocols of a stream, the best first
_TLS = "https"
_OPEN_S = 30.0  # for each word until a stream is open: a balancer may take us in and never answer


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
            ClusterError: the proxy speaks what we do not.
        """
        self.host = access.host
        self._credential, self._as = access.credential, as_whom
        self._server_name = access.server_name
        self._proxy = proxy.proxy_for(access.host, access.proxy)
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
        """Opens a stream, as exec and port-forward are. It gives up where nothing comes for
        seconds; how long it waits from then on is for who uses it to say (`settimeout`).

        Raises:
            WebSocketException: it is refused, or does not open.
        """
        from websocket import WebSocket

        lines = [f"{name}: {value}" for name, value in self._headers({}).items()]
        lines.append(f"sec-websocket-protocol: {_CHANNELS}")
        options: dict[str, Any] = {
            "header": lines,
            "timeout": _OPEN_S,
            **proxy.of_stream(self._proxy),
        }
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
        return proxy.manager(self._proxy, options)


def _tls(access: ServerAccess) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if not access.verified:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    elif access.ca:
        # ssl takes ASCII alone; whatever else is there stands in comments between certificates.
        context.load_verify_locations(cadata=access.ca.decode("ascii", "ignore"))
    else:
        context.load_default_certs()
    if access.certificate:
        # ssl takes these from a file alone, which is ours to read, and gone at once.
        with tempfile.NamedTemporaryFile() as file:
            file.write(access.certificate + b"\n" + (access.key or b""))
            file.flush()
            context.load_cert_chain(file.name)
    return context
