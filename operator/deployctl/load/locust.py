"""Starts Locust as a subprocess, relays its progress, and makes sure that it ends.

Locust patches sockets and threads of the process that imports it, hence a subprocess. The API
key travels in the environment, never in the arguments.
"""

import dataclasses
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from deployctl.endpoint import Endpoint
from deployctl.errors import InterruptedByUserError, StateError, TargetError
from deployctl.events import Event, Tell, silent
from deployctl.given import is_file
from deployctl.host import free_port
from deployctl_loadtest import pod
from deployctl_loadtest.progress import MARK, UNWRITTEN
from deployctl_loadtest.result import Setup

KEY_VARIABLE = "DEPLOYCTL_LOADTEST_API_KEY"
HEADERS_VARIABLE = "DEPLOYCTL_LOADTEST_HEADERS"
VOCABULARY = "vocabulary.json"  # in the result folder, while it runs
CONNECT_S = 60.0  # for workers to start and find the master
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
    # Of a load that comes from elsewhere:
    lost: str | None = None  # why its end is not known
    began_s: float | None = None  # when it began, on this machine's monotonic clock
    locust: str = ""  # the release of Locust there


TO_THE_END = Ended(interrupted=False)


def run(setup: Setup, folder: Path, endpoint: Endpoint, tell: Tell = silent) -> Ended:
    """Runs the test to its end; samples and `locust.log` are then in `folder`.

    What it had measured is in `folder` however it ended, as far as the disk took it.

    Raises:
        TargetError: Locust could not be started, or failed before it wrote anything.
        InterruptedByUserError: Ctrl-C, before it wrote anything.
        StateError: the folder cannot be written at all.
    """
    log_path = folder / pod.LOG
    variables = environment(os.environ, endpoint.credential, endpoint.headers)
    ended = TO_THE_END
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
    check(folder, ended, process.returncode)
    return ended


def check(folder: Path, ended: Ended, code: int) -> None:
    """Sees to it that a run left something to report. `code` is Locust's exit code.

    Raises:
        TargetError, InterruptedByUserError, StateError: it did not, as for `run`.
    """
    if ended.unwritten is not None and not _anything(folder):
        raise StateError(
            f"no sample could be written: {ended.unwritten}", where=str(folder), hint=_FULL_HINT
        )
    if ended.interrupted and not _anything(folder):
        raise InterruptedByUserError("interrupted before anything was measured")
    if ended.lost is not None and not _anything(folder):
        raise TargetError(f"the load was lost before anything was measured: {ended.lost}")
    if code != 0 and not _anything(folder):
        raise TargetError(
            f"Locust ended with exit code {code} and no result",
            where=str(folder / pod.LOG),
            hint=_last_words(folder / pod.LOG),
        )


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
            if line.startswith(MARK):
                far = Progress(**json.loads(line.removeprefix(MARK)))
                tell(Event("progress", f"{far.at_s:.0f} s, {far.done} requests done", far))
            elif line.startswith(UNWRITTEN):
                unwritten = line.removeprefix(UNWRITTEN).strip()
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


# The command lines.


def command(setup: Setup, samples: Path) -> list[str]:
    """The argument list that runs the test. Holds no secret."""
    words = arguments(setup, samples, samples / VOCABULARY)
    return [*pod.locust(), f"--host={setup.url}", *words]


def arguments(setup: Setup, samples: Path, vocabulary: Path) -> list[str]:
    """Those of Locust, but for whom to ask. The vocabulary is there where lengths are exact."""
    values: dict[str, object] = {
        "users": setup.users,
        "spawn-rate": setup.users / setup.ramp_s if setup.ramp_s else setup.users,
        "stop-timeout": 0,
        "exit-code-on-error": 0,
        "model": setup.model,
        "api": setup.api,
        # A workload's own lengths where they vary; else those that were asked for.
        "input-tokens": setup.input_tokens if setup.input_fixed else 0,
        "output-tokens": setup.output_tokens if setup.output_fixed else 0,
        "workload": "" if setup.workload == "fixed" else _absolute(setup.workload),
        "extra-body": json.dumps(setup.extra_body),
        "ca-file": setup.ca_file or "",
        "vocabulary": vocabulary if setup.prompt_lengths == "exact" else "",
        "seed": setup.seed,
        "request-timeout": setup.request_timeout_s,
        "stop-after": setup.cut_s + setup.duration_s,
        "samples": samples,
        "requests": setup.requests or 0,
    }
    if setup.mode != "closed":  # one scheduler in each process
        values |= {"users": setup.workers, "spawn-rate": setup.workers}
    if setup.mode == "open":
        assert setup.rate is not None
        assert setup.arrivals is not None
        values |= {"rate": setup.rate, "arrivals": setup.arrivals}
        values |= {"ramp": setup.ramp_s}
    if setup.mode == "trace":
        assert setup.trace is not None
        values |= {"trace": Path(setup.trace).absolute(), "trace-speed": setup.trace_speed}
    words = [f"--{name}={value}" for name, value in values.items()]
    if not setup.ignore_eos:
        words.append("--no-ignore-eos")
    return [*words, "--headless", "--only-summary", "--progress", "--realtime"]


def as_master(workers: int, port: int) -> list[str]:
    """What makes a master of `command`: it sends nothing, and leads the workers."""
    return [
        "--master",
        "--master-bind-host=127.0.0.1",
        f"--master-bind-port={port}",
        f"--expect-workers={workers}",
        f"--expect-workers-max-wait={CONNECT_S:.0f}",
    ]


def worker_command(port: int) -> list[str]:
    """The argument list of one worker: what it is to do, the master tells it."""
    return [*pod.locust(), "--worker", "--master-host=127.0.0.1", f"--master-port={port}"]


def _absolute(workload: str) -> str:
    """Locust runs in the result folder: a file is named from the root, one of ours by name."""
    path = Path(workload)
    return str(path.absolute()) if is_file(path) else workload


def environment(
    inherited: Mapping[str, str], api_key: str | None, headers: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The subprocess's environment: no stray LOCUST_* settings; key and headers if any."""
    keys = (KEY_VARIABLE, HEADERS_VARIABLE, "OPENAI_API_KEY", pod.FOLDER_VARIABLE)
    values = {
        name: value
        for name, value in inherited.items()
        if not name.startswith("LOCUST_") and name not in keys
    }
    return {**values, **secrets(api_key, headers), "PYTHONUNBUFFERED": "1"}


def secrets(api_key: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    """The variables by which Locust's side takes what nobody may see."""
    values: dict[str, str] = {}
    if api_key:
        values[KEY_VARIABLE] = api_key
    if headers:
        values[HEADERS_VARIABLE] = json.dumps(dict(headers))
    return values
