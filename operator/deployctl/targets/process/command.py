"""The command of an engine, and the environment that it has. Pure, but for where the cards are."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployctl.errors import StateError, TargetError
from deployctl.render import door
from deployctl.render.bundle import CARDS_VARIABLE, Bundle
from deployctl.render.process import COMMAND_FILE, DOOR_FOLDER
from deployctl.targets import cores

MARKER = "DEPLOYCTL_RUN"  # carried by every process of a run; its value is the run's folder

# What an engine needs of the environment deployctl was called in. Everything else stays out,
# so that the same release runs the same way tomorrow, from another shell.
_KEPT = {
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "TZ", "TMPDIR"),
    *("PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD", "CC", "CXX"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("XDG_CACHE_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_ENDPOINT", "OMP_NUM_THREADS"),
}
_KEPT_PREFIXES = ("LC_", "CUDA_", "NVIDIA_", "NCCL_")
_PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}


class Command:
    """The bundle's `command.json`, read."""

    def __init__(self, bundle: Bundle, replica: int | None = None, port: int | None = None) -> None:
        """`replica` is the engine's number, where there are several; `port` the one that it has
        in the place of its own."""
        self.door = {
            path: text for path, text in bundle.files.items() if path.startswith(f"{DOOR_FOLDER}/")
        }
        try:
            document = json.loads(bundle.files[COMMAND_FILE])
            self.arguments: list[str] = document["arguments"]
            self.environment: dict[str, str] = document["environment"]
            self.host: str = document["host"]
            self.port: int = document["port"]
            self.engine_version: str = document["engine_version"]
            # None in a bundle of before there was one.
            self.watchdog: dict[str, Any] = document.get("watchdog") or {}
            replicas = document.get("replicas") or []
            self.share = (replica or 0, max(1, len(replicas)))  # which of how many it is
            self.cards: list[int] = []  # its places among the host's; none: all of them
            if replicas:
                own = replicas[replica or 0]
                self.port, self.cards = own["port"], own["cards"]
            self.port = port or self.port
            if self.port != document["port"]:
                self.arguments[self.arguments.index("--port") + 1] = str(self.port)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise StateError(
                f"the bundle of {bundle.service} has no readable {COMMAND_FILE}",
                hint="run deployctl up again; it renders a new one",
            ) from error

    def shared_cards(self) -> list[str]:
        """By the names of their locks, the cards of this engine that others are on, too."""
        shared = list(map(str, self.watchdog["cards"]))
        return [shared[n] for n in self.cards if n < len(shared)] or shared

    def argv(self, python: str) -> list[str]:
        """The whole command."""
        return [python, *self.arguments]


def environment(
    command: Command,
    ambient: Mapping[str, str],
    *,
    run: Path,
    cache: Path,
    api_key: str | None,
    hub_token: str | None,
) -> dict[str, str]:
    """The engine's environment: little of ours, then the plan's, then what this run adds."""
    kept = {
        name: value
        for name, value in ambient.items()
        if name in _KEPT or name.startswith(_KEPT_PREFIXES) or name.lower() in _PROXIES
    }
    ours = {"PYTHONUNBUFFERED": "1", MARKER: str(run)}
    if command.door:
        path = command.environment.get("PYTHONPATH") or kept.get("PYTHONPATH")
        ours |= door.environment(str(run / DOOR_FOLDER), path)
    elif api_key is not None:  # of a release that was rendered before there was a door
        ours["VLLM_API_KEY"] = api_key
    if hub_token is not None:
        ours["HF_TOKEN"] = hub_token
    told = {**kept, "VLLM_CACHE_ROOT": str(cache), **_cores(command), **command.environment}
    return {**told, **_cards(command, told), **ours}


def _cards(command: Command, there: Mapping[str, str]) -> dict[str, str]:
    """One replica's cards, of those that are named, or of all."""
    if not command.cards:
        return {}
    named = there[CARDS_VARIABLE].split(",") if there.get(CARDS_VARIABLE) else None
    if named is not None and len(named) <= command.cards[-1]:
        number, _ = command.share
        raise TargetError(
            f"{CARDS_VARIABLE} names {len(named)} cards, and replica {number} is to have number "
            f"{command.cards[-1] + 1}",
            where=CARDS_VARIABLE,
            hint="name as many as --gpus says, or leave it unset",
        )
    return {CARDS_VARIABLE: ",".join(named[n] if named else str(n) for n in command.cards)}


def near_cards(command: Command, ambient: Mapping[str, str]) -> list[int]:
    """The CPUs that one of several engines is to run on: of its cards' NUMA nodes. None: on any."""
    if cores.BINDS_ITSELF in command.arguments:
        return []
    cards = _cards(command, {**ambient, **command.environment})
    named = cards[CARDS_VARIABLE].split(",") if cards else []
    return cores.near(named, cores.usable()) if named else []


def _cores(command: Command) -> dict[str, str]:
    """One replica's cores, where there is no card: vLLM takes those of a whole NUMA node."""
    number, count = command.share
    if count == 1 or command.cards:
        return {}
    mine = cores.shares(cores.usable(), count)[number]
    return {cores.VARIABLE: ",".join(map(str, mine)) if mine else "nobind"}
