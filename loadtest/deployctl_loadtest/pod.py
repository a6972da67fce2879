"""What runs in the pods of a load that is made in a cluster. Standard library alone.

    python3 -m deployctl_loadtest.pod master          python3 -m deployctl_loadtest.pod worker HOST

A worker's pod is a worker of Locust, which waits for its master at HOST. The master's pod listens
on its own loopback, which a port-forward alone reaches. A connection carries requests in turn,
each a line of JSON, as are the answers:

    {"do": "hello"}                                  {"version": 1, "code": DIGEST, "locust": …}
    {"do": "put", "name": NAME, "size": BYTES}       the bytes follow; then {"put": NAME}
    {"do": "run", "options": […], "workers": N}      {"runs": true}; a second time changes nothing
    {"do": "more", "have": {NAME: BYTES}}            what has come since: see `Master.more`
    {"do": "stop"}                                   {"stops": true}: ends the run, in order
    {"do": "leave"}                                  {"left": true}, and the pod ends

Where nobody has asked for IDLE_S, nobody is there any more: the pod ends, and the load with it.
"""

import hashlib
import importlib.metadata
import json
import os
import signal
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

from deployctl_loadtest.progress import MARK, UNWRITTEN

VERSION = 1  # of what is said here
PORT, LOCUST_PORT = 4712, 5557  # for us, on loopback; for the workers
FILES, RESULT = "/load/files", "/load/result"  # what a run needs, and what comes of it
FOLDER_VARIABLE = "DEPLOYCTL_LOADTEST_FILES"  # tells Locust that workers are apart: see `deliver`
LOG = "locust.log"
IDLE_S = 120.0
CONNECT_S = 60  # for workers that run to find the master
BLOCK = 1 << 18  # bytes of a line, and of what is read at once
MOST = 1 << 19  # bytes of files in one answer
_END_S = 20.0  # for Locust to hand its last samples over
_HERE = Path(__file__).resolve().parent
Say = Callable[[dict[str, Any]], None]
Fill = Callable[[memoryview], int]  # fills a buffer; 0 where nothing comes any more


def code() -> str:
    """What tells whether two machines measure with the same code: a digest of this package's."""
    digest = hashlib.sha256()
    for path in sorted(_HERE.glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def locust() -> list[str]:
    """The command that starts Locust with our locustfile."""
    return [sys.executable, "-m", "locust", "-f", str(_HERE / "locustfile.py")]


def as_master(workers: int) -> list[str]:
    """What makes Locust a master that waits for so many workers."""
    return [
        "--master",
        f"--master-bind-port={LOCUST_PORT}",
        f"--expect-workers={workers}",
        f"--expect-workers-max-wait={CONNECT_S}",
    ]


class Master:
    """Locust's master as a subprocess, and the files before and after it."""

    def __init__(self, files: Path, result: Path, command: list[str] | None = None) -> None:
        """`command` begins the one that is run: Locust's."""
        self._files, self._result = files, result
        self._command = command or locust()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._progress: tuple[float, dict[str, Any]] | None = None  # when it was told, and what
        self._unwritten: str | None = None
        self.left = False
        for folder in (files, result):
            folder.mkdir(parents=True, exist_ok=True)

    def answer(self, line: bytes, say: Say, fill: Fill) -> bool:
        """Does what a line asks for; False where nothing more may come on its connection."""
        try:
            wanted = json.loads(line)
            what = wanted["do"]
            if what == "hello":
                locust_version = importlib.metadata.version("locust")
                say({"version": VERSION, "code": code(), "locust": locust_version})
            elif what == "put":
                self._put(wanted["name"], wanted["size"], fill)
                say({"put": wanted["name"]})
            elif what == "run":
                self._run([*map(str, wanted["options"])], int(wanted["workers"]))
                say({"runs": True})
            elif what == "more":
                say(self.more(wanted["have"]))
            elif what == "stop":
                self.stop()
                say({"stops": True})
            else:
                self.left = True
                say({"left": True})
        except (OSError, ValueError, KeyError, TypeError) as error:
            say({"error": f"{type(error).__name__}: {error}"[:300]})
            return False
        return True

    def more(self, have: dict[str, int]) -> dict[str, Any]:
        """What has come since: `pieces`, each a file's name, where it begins and its text (bytes
        as Latin-1), MOST at once; the last `progress` and how long the run is under way by now,
        `run_s`; why samples are `unwritten`; and, once Locust has ended and all of its files were
        handed over, its exit code, `ended`."""
        ended = self._ended()
        pieces: list[list[Any]] = []
        left, room = 0, MOST
        for path in sorted(self._result.iterdir()):
            offset = int(have.get(path.name, 0))
            missing = path.stat().st_size - offset
            if missing <= 0:
                continue
            if room:
                with path.open("rb") as file:
                    file.seek(offset)
                    data = file.read(min(missing, room))
                pieces.append([path.name, offset, data.decode("latin-1")])
                room -= len(data)
                missing -= len(data)
            left += missing
        told: dict[str, Any] = {"pieces": pieces, "left": left, "unwritten": self._unwritten}
        if self._progress is not None:
            at, progress = self._progress
            told |= {"progress": progress, "run_s": progress["at_s"] + time.monotonic() - at}
        if ended is not None and not pieces:
            told["ended"] = ended
        return told

    def stop(self) -> None:
        """Has Locust cut its requests and hand over what it has."""
        with self._lock:
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()

    def close(self) -> None:
        """Ends Locust."""
        self.stop()
        if self._process is not None:
            try:
                self._process.wait(_END_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _put(self, name: str, size: int, fill: Fill) -> None:
        place = self._files / name
        if place.parent != self._files or name.startswith("."):
            raise ValueError(f"not the name of a file here: {name!r}")
        buffer = memoryview(bytearray(BLOCK))
        with place.open("wb") as file:
            while size:
                got = fill(buffer[: min(size, BLOCK)])
                if not got:
                    raise OSError("the connection was cut")
                file.write(buffer[:got])
                size -= got

    def _run(self, options: list[str], workers: int) -> None:
        with self._lock:
            if self._process is not None:
                return  # the answer was lost, and it is asked for again
            log = (self._result / LOG).open("w", encoding="utf-8")
            self._process = subprocess.Popen(
                [*self._command, *options, *as_master(workers)],
                cwd=self._result,
                env={**os.environ, FOLDER_VARIABLE: str(self._files), "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                errors="replace",
            )
            self._reader = threading.Thread(target=self._read, args=(self._process, log))
            self._reader.start()

    def _read(self, process: "subprocess.Popen[str]", log: Any) -> None:
        assert process.stdout is not None
        with log, process.stdout:
            for line in process.stdout:
                if line.startswith(MARK):
                    self._progress = (time.monotonic(), json.loads(line.removeprefix(MARK)))
                elif line.startswith(UNWRITTEN):
                    self._unwritten = line.removeprefix(UNWRITTEN).strip()
                else:
                    with suppress(OSError):
                        log.write(line)

    def _ended(self) -> int | None:
        process = self._process
        if process is None or process.poll() is None:
            return None
        assert self._reader is not None
        self._reader.join()
        return process.returncode


class Listener(socketserver.ThreadingTCPServer):
    """Listens for whoever made the pod."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, master: Master, port: int = PORT) -> None:
        self.master = master
        self.asked = time.monotonic()  # when anything came last
        super().__init__(("127.0.0.1", port), Conversation)


class Conversation(socketserver.StreamRequestHandler):
    """One connection, answered line by line."""

    rbufsize = BLOCK
    timeout = IDLE_S
    server: Listener

    def handle(self) -> None:
        """Answers line by line."""
        with suppress(OSError):  # it was lost; another comes, or none
            while line := self.rfile.readline(BLOCK):
                self.server.asked = time.monotonic()
                if not self.server.master.answer(line, self._say, self._fill):
                    return

    def _fill(self, buffer: memoryview) -> int:
        self.server.asked = time.monotonic()
        return cast(Any, self.rfile).readinto1(buffer)  # type: ignore[no-any-return]

    def _say(self, document: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(document).encode() + b"\n")


def lead() -> int:
    """The master's pod, to its end."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    master = Master(Path(FILES), Path(RESULT))
    listener = Listener(master)
    threading.Thread(target=listener.serve_forever, daemon=True).start()
    try:
        while not master.left:
            time.sleep(0.2)
            if time.monotonic() - listener.asked > IDLE_S:
                sys.stderr.write(f"nobody has asked for {IDLE_S:.0f} s: the load ends\n")
                return 1
        return 0
    finally:
        master.close()


def follow(host: str) -> None:
    """The worker's pod: Locust, in the place of this process."""
    place = f"[{host}]" if ":" in host else host
    where = [f"--master-host={place}", f"--master-port={LOCUST_PORT}"]
    os.environ[FOLDER_VARIABLE] = FILES
    os.execv(sys.executable, [*locust(), "--worker", *where])  # noqa: S606


if __name__ == "__main__":
    if sys.argv[1] == "master":
        sys.exit(lead())
    follow(sys.argv[2])
