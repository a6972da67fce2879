"""Which Docker engine is meant, as far as it can be told without asking one."""

import contextlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from deployctl.errors import DockerError
from deployctl.targets.docker import commands, translate

_LOCAL = ("unix", "npipe", "fd")


class Address(NamedTuple):
    """Where the engine is."""

    url: str  # unix:///var/run/docker.sock, tcp://host:2376, ssh://user@host
    remote: bool
    hostname: str  # where its published ports are


def find(environment: Mapping[str, str], run: commands.Run) -> Address:
    """Finds the engine as the `docker` command does: DOCKER_HOST, then the current context.

    Raises:
        DockerError: `docker` is not installed, or what it names is no context, or no address.
    """
    url = environment.get("DOCKER_HOST", "")
    if not url or environment.get("DOCKER_CONTEXT"):
        asked = run(commands.context_host(), {})
        if asked.code and "context not found" in asked.stderr:
            raise translate.no_context(asked.stderr)
        url = asked.stdout.strip() or url or "unix:///var/run/docker.sock"
    try:
        parts = urlsplit(url)
        _ = parts.port  # that it is one is only seen here
    except ValueError as error:
        raise translate.no_address(url, error) from error
    remote = not is_local(url)
    return Address(url, remote, (parts.hostname if remote else None) or "127.0.0.1")


def is_local(url: str) -> bool:
    """Whether it is of an engine on this machine, or in a virtual machine on it; also where there
    is none."""
    scheme, there, _ = url.partition("://")
    return not there or scheme in _LOCAL


def docker_host(environ: Mapping[str, str]) -> str:
    """The Docker engine's address, as the `docker` command finds it: DOCKER_HOST, or of the context
    that DOCKER_CONTEXT names, or of the one in use. Empty where nothing is said, for whoever needs
    no more than that: `docker` need not be there."""
    if environ.get("DOCKER_HOST"):
        return environ["DOCKER_HOST"]
    home = Path(environ.get("HOME", ""), ".docker")
    named = environ.get("DOCKER_CONTEXT", "")
    return _of_context(named, environ.get("DOCKER_CONFIG") or str(home))


@cache
def _of_context(named: str, folder: str) -> str:
    if not named:
        with contextlib.suppress(OSError, ValueError, AttributeError):
            told = json.loads(Path(folder, "config.json").read_bytes())
            named = str(told.get("currentContext") or "")
    if not named or named == "default":
        return ""
    try:
        asked = commands.run(commands.context_host(named), {"DOCKER_CONFIG": folder})
        return asked.stdout.strip()
    except DockerError:  # whoever needs `docker` says that it is not there
        return ""
