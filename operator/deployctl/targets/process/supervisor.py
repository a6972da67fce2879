"""The supervisor: runs one engine, keeps its log, and lets nothing of it outlive it.

Run as a program (`python -I supervisor.py job.json`) in a session of its own, so that it
outlives the deployctl that started it. Standard library alone: it must stay small and start
at once. Its job says what to run; what became of it is written beside the job:

    supervisor.json   pid and start time of the supervisor, before the engine starts
    engine.json       pid and start time of the engine
    exit.json         exit code or signal, when, and whether it was asked to stop
    engine.log        what the engine wrote; engine.log.1 is the part before, of bounded size
"""

import contextlib
import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG_BYTES = 32 * 1024 * 1024  # of engine.log before it becomes engine.log.1
GRACE_S = 15.0  # from SIGTERM to SIGKILL, for the engine
CHILD_GRACE_S = 2.0  # the same for children that outlive the engine
START_FAILED = 127  # as a shell says of a command that cannot be run

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # include/uapi/linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)


def _identity(pid: int) -> dict[str, Any]:
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"pid": pid, "start": int(stat[stat.rindex(")") + 2 :].split()[19]), "boot": boot}


def _children() -> list[int]:
    """Our children, zombies included."""
    us = str(os.getpid())
    children = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                stat = (entry / "stat").read_text(errors="replace")
                if stat[stat.rindex(")") + 2 :].split()[1] == us:
                    children.append(int(entry.name))
    return children


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _write(path: Path, document: dict[str, Any]) -> None:
    temporary = path.with_name(f".{path.name}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(path)


class _Log:
    """The engine's log, bounded: when full, it becomes engine.log.1 and a new one begins."""

    def __init__(self, path: Path, limit: int) -> None:
        self._path = path
        self._limit = limit
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(self._path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def write(self, data: bytes) -> None:
        # A full disk must not stop the engine: what cannot be written is lost.
        with contextlib.suppress(OSError):
            if self._size + len(data) > self._limit and data:
                os.close(self._descriptor)
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._open()
            self._size += os.write(self._descriptor, data)


class _Supervisor:
    def __init__(self, folder: Path, job: dict[str, Any], ready: int) -> None:
        self._folder = folder
        self._ready = ready
        self._job = job
        self._asked = False
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        os.set_blocking(self._wake_read, False)

    def run(self) -> int:
        # Orphans of the engine become our children, so that we can end and reap them.
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._stop_asked)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        _write(self._folder / "supervisor.json", _identity(os.getpid()))
        log = _Log(self._folder / "engine.log", int(self._job.get("log_bytes", LOG_BYTES)))
        os.write(self._ready, b"1")
        os.close(self._ready)
        reader, writer = os.pipe()
        us = os.getpid()

        def in_child() -> None:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() != us:  # we died before the line above
                os._exit(1)

        try:
            engine = subprocess.Popen(
                self._job["argv"],
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                process_group=0,
                preexec_fn=in_child,
            )
        except OSError as error:
            log.write(f"cannot start {self._job['argv'][0]}: {error.strerror}\n".encode())
            self._record(START_FAILED)
            return 1
        os.close(writer)
        with contextlib.suppress(OSError):
            _write(self._folder / "engine.json", {**_identity(engine.pid), "started": _now()})
        self._watch(engine, reader, log)
        self._end_children()
        self._drain(reader, log)
        self._record(engine.returncode)
        return 0

    def _stop_asked(self, *_: object) -> None:
        self._asked = True

    def _watch(self, engine: "subprocess.Popen[bytes]", reader: int, log: _Log) -> None:
        """Copies the log until the engine ends; passes on a request to stop, once, then kills."""
        os.set_blocking(reader, False)
        told = False
        deadline = 0.0
        grace = float(self._job.get("grace_s", GRACE_S))
        while engine.poll() is None:
            if self._asked and not told:
                told, deadline = True, time.monotonic() + grace
                engine.send_signal(signal.SIGTERM)
            if told and time.monotonic() > deadline:
                engine.kill()
            ready, _, _ = select.select([reader, self._wake_read], [], [], 0.5 if told else 5.0)
            if self._wake_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake_read, 512)
            if reader in ready:
                self._drain(reader, log, once=True)
            self._reap_orphans(engine.pid)

    def _drain(self, reader: int, log: _Log, *, once: bool = False) -> None:
        with contextlib.suppress(BlockingIOError):
            while data := os.read(reader, 65536):
                log.write(data)
                if once:
                    return
            if once:
                time.sleep(0.05)  # the engine closed its output and lives on: do not spin

    def _reap_orphans(self, engine: int) -> None:
        """Reaps children that we inherited; the engine itself is left to Popen."""
        peek = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (ended := os.waitid(os.P_ALL, 0, peek)) is not None and ended.si_pid != engine:
            os.waitpid(ended.si_pid, os.WNOHANG)

    def _end_children(self) -> None:
        """Ends all that the engine left behind, level by level, until we have no child."""
        deadline = time.monotonic() + CHILD_GRACE_S
        told: set[int] = set()
        while True:
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            late = time.monotonic() > deadline
            for pid in _children():
                if late or pid not in told:
                    told.add(pid)
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL if late else signal.SIGTERM)
            time.sleep(0.02)

    def _record(self, code: int) -> None:
        document = {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "asked": self._asked,
            "ended": _now(),
        }
        with contextlib.suppress(OSError):
            _write(self._folder / "exit.json", document)


def main() -> int:
    """Becomes a daemon that runs the job; returns once that is on record, or has failed."""
    path = Path(sys.argv[1])
    os.umask(0o077)
    reader, writer = os.pipe()
    if os.fork():
        os.close(writer)
        return 0 if os.read(reader, 1) else 1  # nothing to read: it died before it was ready
    os.close(reader)
    os.setsid()
    return _Supervisor(path.parent, json.loads(path.read_bytes()), ready=writer).run()


if __name__ == "__main__":
    sys.exit(main())
