"""What `env` may hold: variables of the engine, and no secrets."""

import re

from deployctl.secretive import instead, is_named_so, looks

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def plain(value: dict[str, str], *, recorded: bool) -> dict[str, str]:
    """The variables as they are. What was `recorded` once may look like a secret.

    Raises:
        ValueError: a name is none, or a value is not to be written down.
    """
    for name, content in value.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an environment variable")
        if not recorded and (is_named_so(name) or looks(content)):
            raise ValueError(f"{name} looks like a secret; {instead(name, content)}")
        if "\0" in content:
            raise ValueError(f"{name} holds a NUL character")
    return value
