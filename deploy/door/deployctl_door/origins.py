"""Which web pages may ask a service that wants no key: those of this machine, and its own.

Whoever can reach such a service may use it, and a browser reaches whatever its machine does, for
any page that it shows. It says in `Origin` whose page asks, with everything but a GET of a page's
own server: no page can leave that out, or say another. Programs that are no browsers send none.

A page's own server may lie (DNS rebinding): a name that was its owner's becomes this machine's, and
`Origin` and `Host` are the same. So one's own page is believed where no other can have its address:
over TLS, for which a certificate was needed, and by an address in figures or a name without dots.
What a page with such a name can read is what a GET gives: the models' names.
"""

import ipaddress
import re

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[^\s/:@\[\]]+)(?::([0-9]{1,5}))?")
_USUAL = {"http": "80", "https": "443"}  # ports, which no browser writes


def is_foreign(origin: str | None, host: str | None) -> bool:
    """Whether a page of that origin is neither of this machine nor of the host that it asks. Both
    as the headers have them; None: missing, or given more than once."""
    found = _ORIGIN.fullmatch((origin or "").lower())
    if found is None:  # `null`, too, which is anybody's
        return True
    scheme, name, port = found.groups()
    if _is_loopback(name):
        return False
    usual = _USUAL.get(scheme, "")
    own = {f"{name}:{port or usual}"}
    if port in (None, usual):
        own.add(name)
    return (host or "").lower() not in own or not (scheme == "https" or _is_fixed(name))


def _is_loopback(name: str) -> bool:
    address = _address(name)
    if address is not None:
        return address.is_loopback
    return name == "localhost" or name.endswith(".localhost")  # RFC 6761: nobody else's


def _is_fixed(name: str) -> bool:
    """Whether no public name server says what it is."""
    return _address(name) is not None or "." not in name


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return None
