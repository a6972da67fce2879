"""Ways to write one HTTP request, and what a door must make of each: a table of its own, that
knows nothing of the door's code.
"""

from collections.abc import Iterator
from typing import NamedTuple

METHODS = (
    *("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT"),
    *("PROPFIND", "PURGE", "QUERY", "LINK", "M-SEARCH", "SOURCE"),
)
UPGRADE = (
    "Upgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


class Spelling(NamedTuple):
    """One way to ask for a route. `same`: it is that route; otherwise there is none such."""

    name: str
    method: str
    target: str
    version: str = "HTTP/1.1"
    host: str = "Host: localhost\r\n"
    same: bool = True

    def request(self, credential: str) -> bytes:
        """The bytes, with an empty JSON object where a body may be."""
        body = "{}" if self.method in ("POST", "PUT", "PATCH") else ""
        length = f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        head = f"{self.method} {self.target} {self.version}\r\n{self.host}{credential}"
        return f"{head}{length if body else ''}\r\n{body}".encode("latin-1")


def spellings(method: str, path: str) -> Iterator[Spelling]:
    """All of them for one route."""
    yield Spelling("plain", method, path)
    yield Spelling("query", method, f"{path}?x=/metrics&api_key=1")
    yield Spelling("fragment", method, f"{path}#/health")
    yield Spelling("absolute", method, f"http://localhost{path}")
    yield Spelling("another host", method, f"https://user:word@elsewhere:80{path}")
    yield Spelling("HTTP/1.0", method, path, version="HTTP/1.0")
    for name, host in (
        ("no host", ""),
        ("two hosts", "Host: a\r\nHost: b\r\n"),
        ("a path for a host", "Host: /health\r\n"),
        ("rewrites", "Host: h\r\nX-Original-URL: /health\r\nX-Rewrite-URL: /health\r\n"),
        ("prefix", "Host: h\r\nX-Forwarded-Prefix: /v1\r\nX-Script-Name: /v1\r\n"),
        ("override", "Host: h\r\nX-HTTP-Method-Override: GET\r\nX-HTTP-Method: GET\r\n"),
        ("loopback", "Host: 127.0.0.1\r\nX-Forwarded-For: 127.0.0.1\r\nForwarded: for=::1\r\n"),
    ):
        yield Spelling(name, method, path, host=host)
    for name, target in _other_paths(path).items():
        if target != path:
            yield Spelling(name, method, target, same=False)


def _other_paths(path: str) -> dict[str, str]:
    first, _, rest = path[1:].partition("/")
    return {
        "encoded": f"/%{ord(path[1]):02x}{path[2:]}" if len(path) > 1 else "/%2e",
        "encoded slash": "/" + path[1:].replace("/", "%2f"),
        "encoded twice": f"/%25{ord(path[1]):02x}{path[2:]}" if len(path) > 1 else "/%252e",
        "encoded end": f"{path}%20",
        "nothing at the end": f"{path}%00",
        "doubled slash": f"/{path}",
        "doubled slash within": f"/{first}//{rest}",
        "doubled slash of a host": f"http://localhost/{path}",
        "dot": f"/.{path}",
        "dots": f"/v1/..{path}",
        "dots of the probe": f"/health/..{path}",
        "encoded dots": f"/v1/%2e%2e{path}",
        "dots of a server of Java": f"/v1/..;{path}",
        "parameter": f"{path};x=1",
        "end": f"{path}/",
        "end and dot": f"{path}/.",
        "upper case": path.upper(),
        "backslash": f"/\\{path[1:]}",
    }


# Whoever sends these gets the parser's 400, or the door's 404: whatever credential is in them.
def broken(target: str, credential: str) -> dict[str, tuple[bytes, int]]:
    """Request lines that are none, with what is answered."""
    rest = f"Host: h\r\n{credential}\r\n"
    lines = {
        "no slash": (f"GET {target[1:]} HTTP/1.1", 400),
        "asterisk": ("OPTIONS * HTTP/1.1", 404),
        "lower-case method": (f"get {target} HTTP/1.1", 400),
        "invented method": (f"BREW {target} HTTP/1.1", 400),
        "HTTP/2": ("PRI * HTTP/2.0\r\n\r\nSM", 400),
        "HTTP/1.2": (f"GET {target} HTTP/1.2", 400),
        "HTTP/9.9": (f"GET {target} HTTP/9.9", 400),
        "lower-case version": (f"GET {target} http/1.1", 400),
        "another protocol": (f"GET {target} XTTP/1.1", 400),
        "tab": (f"GET\t{target}\tHTTP/1.1", 400),
        "bytes": (f"GET {target}\xff HTTP/1.1", 400),
        "no host before the path": (f"GET http://{target} HTTP/1.1", 400),
        "endless": (f"GET {target}/{'a' * 70_000} HTTP/1.1", 400),
        "space before the colon": (f"GET {target} HTTP/1.1\r\nX : y", 400),
        "folded": (f"GET {target} HTTP/1.1\r\nX: y\r\n z: y", 400),
        "two lengths": (
            f"POST {target} HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 1",
            400,
        ),
        "length and chunks": (
            f"POST {target} HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked",
            400,
        ),
        "no number": (f"POST {target} HTTP/1.1\r\nContent-Length: 0x1", 400),
    }
    return {
        name: (f"{line}\r\n{rest}".encode("latin-1"), status)
        for name, (line, status) in lines.items()
    }


def presented(secret: str) -> dict[str, tuple[str, int]]:
    """Ways to present a secret that opens, with 200, 401, or 400 where it is no header."""
    return {
        "bearer": (f"Authorization: Bearer {secret}\r\n", 200),
        "lower case": (f"authorization: bearer {secret}\r\n", 200),
        "spaces": (f"Authorization:   BEARER   {secret}  \r\n", 200),
        "a tab": (f"Authorization: Bearer\t{secret}\r\n", 401),
        "no scheme": (f"Authorization: {secret}\r\n", 401),
        "basic": (f"Authorization: Basic {secret}\r\n", 401),
        "scheme alone": ("Authorization: Bearer\r\n", 401),
        "scheme and space": ("Authorization: Bearer \r\n", 401),
        "empty": ("Authorization:\r\n", 401),
        "prefix": (f"Authorization: Bearer {secret[:-1]}\r\n", 401),
        "first half": (f"Authorization: Bearer {secret[: len(secret) // 2]}\r\n", 401),
        "one letter": (f"Authorization: Bearer {secret[0]}\r\n", 401),
        "more": (f"Authorization: Bearer {secret}x\r\n", 401),
        "twice": (f"Authorization: Bearer {secret} {secret}\r\n", 401),
        "list": (f"Authorization: Bearer {secret}, Bearer {secret}\r\n", 401),
        "quoted": (f'Authorization: Bearer "{secret}"\r\n', 401),
        "another case": (f"Authorization: Bearer {secret.swapcase()}\r\n", 401),
        "encoded": (f"Authorization: Bearer %{ord(secret[0]):02x}{secret[1:]}\r\n", 401),
        "two headers": (f"Authorization: Bearer {secret}\r\n" * 2, 401),
        "two, one right": (
            f"Authorization: Bearer x\r\nAuthorization: Bearer {secret}\r\n",
            401,
        ),
        "bytes": (f"Authorization: Bearer {secret}\xff\r\n", 401),
        "nothing at the end": (f"Authorization: Bearer {secret}\x00\r\n", 400),
        "folded": (f"Authorization: Bearer\r\n {secret}\r\n", 400),
        "cookie": (f"Cookie: api_key={secret}\r\nProxy-Authorization: Bearer {secret}\r\n", 401),
    }
