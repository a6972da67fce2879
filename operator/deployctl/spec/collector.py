"""The address of a collector of traces."""

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

_ADDRESS = re.compile(r"(https?)://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:\d{1,5})?(/[!-~]*)?")
# Where a service wants its key in the query, that would be a word of the engine's command.
_QUERY = re.compile("[?#]")


class Collector(NamedTuple):
    """What takes traces: on which port, and whether by HTTP, which has a path, or by gRPC."""

    port: int
    by_http: bool


def collector(address: str | None) -> Collector | None:
    """What an address says; None where it is none."""
    found = _ADDRESS.fullmatch(address or "")
    if found is None or _QUERY.search(found[0]):
        return None
    port = int((found[3] or (":443" if found[1] == "https" else ":80"))[1:])
    return Collector(port, (found[4] or "/") != "/") if 0 < port < 65536 else None


def _checked(address: str) -> str:
    if collector(address) is None:
        raise ValueError("must be http(s)://HOST:PORT, or that with a path; no password, no query")
    return address


CollectorAddress = Annotated[str, AfterValidator(_checked)]
