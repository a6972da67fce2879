"""A name under which a host is found: `llm.example.com`, in lower case, and no address."""

import re
from typing import Annotated

from pydantic import AfterValidator

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")


def _checked(value: str) -> str:
    if len(value) > 253 or not re.search("[a-z]", value) or not _DOMAIN.fullmatch(value):
        raise ValueError(f"{value!r} is no domain such as llm.example.com")
    return value


Domain = Annotated[str, AfterValidator(_checked)]
