"""Starts Locust as a subprocess, relays its progress, and makes sure that it ends.

Locust patches sockets and threads of the process that imports it, hence a subprocess. How it is
called is in `command`.
"""

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from deployctl.endpoint import Endpoint
from deployctl.errors import InterruptedByUserError, StateError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.host import free_port
from deployctl.load.command import as_master, command, environment, worker_command
from deployctl_loadtest.result import Setup

_PROGRESS_MARK, _UNWRITTEN_MARK = "@progress ", "@unwritten "
_FULL_HINT = "make room on that disk, or give --out a folder on another"
_END_S = 15.0  # for Locust to cut its requests and write its last samples


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is."""

    at_s: float
    users: int
    done: int
    failed: int
    chunks: int  # text chunks so far: about tokens
    in_flight: int = 0
    finished: bool = False


class Ended(NamedTuple):
    """How a run came to its end."""

    interrupted: bool  # by Ctrl-C
    unwritten: str | None = None  # why samples could not be written any more


def run(setup: Setup, folder: Path, endpoint: Endpoint, tell: Tell = silent) -> Ended:
    """Runs the test to its end; samples and `locust.log` are then in `folder`.

    What it had measured is in `folder` however it ended, as far as the disk took it.

    Raises:
        TargetError: Locust could not be started, or failed before it wrote anything.
        InterruptedByUserError: Ctrl-C, before it wrote anything.
        StateError: the folder cannot be written at all.
    """
    log_path = folder / "locust.log"
    variables = environment(os.environ, endpoint.api_key, endpoint.headers)
    ended = Ended(interrupted=False)
    with _log(log_path) as log:
        started: list[subprocess.Popen[str]] = []
        try:
            leader = command(setup, folder)
            if setup.workers > 1:
                port = free_port()
                leader += as_master(setup.workers, port)
            process = _start(leader, folder, log, variables)
            started.append(process)
            for _ in range(setup.workers if setup.workers > 1 else 0):
                started.append(_start(worker_command(port), folder, log, variables, quiet=True))
            ended = _follow(process, log, tell)
        finally:
            for one in started:
                _end(one)
    if ended.unwritten is not None and not _anything(folder):
        raise StateError(
            f"no sample could be written: {ended.unwritten}", where=str(folder), hint=_FULL_HINT
        )
    if ended.interrupted and not _anything(folder):
        raise InterruptedByUserError("interrupted before anything was measured")
    if process.returncode != 0 and not _anything(folder):
        raise TargetError(
            f"Locust ended with exit code {process.returncode} and no result",
            where=str(log_path),
            hint=_last_words(log_path),
        )
    return ended


@contextmanager
def _log(path: Path) -> Iterator[TextIO]:
    """The log's file. What a full disk does not take of it is no reason to fail."""
    try:
        file = path.open("w", encoding="utf-8")
    except OSError as error:
        raise StateError(
            f"the folder cannot be written: {error.strerror}", where=str(path), hint=_FULL_HINT
        ) from error
    try:
        yield file
    finally:
        with suppress(OSError):
            file.close()


def _start(
    words: list[str], folder: Path, log: TextIO, variables: dict[str, str], *, quiet: bool = False
) -> "subprocess.Popen[str]":
    # Its own session: a Ctrl-C in the terminal reaches us alone, and we end it in order.
    try:
        return subprocess.Popen(
            words,
            cwd=folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            stdout=log if quiet else subprocess.PIPE,
            stderr=log,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        raise TargetError(f"Locust could not be started: {error}") from error


def _follow(process: "subprocess.Popen[str]", log: TextIO, tell: Tell) -> Ended:
    """Reads progress until the process ends."""
    assert process.stdout is not None
    interrupted, unwritten = False, None
    while True:
        try:
            line = process.stdout.readline()
            if not line:
                return Ended(interrupted, unwritten)
            if line.startswith(_PROGRESS_MARK):
                far = Progress(**json.loads(line.removeprefix(_PROGRESS_MARK)))
                tell(Event("progress", f"{far.at_s:.0f} s, {far.done} requests done", far))
            elif line.startswith(_UNWRITTEN_MARK):
                unwritten = line.removeprefix(_UNWRITTEN_MARK).strip()
            else:
                with suppress(OSError):
                    log.write(line)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            process.send_signal(signal.SIGTERM)


def _end(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _anything(folder: Path) -> bool:
    """Whether there is anything to report: a killed process leaves its samples."""
    return any(folder.glob("worker-*.json")) or any(
        path.stat().st_size > 0 for path in folder.glob("samples-*.jsonl")
    )


def _last_words(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "its log is empty"
