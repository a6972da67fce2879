"""Where a command that runs for long shows its own figures to Prometheus: --metrics-port."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

from deployctl import host
from deployctl.errors import InputError, PortTakenError
from deployctl.events import Event, Tell
from deployctl.render.bundle import LOOPBACK

if TYPE_CHECKING:
    from prometheus_client.registry import Collector

FLAG = "--metrics-port"
_HINT = f"for example {FLAG} 9401; or 0.0.0.0:9401, which others reach, too"


class Listening(NamedTuple):
    """Where figures are shown."""

    address: str
    port: int

    def __str__(self) -> str:
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"{address}:{self.port}"


def place(text: str) -> Listening:
    """Reads PORT, which is of loopback, or ADDRESS:PORT.

    Raises:
        InputError: it is neither.
    """
    address, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal()):
        raise InputError(f"{text!r} is neither PORT nor ADDRESS:PORT", where=FLAG, hint=_HINT)
    if len(port) > 5 or not 1 <= int(port) <= 65535:
        raise InputError(f"there is no port {port[:20]}: 1 to 65535", where=FLAG, hint=_HINT)
    return Listening(address.removeprefix("[").removesuffix("]") or LOOPBACK, int(port))


@contextmanager
def shown(text: str | None, figures: "Collector", tell: Tell) -> Iterator[None]:
    """Answers `GET /metrics` with these figures, until the end of the `with`; nothing where `text`
    is None. Who asks needs no key: there is nothing but figures.

    Raises:
        InputError: that is no port, or no address of this machine.
        PortTakenError: somebody else listens there, or this user may not.
    """
    if text is None:
        yield
        return
    from prometheus_client import CollectorRegistry, start_http_server

    at = place(text)
    if ":" not in at.address:
        host.refuse_taken(at.port, at.address, flag=FLAG)
    registry = CollectorRegistry()
    registry.register(figures)
    try:
        server, thread = start_http_server(at.port, at.address, registry)
    except (OSError, UnicodeError) as error:
        raise PortTakenError(
            f"nobody can listen there: {getattr(error, 'strerror', None) or error}",
            where=f"{FLAG} {text}",
            hint=_HINT,
        ) from error
    try:
        tell(Event("heading", f"figures for Prometheus: http://{at}/metrics"))
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
