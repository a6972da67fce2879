"""One run of an engine: its command and environment (pure), and the folder it is recorded in.

The supervisor writes most of the folder's files; they are read back with care.
"""

import json
import shutil
import signal
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.errors import StateError, TargetError
from deployctl.files import make_folder, state_error, write_private
from deployctl.render import door
from deployctl.render.bundle import CARDS_VARIABLE, Bundle
from deployctl.render.process import (
    COMMAND_FILE,
    DOOR_FOLDER,
    DRAIN_FILE,
    SECRETS_FOLDER,
    TOKEN_FILE,
)
from deployctl.targets import cores, restarts
from deployctl.targets.process.procfs import Identity, alive, boot_id, running

TRY_S = 60.0  # for the door to be tried: a loaded machine takes seconds to start Python
MARKER = "DEPLOYCTL_RUN"  # carried by every process of a run; its value is the run's folder
JOB_FILE = "job.json"
_MOST_BYTES = 64 * 1024  # of a file of the supervisor

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


def _cores(command: Command) -> dict[str, str]:
    """One replica's cores, where there is no card: vLLM takes those of a whole NUMA node."""
    number, count = command.share
    if count == 1 or command.cards:
        return {}
    mine = cores.shares(cores.usable(), count)[number]
    return {cores.VARIABLE: ",".join(map(str, mine)) if mine else "nobind"}


class Exit(NamedTuple):
    """How an engine ended."""

    code: int | None
    signal: int | None
    asked: bool
    ended: str

    @property
    def detail(self) -> str:
        """In words: `exit code 1`, `killed by signal 9 (SIGKILL)`."""
        if self.signal is None:
            return "how is not on record" if self.code is None else f"exit code {self.code}"
        try:
            name = f" ({signal.Signals(self.signal).name})"
        except ValueError:
            name = ""
        return f"killed by signal {self.signal}{name}"


class RunFolder:
    """One revision's folder below the service's: job, identities, exit and log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "engine.log"
        self.secrets = folder / SECRETS_FOLDER
        self.drain = folder / DRAIN_FILE  # the door closes once it is there

    def prepare(self, command: Command, python: str, *, grace_s: float, turns: Path) -> Path:
        """Makes the folder ready for a new start and returns the job's path. `python` has the
        engine, which has `grace_s` to end when it is told to; `turns` the locks of shared cards.

        Raises:
            StateError: the disk is full or not writable; nothing was started.
        """
        make_folder(self.folder)
        self.forget()
        try:
            for name in ("exit.json", "engine.log.1", restarts.EVENTS_FILE):
                (self.folder / name).unlink(missing_ok=True)
            if self.log.exists():
                self.log.replace(self.folder / "previous.log")
        except OSError as error:
            raise state_error("put the old log aside", self.log, error) from error
        told = {**command.watchdog, "port": command.port, "grace_s": grace_s}
        told["events"] = str(self.folder / restarts.EVENTS_FILE)
        if "cards" in command.watchdog:
            make_folder(turns)
            told |= {"turns": str(turns), "cards": command.shared_cards()}
        if command.door:
            told |= {"drain": str(self.drain), "token": str(self.folder / TOKEN_FILE)}
        document = {
            "argv": command.argv(python),
            "before": [python, "-m", door.PACKAGE] if command.door else [],
            "watchdog_folder": str(assets.path("deploy", "door")),
            "watchdog": told,
        }
        job = self.folder / JOB_FILE
        write_private(job, json.dumps(document, indent=1, ensure_ascii=False).encode())
        return job

    def place_door(self, files: Mapping[str, str]) -> None:
        """Writes the door's files, as the bundle has them.

        Raises:
            StateError: the disk is full or not writable.
        """
        for path, text in files.items():
            file = self.folder / path
            make_folder(file.parent)
            write_private(file, text.encode())

    def try_door(self, python: str, environment: Mapping[str, str]) -> None:
        """Has the door read what it is told, before an engine loads for it.

        Raises:
            StateError: it does not open.
        """
        words = [python, "-m", door.PACKAGE]
        try:
            done = subprocess.run(
                words, env=environment, capture_output=True, text=True, timeout=TRY_S, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise StateError(
                f"the door before the engine cannot be tried: {error}",
                where=str(self.folder),
                hint="the machine is overloaded; try again",
            ) from error
        if done.returncode != 0:
            said = done.stderr.strip().rpartition("\n")[2].removeprefix("deployctl: ")
            raise StateError(
                said or "the door before the engine does not open",
                where=str(self.folder),
                hint="deployctl keys list says what is wrong with the keys",
            )

    def forget(self) -> None:
        """Removes the identities, the door and the secrets of a run that is over; its log, and how
        it ended, stay."""
        try:
            for name in ("supervisor.json", "engine.json"):
                (self.folder / name).unlink(missing_ok=True)
            for folder in (self.secrets, self.folder / DOOR_FOLDER):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise state_error("clear the run's folder", self.folder, error) from error

    def supervisor(self) -> Identity | None:
        """The supervisor as recorded, whether it lives or not; None when there was none."""
        found = self._supervisor()
        return found[0] if found else None

    def supervisor_alive(self) -> Identity | None:
        """The supervisor, if it runs."""
        found = self._supervisor()
        if found is None or found[1] != boot_id():
            return None
        return found[0] if alive(found[0]) else None

    def this_boot(self) -> bool:
        """Whether the run is of this boot of the machine."""
        found = self._supervisor()
        return found is not None and found[1] == boot_id()

    def engine(self) -> tuple[Identity, str | None] | None:
        """The engine's identity and when it started (ISO 8601)."""
        document = self._read("engine.json")
        who = _identity(document)
        return None if who is None else (who, _moment(document.get("started")))

    def port(self) -> int | None:
        """The port that the engine was started with; None where there is none on record."""
        told = self._read(JOB_FILE).get("watchdog") if self.supervisor() else None
        port = told.get("port") if isinstance(told, dict) else None
        return port if type(port) is int and 0 < port < 2**16 else None

    def restarts(self) -> restarts.Restarts:
        """How often the engine was started again, when and why.

        Raises:
            StateError: the events cannot be read.
        """
        return restarts.of_file(self.folder / restarts.EVENTS_FILE)

    def exit(self) -> Exit | None:
        """How the engine ended; None while it runs, or when nobody was left to tell."""
        path = self.folder / "exit.json"
        if not path.exists():
            return None
        document = self._read(path.name)
        code, number = document.get("code"), document.get("signal")
        return Exit(
            code if type(code) is int else None,
            number if type(number) is int else None,
            bool(document.get("asked")),
            _moment(document.get("ended")) or "",
        )

    def _supervisor(self) -> tuple[Identity, object] | None:
        """Who it is, and of which boot. Where its record is damaged, it is looked for among what
        runs: `down` must find an engine whatever became of our files."""
        document = self._read("supervisor.json")
        who = _identity(document)
        if who is not None:
            return who, document.get("boot")
        if not (self.folder / "supervisor.json").exists():
            return None
        found = running(str(self.folder / JOB_FILE))
        return (found, boot_id()) if found else None

    def _read(self, name: str) -> dict[str, Any]:
        """What the supervisor wrote; nothing where there is no file, or it is damaged.

        Raises:
            StateError: it is there, and cannot be read.
        """
        path = self.folder / name
        try:
            with path.open("rb") as stream:
                document = json.loads(stream.read(_MOST_BYTES))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise state_error("read", path, error) from error
        except (ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}


def _identity(document: dict[str, Any]) -> Identity | None:
    pid, start = document.get("pid"), document.get("start")
    if type(pid) is not int or type(start) is not int:
        return None
    return Identity(pid, start) if 0 < pid < 2**31 and 0 <= start < 2**63 else None


def _moment(text: object) -> str | None:
    """A time of the supervisor's; None for what is none."""
    try:
        moment = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return str(text) if moment.tzinfo is not None else None
