"""The one HTTP client: whatever a server sends takes a bounded time and a bounded room.

It is httpx's, so whoever asks writes httpx as anybody does; what differs is below it:

- A timeout is of the whole request, from the connection to the body's last byte, redirects among
  it. httpx's own is of each read: a server that sends a byte a second outlives it for ever.
- Name servers and all of a name's addresses share the time to connect, silent ones among them.
- A body that is longer than `most` is an error. It is unpacked as it comes: 1.5 MB of gzip may
  become 10 GB.
- A head has at most 100 KiB (h11's limit), which the deadline covers too.
- No redirect is followed but by `roaming`, and then without the credential where it leads to
  another origin (httpx), and never from https to http.

The limits themselves, with their reasons, are in deployctl_loadtest/foreign.py. It brings httpx, so
it is imported where it is used.
"""

import os
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import httpcore
import httpx

from deployctl.endpoint import Endpoint, without_credentials
from deployctl.errors import InputError
from deployctl.host import addresses
from deployctl.units import duration
from deployctl_loadtest.foreign import MAX_DOCUMENT, MAX_LINE, message

_BLOCK = 65536  # bytes that are unpacked at once
SILENT = "no answer within"  # begins what is said of a server that took too long
_PACKED = ("gzip", "x-gzip", "deflate")


class TooLargeError(httpx.RequestError):
    """A server sent more than is read of it. Asking again will not help."""


class _Until(float):
    """Seconds for a step, as httpcore takes them; and when the request that it is of is over."""

    at: float

    def __new__(cls, seconds: float) -> "_Until":
        self = super().__new__(cls, seconds)
        self.at = time.monotonic() + seconds
        return self


def _left(timeout: float | None, late: type[Exception]) -> float | None:
    if not isinstance(timeout, _Until):
        return timeout
    left = timeout.at - time.monotonic()
    if left <= 0:
        raise late("the time for the whole answer is over")
    return left


class _Stream(httpcore.NetworkStream):
    """A connection each of whose steps ends when the request's time does."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left(timeout, httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _left(timeout, httpcore.WriteTimeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        left = _left(timeout, httpcore.ConnectTimeout)
        return _Stream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.SyncBackend):
    """Opens such connections."""

    def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *more: Any, **how: Any
    ) -> httpcore.NetworkStream:
        known = _addresses(host, port, _left(timeout, httpcore.ConnectTimeout))
        while True:
            left = _left(timeout, httpcore.ConnectTimeout)
            share = None if left is None else left / len(known)
            at = known.pop(0)
            try:
                return _Stream(super().connect_tcp(at, port, share, *more, **how))
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if not known:
                    raise


def _addresses(name: str, port: int, within_s: float | None) -> list[str]:
    try:
        return addresses(name, port, within_s)
    except TimeoutError as error:
        raise httpcore.ConnectTimeout(error) from error
    except OSError as error:
        raise httpcore.ConnectError(error) from error


def _untils(given: Mapping[str, float | None]) -> dict[str, _Until | None]:
    """When each step is over. Behind a redirect the time goes on; but to connect begins anew."""
    untils = {
        step: s if s is None or (isinstance(s, _Until) and step != "connect") else _Until(s)
        for step, s in given.items()
    }
    connected, whole = untils.get("connect"), untils.get("read")
    if connected is not None and whole is not None:
        connected.at = min(connected.at, whole.at)
    return untils


class _Bounded(httpx.BaseTransport):
    """Puts the limits on one of httpx's transports."""

    def __init__(self, inner: httpx.BaseTransport, most: int | None, slowest: float | None) -> None:
        self._inner, self._most, self._slowest = inner, most, slowest
        if isinstance(inner, httpx.HTTPTransport):
            # httpcore has it as an argument, which httpx does not hand on.
            inner._pool._network_backend = _Backend()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        given: dict[str, float | None] = request.extensions.get("timeout", {})
        untils = _untils(given)
        request.extensions = {**request.extensions, "timeout": untils}
        response = self._inner.handle_request(request)
        chunks: Iterable[bytes] = response.stream  # type: ignore[assignment]
        if self._slowest and (until := untils.get("read")) is not None:
            chunks = _while_it_comes(chunks, until, self._slowest)
        packing = response.headers.pop("content-encoding", "identity").strip().lower()
        if packing not in ("", "identity"):
            chunks = _unpacked(chunks, packing)
        if self._most is not None:
            chunks = _up_to(chunks, self._most)
        response.stream = _Body(response.stream, chunks)
        return response

    def close(self) -> None:
        self._inner.close()


class _Body(httpx.SyncByteStream):
    def __init__(self, raw: Any, chunks: Iterable[bytes]) -> None:
        self._raw, self._chunks = raw, chunks

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks

    def close(self) -> None:
        self._raw.close()


def _while_it_comes(chunks: Iterable[bytes], until: _Until, slowest: float) -> Iterator[bytes]:
    """What comes at `slowest` bytes a second and more is given the time that it takes."""
    for chunk in chunks:
        until.at += len(chunk) / slowest
        yield chunk


def _unpacked(chunks: Iterable[bytes], packing: str) -> Iterator[bytes]:
    if packing not in _PACKED:
        raise httpx.DecodingError(f"the answer is packed as {message(packing)}: nobody asked so")
    unpacker = zlib.decompressobj(wbits=47)  # gzip's head or zlib's, whichever there is
    try:
        for chunk in chunks:
            rest = chunk
            while rest:
                yield unpacker.decompress(rest, _BLOCK)
                rest = unpacker.unconsumed_tail
        yield unpacker.flush()
    except zlib.error as error:
        raise httpx.DecodingError("the answer is packed, and damaged") from error


def _up_to(chunks: Iterable[bytes], most: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise TooLargeError(f"the answer is longer than {most // 1024:,} KiB")
        yield chunk


class Client(httpx.Client):
    """httpx's client, all of whose transports are bounded. `most`: bytes of a body, unpacked.

    `slowest`: bytes a second at which a long body may take longer than the timeout.
    """

    def __init__(self, *, most: int | None, slowest: float | None = None, **more: Any) -> None:
        self._bounds = most, slowest
        super().__init__(**more)

    def _init_transport(self, *args: Any, **more: Any) -> httpx.BaseTransport:
        return _Bounded(super()._init_transport(*args, **more), *self._bounds)

    def _init_proxy_transport(self, *args: Any, **more: Any) -> httpx.BaseTransport:
        return _Bounded(super()._init_proxy_transport(*args, **more), *self._bounds)


def client(
    endpoint: Endpoint,
    within_s: float,
    *,
    headers: Mapping[str, str] | None = None,
    most: int = MAX_DOCUMENT,
    at_once: int | None = None,
) -> httpx.Client:
    """A client of a server: asks it straight, whatever proxies the environment names.

    `headers` are sent instead of the endpoint's own, its credential among them; `at_once`: how
    many connections there may be.

    Raises:
        InputError: the certificates to trust cannot be read.
    """
    # Without TLS no certificates are needed, and to read the system's takes 30 ms.
    secure = endpoint.url.startswith("https:")
    return Client(
        most=most,
        base_url=endpoint.url,
        # What is packed costs a server more time than it saves here.
        headers={
            "Accept-Encoding": "identity",
            **(endpoint.sent() if headers is None else headers),
        },
        timeout=within_s,
        trust_env=False,
        verify=endpoint.trust() if secure else False,
        limits=httpx.Limits(max_connections=at_once),
    )


def roaming(timeout: httpx.Timeout | float, *, slowest: float | None = None) -> httpx.Client:
    """A client for the world: by the environment's proxies, and where the Hub sends it to.

    Whoever reads an answer says himself how much of it.

    Raises:
        InputError: the environment names no proxy that we speak to, or no certificates.
    """
    try:
        return Client(
            most=None,
            slowest=slowest,
            headers={"Accept-Encoding": "identity"},  # httpx's own asks for brotli too
            timeout=timeout,
            follow_redirects=True,
            max_redirects=5,
            event_hooks={"response": [_no_downgrade]},
        )
    except OSError as error:
        raise InputError(
            f"the certificates to trust cannot be read: {error.strerror or error}",
            where=f"SSL_CERT_FILE: {os.environ.get('SSL_CERT_FILE', '')}",
            hint="name a file of certificates in PEM, or unset it",
        ) from error
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        raise InputError(
            f"the proxy cannot be used: {message(without_credentials(str(error))).split('. ')[0]}",
            where="HTTPS_PROXY, HTTP_PROXY or ALL_PROXY",
            hint="name one as http://HOST:PORT; NO_PROXY says for whom there is none",
        ) from error


def _no_downgrade(response: httpx.Response) -> None:
    to = response.headers.get("location", "").strip().lower()
    secure = response.request.url.scheme == "https"
    if secure and response.has_redirect_location and to.startswith("http:"):
        raise httpx.UnsupportedProtocol("it redirects from https to http")


def lines(response: httpx.Response, most: int = MAX_LINE) -> Iterator[str]:
    """The lines of a body as they come, without their ends.

    Raises:
        TooLargeError: one has more than `most` bytes.
    """
    buffer = bytearray()
    for chunk in response.iter_bytes():
        searched = len(buffer)
        buffer += chunk
        end = buffer.rfind(b"\n", searched)
        if end >= 0:
            for line in bytes(buffer[:end]).split(b"\n"):
                yield _line(line, most)
            del buffer[: end + 1]
        if len(buffer) > most:
            _line(buffer, most)
    if buffer:
        yield _line(buffer, most)


def _line(line: bytes | bytearray, most: int) -> str:
    if len(line) > most:
        raise TooLargeError(f"a line of the answer is longer than {most // 1024:,} KiB")
    return line.decode("utf-8", "replace").rstrip("\r")


def problem(error: Exception, within_s: float | None = None) -> str:
    """Why a request had no answer, in few words: no credentials, nothing that is not printable."""
    if isinstance(error, httpx.TimeoutException) and within_s is not None:
        return f"{SILENT} {duration(within_s)}"
    return message(without_credentials(str(error))) or type(error).__name__
