"""Sends files to the loader's `receiver`, several at once, and tells how far it is."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployctl.errors import DeployctlError, ModelError, TargetError
from deployctl.events import Event, Tell
from deployctl.targets.driver import ModelFile
from deployctl.targets.kubernetes.checkpoint.claim import Cargo
from deployctl.targets.kubernetes.podstream import BLOCK, PodStream
from deployctl.units import duration, size

WORKERS = 4  # files at once
_EVERY_S = 1.0  # between two words on how far it is
_AGAIN = "what has come is kept: up again, and it goes on from there"
Open = Callable[[], AbstractContextManager[PodStream]]


@dataclass(frozen=True)
class UploadProgress:
    """How far an upload is."""

    done: int  # bytes, what had come before included
    total: int
    per_s: float  # bytes a second since it was begun; 0 where that is not known yet


class _StoppedError(Exception):
    """Another file failed, or somebody pressed Ctrl-C."""


class Sending:
    """The files of a checkpoint on their way to one claim. May be tried again after a cut.

    Raises, in `send`:
        UnreachableError: a stream was lost; what has come is kept.
        ModelError: a file is not what its digest says.
        TargetError: no room, or the claim cannot be written.
    """

    def __init__(self, cargo: Cargo, claim: str, tell: Tell) -> None:
        self._cargo = cargo
        self._claim = claim
        self._tell = tell
        self.sent = 0  # bytes, over all tries
        self._done: dict[str, int] = {}
        self._begun: float | None = None
        self._streams: set[PodStream] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()

    def send(self, opened: Open) -> None:
        """Sends what is missing, and has the whole found there. `opened` opens a stream."""
        self._stop.clear()
        listed = [_row(file) for file in self._cargo.files]
        with opened() as stream:
            there = _said(stream, {"do": "look", "files": listed}, self._claim)
        whole = set(there["whole"])
        missing = [file for file in self._cargo.files if file.name not in whole]
        self._done = {f.name: f.size for f in self._cargo.files if f.name in whole}
        self._done |= {name: int(count) for name, count in there["parts"].items()}
        need = self._cargo.size - self._came
        if need > there["free"]:
            raise TargetError(
                f"no room on the claim: {size(need)} are to come and {size(there['free'])} are "
                f"free, {size(need - there['free'])} too little",
                where=f"claim {self._claim}",
                hint="ask for a larger one with --values: model: {upload: {size: 100Gi}}; a claim "
                f"that is there keeps its size: kubectl delete pvc {self._claim}",
            )
        if missing:
            before = f", {size(self._came)} are there" if self._came else ""
            told = f"sending {size(need)} of {self._cargo.folder.name} to claim {self._claim}"
            self._tell(Event("phase", told + before))
            self._send_all(missing, opened)
        with opened() as stream:
            _said(stream, {"do": "seal", "files": listed}, self._claim)

    @property
    def _came(self) -> int:
        return sum(self._done.values())

    def _send_all(self, missing: list[ModelFile], opened: Open) -> None:
        self._begun = self._begun or time.monotonic()
        ordered = sorted(missing, key=lambda file: -file.size)
        with self._pool() as pool:
            left = {pool.submit(self._send, file, opened) for file in ordered}
            while left:
                ended, left = wait(left, timeout=_EVERY_S, return_when=FIRST_EXCEPTION)
                failures = [f.exception() for f in ended]
                for failure in failures:
                    if failure is not None and not isinstance(failure, _StoppedError):
                        raise failure
                self._tell_progress()

    @contextmanager
    def _pool(self) -> Iterator[ThreadPoolExecutor]:
        """Threads that end with the block: their streams are cut."""
        with ThreadPoolExecutor(WORKERS) as pool:
            try:
                yield pool
            finally:
                self._stop.set()
                pool.shutdown(wait=False, cancel_futures=True)
                with self._lock:
                    for stream in self._streams:
                        stream.cut()

    def _tell_progress(self) -> None:
        passed = time.monotonic() - (self._begun or 0.0)
        now = UploadProgress(self._came, self._cargo.size, self.sent / max(passed, 0.001))
        text = f"{size(now.done)} of {size(now.total)}"
        if now.per_s > 0:
            text += f" · {size(now.per_s)}/s · {duration((now.total - now.done) / now.per_s)} left"
        self._tell(Event("progress", text, now))

    def _send(self, file: ModelFile, opened: Open) -> None:
        """One file; from its beginning once more, if what was there of it was wrong."""
        try:
            if not self._put(file, opened) and not self._put(file, opened):
                raise _differs(self._cargo.folder / file.name)
        except DeployctlError:
            if self._stop.is_set():
                raise _StoppedError from None
            raise

    def _put(self, file: ModelFile, opened: Open) -> bool:
        """False where what has come was a part of something else."""
        path = self._cargo.folder / file.name
        if self._stop.is_set():
            raise _StoppedError
        with opened() as stream:
            with self._lock:
                self._streams.add(stream)
            try:
                stream.ask({"do": "put", "file": _row(file)})
                begun = _checked(stream.answer(), self._claim)
                offset = self._done[file.name] = int(begun["go"])
                if offset < file.size:
                    self._pour(path, file, offset, stream)
                said = stream.answer()
            finally:
                with self._lock:
                    self._streams.discard(stream)
        if said.get("error") == "digest":
            if said.get("resumed"):
                self._done[file.name] = 0
                return False
            raise _differs(path)
        _checked(said, self._claim)
        return True

    def _pour(self, path: Path, file: ModelFile, offset: int, stream: PodStream) -> None:
        """The bytes of a file from `offset` on, until all are sent or an answer comes early."""
        buffer = memoryview(bytearray(BLOCK))
        left = file.size - offset
        try:
            with path.open("rb", buffering=0) as source:
                source.seek(offset)
                while left:
                    if self._stop.is_set():
                        raise _StoppedError
                    came = source.readinto(buffer[: min(left, BLOCK)])
                    if not came:
                        raise _differs(path)
                    stream.send(buffer[:came])
                    left -= came
                    with self._lock:
                        self._done[file.name] += came
                        self.sent += came
                    if left and stream.has_answer():
                        return
        except OSError as error:
            raise ModelError(
                f"cannot be read: {(error.strerror or str(error)).lower()}", where=str(path)
            ) from error


def _row(file: ModelFile) -> list[Any]:
    return [file.name, file.size, file.sha256]


def _said(stream: PodStream, wanted: dict[str, Any], claim: str) -> dict[str, Any]:
    stream.ask(wanted)
    return _checked(stream.answer(), claim)


def _checked(said: dict[str, Any], claim: str) -> dict[str, Any]:
    """What the receiver answers, unless it is an error."""
    kind, where = said.get("error"), f"claim {claim}"
    if kind is None:
        return said
    if kind == "full":
        hint = "free some, or ask for a larger one with --values: model: {upload: {size: 100Gi}}"
        raise TargetError("the claim is full", where=where, hint=f"{hint}; {_AGAIN}")
    if kind == "denied":
        raise TargetError(
            f"the claim cannot be written: {said.get('text')}",
            where=where,
            hint="security.runAsUser and runAsGroup must be such as its storage takes",
        )
    what = said.get("text") or said.get("file") or ""
    raise TargetError(f"the loader fails: {kind} {what}".strip(), where=where, hint=_AGAIN)


def _differs(path: Path) -> ModelError:
    return ModelError(
        "the file was changed while it was sent: its digest is another",
        where=str(path),
        hint="wait until whatever writes it is done, and try again",
    )
