"""Where the data folders (`deploy`, `docker`, `charts`) are: in a wheel or in a checkout."""

import functools
import json
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
_ROOTS = (_PACKAGE / "_assets", _PACKAGE.parent.parent)


def path(*parts: str) -> Path:
    """Returns the path of a shipped data file or folder, e.g. `path("deploy", "profiles")`.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for root in _ROOTS:
        candidate = root.joinpath(*parts)
        if candidate.exists():
            return candidate
    raise FileNotFoundError(f"deployctl's data file {'/'.join(parts)} is not installed")


@functools.cache
def table(*parts: str) -> Any:
    """Reads a shipped file of data, JSON or YAML. Whoever asks shares it: nobody may change it.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    file = path(*parts)
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".json":
        return json.loads(text)
    import yaml  # takes long

    from deployctl.boundedyaml import PARSER

    return yaml.load(text, Loader=PARSER)  # noqa: S506
