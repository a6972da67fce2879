"""Runs in the loader's pod: takes a checkpoint's files and lays them onto the claim, each under its
own name only when its SHA-256 is right. Standard library alone: its text travels in the pod.

A connection carries requests in turn, each a line of JSON, as are the answers; a FILE is
[NAME, BYTES, SHA256]:

    {"do": "look", "files": [FILE…]}   {"whole": [NAME…], "parts": {NAME: BYTES}, "free": BYTES}
    {"do": "put", "file": FILE}        {"go": OFFSET}, and when the bytes from there have come,
                                       {"whole": NAME}
    {"do": "seal", "files": [FILE…]}   {"sealed": true}: all of them are there

An answer with "error" is the connection's last.
"""

import errno
import hashlib
import json
import os
import shutil
import signal
import socketserver
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, cast

OURS = ".deployctl"  # a folder of the claim
BLOCK = 1 << 20
SYNC_EVERY = 256 << 20  # bytes between two looks that what was written is on the disk
STALL_S = 600.0  # for a connection on which nothing comes
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)
Fill = Callable[[memoryview], int]  # fills a buffer; 0 where nothing comes any more
File = list[Any]  # a FILE, as above


class RefusedError(Exception):
    """What ends a request. `kind` is stable."""

    def __init__(self, kind: str, **more: object) -> None:
        super().__init__(kind)
        self.answer = {"error": kind, **more}


class ClaimFolder:
    """The files of a claim, and the list of those that were found whole."""

    def __init__(self, root: str) -> None:
        self.root = Path(root)
        self.parts = self.root / OURS / "parts"
        self.list = self.root / OURS / "files.json"
        self.lock = threading.Lock()
        self.parts.mkdir(parents=True, exist_ok=True)
        try:
            self.known: dict[str, str] = json.loads(self.list.read_bytes())
        except (FileNotFoundError, ValueError):
            self.known = {}

    def look(self, files: list[File]) -> dict[str, Any]:
        """What is there of these files."""
        whole = [file[0] for file in files if self.is_whole(file)]
        parts = {file[0]: _size(self.part(file)) for file in files if file[0] not in whole}
        free = shutil.disk_usage(self.root).free
        return {"whole": whole, "parts": {k: n for k, n in parts.items() if n}, "free": free}

    def put(self, file: File, go: Callable[[int], None], fill: Fill) -> None:
        """Takes a file in. `go` is told from where on; `fill` fills a buffer, or says that nothing
        comes any more: then the part stays for the next time."""
        name, size, digest = file
        part = self.part(file)
        if self.is_whole(file):
            go(size)
            return
        summed = hashlib.sha256()
        with part.open("ab", buffering=0) as stream:
            have = stream.tell()
            if have > size:
                stream.truncate(0)
                have = 0
            if have:
                _add(part, summed)
            go(have)
            self._take(stream, size - have, summed, fill)
        if summed.hexdigest() != digest:
            part.unlink()
            raise RefusedError("digest", file=name, resumed=have)
        self._keep(part, name, digest)

    def seal(self, files: list[File]) -> None:
        """Checks that all are there, and removes what is left of others.

        Raises:
            RefusedError: one is not.
        """
        for file in files:
            if not self.is_whole(file):
                raise RefusedError("missing", file=file[0])
        shutil.rmtree(self.parts, ignore_errors=True)
        self.parts.mkdir(parents=True, exist_ok=True)

    def is_whole(self, file: File) -> bool:
        """Whether a file was found whole, and has its size still."""
        name, size, digest = file
        return bool(self.known.get(name) == digest and _size(self.path(name)) == size)

    def part(self, file: File) -> Path:
        """What has come of a file: named after what it is to be, so that no other goes on it."""
        return self.parts / hashlib.sha256(json.dumps(file).encode()).hexdigest()

    def path(self, name: str) -> Path:
        """Where a file is to be, inside the claim."""
        pieces = name.split("/")
        if not name or name.startswith("/") or {"", ".", "..", OURS} & set(pieces):
            raise RefusedError("name", file=name)
        return self.root.joinpath(*pieces)

    def _take(self, stream: FileIO, left: int, summed: "hashlib._Hash", fill: Fill) -> None:
        buffer = memoryview(bytearray(BLOCK))
        since = 0
        while left:
            got = fill(buffer[: min(left, BLOCK)])
            if not got:
                raise RefusedError("cut")
            block = buffer[:got]
            summed.update(block)
            while block:
                block = block[stream.write(block) :]
            left -= got
            since += got
            if since >= SYNC_EVERY:
                os.fdatasync(stream.fileno())
                since = 0
        os.fsync(stream.fileno())

    def _keep(self, part: Path, name: str, digest: str) -> None:
        place = self.path(name)
        place.parent.mkdir(parents=True, exist_ok=True)
        part.replace(place)
        _sync(place.parent)
        with self.lock:
            self.known[name] = digest
            new = self.list.with_suffix(".new")
            with new.open("w") as stream:
                json.dump(self.known, stream)
                stream.flush()
                os.fsync(stream.fileno())
            new.replace(self.list)
            _sync(self.list.parent)


def _add(path: Path, summed: "hashlib._Hash") -> None:
    with path.open("rb") as stream:
        while block := stream.read(BLOCK):
            summed.update(block)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a network's file system may not know this
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def answer(
    folder: ClaimFolder, line: bytes, say: Callable[[dict[str, Any]], None], fill: Fill
) -> bool:
    """Does what a line asks for; False where nothing more may come on its connection."""
    try:
        wanted = json.loads(line)
        if wanted["do"] == "look":
            say(folder.look(wanted["files"]))
        elif wanted["do"] == "put":
            folder.put(wanted["file"], lambda offset: say({"go": offset}), fill)
            say({"whole": wanted["file"][0]})
        else:
            folder.seal(wanted["files"])
            say({"sealed": True})
        return True
    except RefusedError as refusal:
        say(refusal.answer)
    except OSError as error:
        kind = "full" if error.errno in _FULL else "denied" if error.errno in _DENIED else "io"
        say({"error": kind, "text": error.strerror or str(error)})
    return False


class Receiver(socketserver.ThreadingTCPServer):
    """Listens on the pod's own loopback, which a port-forward alone reaches."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, root: str, port: int) -> None:
        self.folder = ClaimFolder(root)
        self.open = 0
        self.lock = threading.Lock()
        self.since = time.monotonic()
        super().__init__(("127.0.0.1", port), Conversation)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Counts: without connections for a while, nobody is there any more."""
        with self.lock:
            self.open += 1
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self.lock:
                self.open -= 1
                self.since = time.monotonic()

    def idle_s(self) -> float:
        """For how long there was no connection."""
        return 0.0 if self.open else time.monotonic() - self.since


class Conversation(socketserver.StreamRequestHandler):
    """One connection, answered line by line."""

    rbufsize = BLOCK
    timeout = STALL_S
    server: Receiver

    def handle(self) -> None:
        """Answers line by line. Of one that is refused, what still comes is thrown away: else the
        answer might be, with the connection."""
        try:
            while line := self.rfile.readline(BLOCK):
                if not answer(self.server.folder, line, self._say, self._fill):
                    self.connection.settimeout(5.0)
                    while self.rfile.read1(BLOCK):
                        continue
                    return
        except OSError:
            return  # it was lost; another comes, or none

    def _fill(self, buffer: memoryview) -> int:
        return cast(BufferedReader, self.rfile).readinto1(buffer)

    def _say(self, document: dict[str, Any]) -> None:
        self.wfile.write(json.dumps(document).encode() + b"\n")


def main(root: str, port: str, idle_s: str) -> None:
    """Receives until nobody has been there for `idle_s`."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    os.umask(0o022)
    receiver = Receiver(root, int(port))
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    while receiver.idle_s() < float(idle_s):
        time.sleep(1.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
