"""A name under which a host is found: `llm.example.com`, in lower case, and no address; and a
service's, which is a label of one."""

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


def service_name(model: str) -> str:
    """Makes a service's name (a DNS label of at most 40 characters) from a folder or Hub id."""
    last = model.rstrip("/").rsplit("/", 1)[-1].lower()
    label = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:40].strip("-")
    if not label or not label[0].isalpha():
        label = f"m-{label}".strip("-")[:40].strip("-")
    return label


Domain = Annotated[str, AfterValidator(_checked)]
