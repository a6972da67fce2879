"""SHA-256 of a folder's files. Each is read once: what was read is remembered with the file's size
and times, as git's index does it.
"""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from deployctl.errors import ModelError
from deployctl.events import Event, Tell
from deployctl.files import replace_text
from deployctl.hub.listing import Listing, StoredFile
from deployctl.hub.transfer import FetchProgress
from deployctl.units import duration, size

_WORKERS = 4
_BLOCK = 1 << 20
_EVERY_S = 1.0  # between two words on how far it is
_RACY_NS = 2_000_000_000  # a file changed as lately may change once more without its times telling
_VERSION = 1


def digested(listing: Listing, memory: Path, tell: Tell) -> Listing:
    """The listing of a folder with the SHA-256 of every file. `memory` is a folder for what is
    remembered; without it, all is read each time.

    Raises:
        ModelError: a file cannot be read, or changes meanwhile.
    """
    folder = Path(listing.model)
    book = memory / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    known = _read(book)
    marks = {file.name: _mark(folder / file.name) for file in listing.files}
    unknown = [f for f in listing.files if (known.get(f.name) or [None])[:-1] != marks[f.name]]
    if unknown:
        told = f"reading {size(sum(f.size for f in unknown))} of {folder.name} for its digest"
        tell(Event("phase", told))
        found = _read_all(folder, unknown, tell)
        for name, digest in found.items():
            if _mark(folder / name) != marks[name]:
                raise changed(folder / name)
            known[name] = [*marks[name], digest]
    files = tuple(replace(file, digest=str(known[file.name][-1])) for file in listing.files)
    now = time.time_ns()
    sure = {f.name: known[f.name] for f in files if now - marks[f.name][1] > _RACY_NS}
    document = {"version": _VERSION, "folder": str(folder), "files": sure}
    with suppress(OSError):  # then it is read again
        replace_text(book, json.dumps(document) + "\n", mode=0o600)
    return replace(listing, files=files)


def forget(folder: Path, memory: Path) -> None:
    """Forgets what is remembered of a folder: a file was not what it was said to be."""
    book = memory / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    book.unlink(missing_ok=True)


def whole_digest(listing: Listing) -> str:
    """SHA-256 over names, sizes and digests of all files: as hexadecimal digits."""
    lines = sorted(f"{file.digest} {file.size} {file.name}\n" for file in listing.files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def changed(path: Path) -> ModelError:
    """A file is not what it was a moment ago."""
    return ModelError(
        "the file was changed while it was read",
        where=str(path),
        hint="wait until whatever writes it is done, and try again",
    )


def _mark(path: Path) -> list[Any]:
    """What tells a file from what it was: size, times in ns, inode."""
    try:
        info = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return [info.st_size, info.st_mtime_ns, info.st_ctime_ns, info.st_ino]


def _read(book: Path) -> dict[str, list[Any]]:
    try:
        document = json.loads(book.read_bytes())
        return dict(document["files"]) if document["version"] == _VERSION else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def _read_all(folder: Path, files: list[StoredFile], tell: Tell) -> dict[str, str]:
    done, stop = [0] * len(files), threading.Event()
    total, begun = sum(file.size for file in files), time.monotonic()
    with _pool(stop) as pool:
        work = {
            pool.submit(_sum, folder / file.name, number, done, stop): file.name
            for number, file in enumerate(files)
        }
        left = set(work)
        while left:
            ended, left = wait(left, timeout=_EVERY_S, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            came = sum(done)
            rate = came / max(time.monotonic() - begun, 0.001)
            text = f"{size(came)} of {size(total)}"
            if left and rate:
                text += f" · {size(rate)}/s · {duration((total - came) / rate)} left"
            tell(Event("progress", text, FetchProgress(came, total, rate)))
        return {name: future.result() for future, name in work.items()}


@contextmanager
def _pool(stop: threading.Event) -> Iterator[ThreadPoolExecutor]:
    """Threads that are told to stop when the block ends, however it does."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        try:
            yield pool
        finally:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


def _sum(path: Path, number: int, done: list[int], stop: threading.Event) -> str:
    summed = hashlib.sha256()
    buffer = memoryview(bytearray(_BLOCK))
    try:
        with path.open("rb", buffering=0) as stream:
            while not stop.is_set() and (came := stream.readinto(buffer)):
                summed.update(buffer[:came])
                done[number] += came
    except OSError as error:
        raise _unreadable(path, error) from error
    return summed.hexdigest()


def _unreadable(path: Path, error: OSError) -> ModelError:
    return ModelError(
        f"cannot be read: {(error.strerror or str(error)).lower()}",
        where=str(path),
        hint="check its permissions",
    )
