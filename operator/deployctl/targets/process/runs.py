"""One run of an engine: the folder it is recorded in.

The supervisor writes most of the folder's files; they are read back with care.
"""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deployctl import assets
from deployctl.errors import StateError
from deployctl.files import make_folder, state_error, write_private
from deployctl.render import door, gateway
from deployctl.render.bundle import LOOPBACK
from deployctl.render.process import (
    DOOR_FOLDER,
    DRAIN_FILE,
    SECRETS_FOLDER,
    TOKEN_FILE,
)
from deployctl.targets import restarts
from deployctl.targets.driver import EngineState
from deployctl.targets.history import Release
from deployctl.targets.process.command import Command, near_cards
from deployctl.targets.process.procfs import Identity, alive, boot_id, running

TRY_S = 60.0  # for the door to be tried: a loaded machine takes seconds to start Python
JOB_FILE = "job.json"
_HALTED = "halted"  # since when the engine does not run, and why
_FOR_A_SHUTDOWN = "stopped for a shutdown"
INTERRUPTED = "its start was interrupted"
_MOST_BYTES = 64 * 1024  # of a file of the supervisor


def reservation(port: int) -> str:
    """The name, of Linux's abstract sockets, that a supervisor has for as long as it lives, and no
    other beside it: while its engine is down, another's would take the port."""
    return f"deployctl/{port}"


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

    def prepare(self, command: Command, python: str, *, grace_s: float, state: Path) -> Path:
        """Makes the folder ready for a new start and returns the job's path. `python` has the
        engine, which has `grace_s` to end when it is told to; below `state` are the locks of shared
        cards, and the gateway.

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
            turns = state / "cards"
            make_folder(turns)
            told |= {"turns": str(turns), "cards": command.shared_cards()}
        if command.door:
            told |= {"drain": str(self.drain), "token": str(self.folder / TOKEN_FILE)}
        document = {
            "argv": command.argv(python),
            "before": [python, "-m", door.PACKAGE] if command.door else [],
            "watchdog_folder": str(assets.path("deploy", "door")),
            "watchdog": told,
            "cpus": near_cards(command, os.environ),
            "reserves": reservation(command.port),
            "led": {
                "from": str(state / "gateway" / gateway.UPSTREAMS),
                "to": f"{LOOPBACK}:{command.port}",
                "then": gateway.NOBODY,
            },
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
            for name in ("supervisor.json", "engine.json", _HALTED):
                (self.folder / name).unlink(missing_ok=True)
            for folder in (self.secrets, self.folder / DOOR_FOLDER):
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            raise state_error("clear the run's folder", self.folder, error) from error

    def halt(self, now: datetime, why: str = _FOR_A_SHUTDOWN) -> None:
        """Notes that its engine does not run and why, until it is started again: `boot` starts it.

        Raises:
            StateError: the disk is full or not writable.
        """
        said = f"{now.isoformat(timespec='seconds')} {why}"
        write_private(self.folder / _HALTED, said.encode())

    def absent(self) -> EngineState:
        """Of an engine that is not there: whether that is for a shutdown, or for Ctrl-C."""
        try:
            told = (self.folder / _HALTED).read_text()[:200]
        except (OSError, ValueError):
            return EngineState("absent")
        since, _, why = told.partition(" ")
        when = f"{why or _FOR_A_SHUTDOWN} at {_moment(since) or 'an unknown time'}"
        said = f"{when}; deployctl boot --start"
        return EngineState(
            "absent", f"{said}, or its unit at the next boot, starts it", halted=True
        )

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


def run_of(folder: Path, release: Release) -> RunFolder:
    """That of a release's engine, or of the replica that it names; `folder` is the service's."""
    number = "" if release.replica is None else f".{release.replica}"
    return RunFolder(folder / "runs" / f"{release.revision:06d}{number}")


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
