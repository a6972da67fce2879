"""As whom a cluster is asked: the headers of impersonation, on requests and on streams alike.

The client's own way loses them: it takes one value a header, and none at all for a stream.
"""

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kubernetes.client import Configuration
    from urllib3 import HTTPHeaderDict
    from websocket import WebSocket

Pairs = Sequence[tuple[str, str]]


def pairs(user: str | None, groups: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The headers that have the API server act as another user, a group each its own."""
    named = [("Impersonate-User", user)] if user else []
    return (*named, *(("Impersonate-Group", group) for group in groups))


def flags(user: str | None, groups: Sequence[str]) -> list[str]:
    """The same for Helm."""
    words = ["--kube-as-user", user] if user else []
    for group in groups:
        words += ["--kube-as-group", group]
    return words


def headers(given: dict[str, str], more: Pairs) -> "HTTPHeaderDict":
    """A request's headers, with `more` of which a name may come several times."""
    from urllib3 import HTTPHeaderDict

    together = HTTPHeaderDict(given)
    for name, value in more:
        together.add(name, value)
    return together


def open_stream(
    configuration: "Configuration", url: str, given: dict[str, str], more: Pairs
) -> "WebSocket":
    """Opens a WebSocket as `kubernetes.stream` does, with these headers besides.

    Raises:
        WebSocketException: it cannot be opened.
    """
    from kubernetes.stream import ws_client
    from websocket import WebSocket

    lower = {name.lower(): value for name, value in given.items()}
    protocols = f"{ws_client.V5_CHANNEL_PROTOCOL},{ws_client.V4_CHANNEL_PROTOCOL}"
    lines = [f"sec-websocket-protocol: {protocols}", *(f"{n}: {v}" for n, v in more)]
    if "authorization" in lower:
        lines.append(f"authorization: {lower['authorization']}")
    options: dict[str, Any] = {"header": lines}
    if configuration.proxy or configuration.proxy_headers:
        options = ws_client.websocket_proxycare(options, configuration, url, lower)
    socket = WebSocket(sslopt=_tls(configuration, url), skip_utf8_validation=False)
    socket.connect(url, **options)  # type: ignore[no-untyped-call]
    return socket


def _tls(configuration: "Configuration", url: str) -> dict[str, Any]:
    import certifi

    checked = url.startswith("wss://") and configuration.verify_ssl
    options: dict[str, Any] = {"cert_reqs": ssl.CERT_REQUIRED if checked else ssl.CERT_NONE}
    if checked:
        options["ca_certs"] = configuration.ssl_ca_cert or certifi.where()
        if configuration.assert_hostname is not None:
            options["check_hostname"] = configuration.assert_hostname
    own = {
        "certfile": configuration.cert_file,
        "keyfile": configuration.key_file,
        "server_hostname": configuration.tls_server_name,
    }
    return options | {name: value for name, value in own.items() if value}
