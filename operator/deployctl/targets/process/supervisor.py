"""The supervisor: runs a service's engine under its watchdog, and keeps its log.

Run as a program (`python -I supervisor.py job.json`) in a session of its own, so that it
outlives the deployctl that started it. Standard library alone: it must stay small and start
at once. Its job says what to run; what became of it is written beside the job:

    supervisor.json   pid and start time of the supervisor, before the engine starts
    engine.json       pid and start time of the engine, the last one
    exit.json         exit code or signal, when, and whether it was asked to stop
    events.jsonl      when the engine was started again and why; see deploy/door/engine_watchdog.py
    engine.log        what the engine wrote; engine.log.1 is the part before, of bounded size

While it lives nobody else's engine has the port; once it ends the gateway leads nobody there.
"""

import contextlib
import errno
import json
import os
import socket
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LOG_BYTES = 32 * 1024 * 1024  # of engine.log before it becomes engine.log.1


def _identity(pid: int) -> dict[str, Any]:
    stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {"pid": pid, "start": int(stat[stat.rindex(")") + 2 :].split()[19]), "boot": boot}


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


def _reserve(name: str) -> socket.socket:
    """Has a name of Linux's abstract sockets, which the kernel gives to one and takes back from
    whoever has ended, however."""
    reserved = socket.socket(socket.AF_UNIX)
    try:
        reserved.bind(f"\0{name}")
    except OSError as error:
        reserved.close()
        if error.errno == errno.EADDRINUSE:
            sys.exit("another engine has its port, or is about to")
        sys.exit(f"its port cannot be reserved: {error.strerror or error}")
    return reserved


def _lead_nobody(led: dict[str, str]) -> None:
    """Has requests wait that the gateway leads here. Each file is written where it is: if it was
    replaced meanwhile, the new one stays, and a disk that is full has room for that."""
    for path in Path(led["from"]).glob("[!.]*"):
        with contextlib.suppress(OSError), path.open("r+b") as file:
            if file.read() == led["to"].encode():
                file.seek(0)
                file.write(led["then"].encode())
                file.truncate()


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

    def _rotate(self) -> None:
        """Where it cannot be done, the file goes on, and it is tried again a file's size later."""
        full, self._size = self._descriptor, 0
        with contextlib.suppress(FileNotFoundError):  # a new file could not be made the last time
            self._path.replace(self._path.with_name(self._path.name + ".1"))
        self._open()
        os.close(full)

    def write(self, data: bytes) -> None:
        # A full disk must not stop the engine: what cannot be written is lost.
        if self._size + len(data) > self._limit:
            with contextlib.suppress(OSError):
                self._rotate()
        with contextlib.suppress(OSError):
            while data:
                written = os.write(self._descriptor, data)
                self._size += written
                data = data[written:]

    def copy(self, reader: int) -> None:
        """Writes what comes until the other end is closed."""
        while data := os.read(reader, 65536):
            self.write(data)


class _Supervisor:
    def __init__(self, folder: Path, job: dict[str, Any], ready: int) -> None:
        self._folder = folder
        self._ready = ready
        self._job = job

    def run(self) -> int:
        # Data of the package, so that containers can have them too: not a module of it.
        sys.path.insert(0, self._job["watchdog_folder"])
        from engine_parent import Machine
        from engine_watchdog import Settings, Watchdog

        reserved = _reserve(name) if (name := self._job.get("reserves")) else None
        if cpus := self._job.get("cpus"):
            os.sched_setaffinity(0, cpus)  # and of what it starts
        settings = Settings(**self._job["watchdog"])
        reader, writer = os.pipe()
        machine = Machine(settings, output=writer, started=self._started)
        _write(self._folder / "supervisor.json", _identity(os.getpid()))
        log = _Log(self._folder / "engine.log", int(self._job.get("log_bytes", LOG_BYTES)))
        os.write(self._ready, b"1")
        os.close(self._ready)
        copying = threading.Thread(target=log.copy, args=(reader,), daemon=True)
        copying.start()
        code = Watchdog(settings, machine).run(self._job["argv"], self._job["before"])
        os.close(writer)  # nobody else has it open any more
        copying.join()
        self._record(code, asked=machine.asked())
        if led := self._job.get("led"):  # now that nobody leads here any more who reads that
            _lead_nobody(led)
        if reserved is not None:
            reserved.close()
        return 0

    def _started(self, pid: int) -> None:
        with contextlib.suppress(OSError):
            _write(self._folder / "engine.json", {**_identity(pid), "started": _now()})

    def _record(self, code: int, *, asked: bool) -> None:
        document = {
            "code": code if code >= 0 else None,
            "signal": -code if code < 0 else None,
            "asked": asked,
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
