"""A name under which a host is found: `llm.example.com`, in lower case, and no address."""

import re
from typing import Annotated

from pydantic import AfterValidator

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
# Names of a network's own: RFC 6761, RFC 6762, RFC 8375, and ICANN's of 2024.
_OWN = (".localhost", ".local", ".internal", ".home.arpa")
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def _checked(value: str) -> str:
    if len(value) > 253 or not re.search("[a-z]", value) or not _DOMAIN.fullmatch(value):
        raise ValueError("must be a name in lower case, such as llm.example.com")
    return value


def is_public(domain: str) -> bool:
    """Whether a public authority may sign for a name, as far as the name tells."""
    return "." in domain and not domain.endswith(_OWN)


Domain = Annotated[str, AfterValidator(_checked)]
