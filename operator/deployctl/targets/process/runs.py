"""A run's folder: the files that the supervisor writes, read back with care."""

import json
import signal
from pathlib import Path
from typing import Any, NamedTuple

from deployctl.errors import StateError
from deployctl.targets.atomic import make_folder, state_error, write_private
from deployctl.targets.process.procfs import Identity, alive, boot_id


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
            return f"exit code {self.code}"
        try:
            name = f" ({signal.Signals(self.signal).name})"
        except ValueError:
            name = ""
        return f"killed by signal {self.signal}{name}"


class Run:
    """One revision's folder below the service's: job, identities, exit and log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "engine.log"

    def prepare(self, argv: list[str]) -> Path:
        """Makes the folder ready for a new start and returns the job's path.

        Raises:
            StateError: the disk is full or not writable; nothing was started.
        """
        make_folder(self.folder)
        self.forget()
        try:
            (self.folder / "exit.json").unlink(missing_ok=True)
            (self.folder / "engine.log.1").unlink(missing_ok=True)
            if self.log.exists():
                self.log.replace(self.folder / "previous.log")
        except OSError as error:
            raise state_error("put the old log aside", self.log, error) from error
        job = self.folder / "job.json"
        write_private(job, json.dumps({"argv": argv}, indent=1, ensure_ascii=False).encode())
        return job

    def forget(self) -> None:
        """Removes the identities of a run that is over; its log, and how it ended, stay."""
        try:
            for name in ("supervisor.json", "engine.json"):
                (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise state_error("clear the run's folder", self.folder, error) from error

    def supervisor(self) -> Identity | None:
        """The supervisor as recorded, whether it lives or not; None when there was none."""
        return _identity(self._read("supervisor.json"))

    def supervisor_alive(self) -> Identity | None:
        """The supervisor, if it runs."""
        document = self._read("supervisor.json")
        who = _identity(document)
        if who is None or document is None or document.get("boot") != boot_id():
            return None
        return who if alive(who) else None

    def this_boot(self) -> bool:
        """Whether the run is of this boot of the machine."""
        document = self._read("supervisor.json")
        return document is not None and document.get("boot") == boot_id()

    def engine(self) -> tuple[Identity, str] | None:
        """The engine's identity and when it started (ISO 8601)."""
        document = self._read("engine.json")
        who = _identity(document)
        return None if who is None or document is None else (who, str(document.get("started")))

    def exit(self) -> Exit | None:
        """How the engine ended; None while it runs, or when nobody was left to tell."""
        document = self._read("exit.json")
        if document is None:
            return None
        return Exit(
            document.get("code"),
            document.get("signal"),
            bool(document.get("asked")),
            str(document.get("ended")),
        )

    def _read(self, name: str) -> dict[str, Any] | None:
        path = self.folder / name
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise state_error("read", path, error) from error
        except ValueError as error:
            raise StateError("the file is damaged", where=str(path), hint=f"rm {path}") from error
        return document if isinstance(document, dict) else None


def _identity(document: dict[str, Any] | None) -> Identity | None:
    if document is None:
        return None
    try:
        return Identity(int(document["pid"]), int(document["start"]))
    except (KeyError, TypeError, ValueError):
        return None
