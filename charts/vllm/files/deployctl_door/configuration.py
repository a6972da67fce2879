"""What a door is told: a JSON document beside the engine, rendered from the plan.

A value that is missing takes its default; one that is not understood keeps the engine from
starting, for a door that guesses is none.
"""

import json
import math
import os
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from deployctl_door import files, underway

VERSION = 1
LARGEST = 1 << 20  # bytes of a configuration; a larger file is the wrong one
VARIABLE = "DEPLOYCTL_DOOR"  # of the environment: where the document is


class ConfigurationError(Exception):
    """The document cannot be read, or says what this door does not know."""


@dataclass(frozen=True)
class BodyLimits:
    """What a request may ask for. Lengths in bytes, seconds, levels and numbers."""

    bytes: int = 32 << 20
    seconds: float = 30.0  # for the whole body to come in
    depth: int = 64  # JSON arrays and objects within each other
    n: int = 16  # also best_of
    tokens: int | None = None  # max_tokens and the like; None: the engine's own limit
    logprobs: int = 20
    prompts: int = 256  # of one request: a list of prompts, inputs, documents


@dataclass(frozen=True)
class Configuration:
    """All of it. Routes are (method, path); a path may have segments such as {id}."""

    user: tuple[tuple[str, str], ...]
    operator: tuple[tuple[str, str], ...]
    probe: tuple[tuple[str, str], ...]
    secrets: Path  # the folder with keys.json, api_key, operator_token
    keyless: bool = False  # with no keys there, user routes need none: for loopback alone
    processes: int = 1  # API servers of the engine: of several, none can hold a key to limits
    drain_file: Path | None = None  # once it is there, the door closes
    # Made at the start, for alive.py: with it, operators' routes may be asked.
    probe_token: Path | None = None
    drain_after_s: float = 5.0  # from then on until new requests are refused
    request_log: bool = False
    # Whether the engine is told the id that a request has here, for its traces.
    tell_request_id: bool = False
    body: BodyLimits = field(default_factory=BodyLimits)

    @property
    def counts(self) -> Path | None:
        """Where several processes tell each other what is under way; None: there is one."""
        if self.processes == 1 or self.drain_file is None:
            return None
        return underway.folder(self.drain_file)


def load(path: Path) -> Configuration:
    """Reads and checks a configuration.

    Raises:
        ConfigurationError: it cannot be read, or is not of this version.
    """
    try:
        content = files.read(path, LARGEST)
        document = json.loads(content) if len(content) <= LARGEST else None
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{path}: cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigurationError(f"{path}: not a JSON object of at most {LARGEST} bytes")
    if document.pop("version", None) != VERSION:
        raise ConfigurationError(f"{path}: not of version {VERSION}")
    try:
        return _configuration(document, path.absolute().parent)
    except (TypeError, ValueError, KeyError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def _configuration(document: dict[str, Any], folder: Path) -> Configuration:
    """`folder` is where paths that are not absolute begin."""
    unknown = document.keys() - {each.name for each in fields(Configuration)}
    if unknown:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    body = BodyLimits(**document.pop("body", {}))
    for limit in fields(BodyLimits):
        if limit.name != "tokens" or body.tokens is not None:
            whole = limit.name != "seconds"
            _check_number(f"body/{limit.name}", getattr(body, limit.name), whole=whole, above=0)
    drain, token = document.pop("drain_file", None), document.pop("probe_token", None)
    for name in ("keyless", "request_log", "tell_request_id"):
        if not isinstance(document.get(name, False), bool):
            raise TypeError(f"{name} is no boolean")
    _check_number("drain_after_s", document.get("drain_after_s", 0), whole=False, above=-1)
    _check_number("processes", document.get("processes", 1), whole=True, above=0)
    return Configuration(
        user=_routes(document.pop("user")),
        operator=_routes(document.pop("operator")),
        probe=_routes(document.pop("probe")),
        secrets=_path(folder, document.pop("secrets")),
        drain_file=None if drain is None else _path(folder, drain),
        probe_token=None if token is None else _path(folder, token),
        body=body,
        **document,
    )


def _path(folder: Path, written: str) -> Path:
    """Without `..`, so that what is said of a file names it as everybody does."""
    return Path(os.path.normpath(folder / written))


def _check_number(name: str, value: Any, *, whole: bool, above: int) -> None:
    if type(value) not in ((int,) if whole else (int, float)) or not math.isfinite(value):
        raise TypeError(f"{name} is no {'whole ' if whole else ''}number")
    if value <= above:
        raise ValueError(f"{name} is not above {above}")


def _routes(value: Any) -> tuple[tuple[str, str], ...]:
    pairs = []
    for method, path in value:
        if not (isinstance(method, str) and method.isalpha() and method.isupper()):
            raise ValueError(f"{method!r} is no method")
        if not (isinstance(path, str) and path.startswith("/") and path.isascii()):
            raise ValueError(f"{path!r} is no path")
        pairs.append((method, path))
    return tuple(pairs)
