"""Endpoint: where a served model is asked, and what lets us in. The only such type."""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deployctl.errors import InputError

if TYPE_CHECKING:
    import ssl

# The user of ssh is none, without a password.
_CREDENTIALS = re.compile(r"(?<=://)(?<!ssh://)[^/?#\s]*@|(?<=ssh://)[^/?#\s@:]*:[^/?#\s]*@")


class Guard(NamedTuple):
    """What stands before an engine of ours, as its release was rendered."""

    version: str  # the engine's
    door: bool
    open: tuple[str, ...] = ()  # routes that need no key, by design: "METHOD /path"


class Chats(NamedTuple):
    """How an engine of ours reads chats, as its plan says: planning.plan.Serving."""

    tool_calls: str  # parsed, text, off or none
    reasoning_parser: str | None = None


class Endpoint(NamedTuple):
    """Where to ask, what for, and with which key or token."""

    url: str  # http://127.0.0.1:8000: no trailing slash, no /v1
    model: str | None  # the served model name; None only for an address whose model is not known
    api_key: str | None  # a client's; never printed
    service: str | None = None  # None for an address that deployctl did not start
    ca_file: Path | None = None  # certificates to trust, instead of the system's
    headers: Mapping[str, str] = {}  # what a proxy wants; never printed
    operator_token: str | None = None  # lets in everywhere; never printed
    guard: Guard | None = None  # None for an address that deployctl did not start
    chats: Chats | None = None  # the same
    # The address inside its cluster, or on its host's loopback; `url` is a port that we forward.
    inside: str | None = None
    gateway: str | None = None  # the address of the gateway before it; `url` is the engine's own
    upstream: str | None = None  # HOST:PORT as the gateway reaches it, where that is another
    tunnel: str | None = None  # the command by which a person forwards that of another host
    published: str | None = None  # where another host has it for all; `url` is a port of ours to it
    there: str | None = None  # the same address on its own host; `url` is a port of ours to it
    # Each engine by its own port, where the address is the gateway's, before several.
    replicas: "tuple[Endpoint, ...]" = ()

    @property
    def shown(self) -> str:
        """The address for clients: as `url`, where no other is theirs."""
        return self.gateway or self.inside or self.published or self.url

    @property
    def own(self) -> str:
        """The address as its own host has it: a port of ours to it is gone with us."""
        return self.there or self.url

    @property
    def credential(self) -> str | None:
        """What our own requests show: the operator's token, else a client's key."""
        return self.operator_token or self.api_key

    def as_client(self) -> "Endpoint":
        """The same for whoever is not the operator: with a client's key, or with none."""
        return self._replace(operator_token=None)

    def sent(self) -> dict[str, str]:
        """The headers of a request, the credential among them."""
        key = {"Authorization": f"Bearer {self.credential}"} if self.credential else {}
        return {**key, **self.headers}

    def trust(self) -> "ssl.SSLContext | bool":
        """What httpx takes as `verify`.

        Raises:
            InputError: the file of certificates holds none.
        """
        return True if self.ca_file is None else _trusted(self.ca_file)


def without_credentials(text: str) -> str:
    """A text in which no address carries a user and a password."""
    return _CREDENTIALS.sub("", text)


@cache
def _trusted(ca_file: Path) -> "ssl.SSLContext":
    """Read once: a file that is replaced during a load test does not end it."""
    import ssl

    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise InputError(
            f"no certificate can be read: {getattr(error, 'strerror', None) or error}",
            where=str(ca_file),
            hint="give a PEM file with the CA's certificate",
        ) from error
