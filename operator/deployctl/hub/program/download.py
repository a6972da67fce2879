"""Downloads what is missing of a checkpoint, and checks all of it.

`huggingface_hub.hf_hub_download` believes any file that is in its place, checks of what it fetches
the size alone, and since 2.0 deletes what came of a file when it is cut. So its `http_get` is
called, which resumes: into a file that is not yet in the cache, which gets its name there when its
digest is right. Only files beyond 50 GB, which the Hub gives through Xet alone, take the other way.
"""

import errno
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from deployctl.hub.program.place import Destination, DownloadError, digest_of, is_digest

WORKERS = 4  # files at once
ATTEMPTS = 4  # in a row without a byte; http_get itself tries a cut connection five times
HTTP_MOST = 50 * 1000**3  # bytes, MAX_HTTP_DOWNLOAD_SIZE of huggingface_hub
EVERY_S = 1.0  # between two lines of progress
_PASSING = (408, 416, 429, 500, 502, 503, 504)
Say = Callable[..., None]


def run(job: dict[str, Any], say: Say) -> None:
    """Does the job.

    Raises:
        DownloadError: says why; whatever has come is kept.
    """
    place = Destination(job)
    missing = [f for f in job["files"] if not place.is_whole(place.file(f["name"]), f)]
    if job.get("offline"):
        if missing:
            names = [file["name"] for file in missing]
            raise DownloadError("missing", files=names, path=str(place.path))
        say(event="done", path=str(place.path), downloaded=0)
        return
    try:
        need = sum(_to_come(place, file) for file in missing)
        _check_room(place, need)
        say(event="plan", need=need, files=len(missing), path=str(place.path))
        if missing:
            place.blobs.mkdir(parents=True, exist_ok=True)
            _download(job, place, missing, say)
        place.refer(job.get("revision"))
    except OSError as error:
        raise _failed(error, str(place.root)) from error
    if place.plain:
        with suppress(OSError):
            place.blobs.rmdir()
    say(event="done", path=str(place.path), downloaded=need)


def _to_come(place: Destination, file: dict[str, Any]) -> int:
    if not place.plain and file["digest"] and place.is_whole(place.store(file), file):
        return 0  # of another commit, or without its link
    return max(0, int(file["size"]) - _size(place.partial(file)))


def _check_room(place: Destination, need: int) -> None:
    there = place.root
    while not there.exists() and there != there.parent:
        there = there.parent
    free = shutil.disk_usage(there).free
    if need > free:
        raise DownloadError("room", need=need, free=free, path=str(place.root))


def _download(
    job: dict[str, Any], place: Destination, missing: list[dict[str, Any]], say: Say
) -> None:
    done: list[int] = []  # sizes of the files that are whole

    def came() -> int:
        return sum(done) + sum(_size(place.partial(file)) for file in missing)

    total, before, begun = sum(file["size"] for file in missing), came(), time.monotonic()
    pool = ThreadPoolExecutor(WORKERS)
    futures = [pool.submit(_bring, job, place, file, done) for file in missing]
    try:
        while True:
            ended, left = wait(futures, timeout=EVERY_S, return_when=FIRST_EXCEPTION)
            for future in ended:
                future.result()
            now = min(came(), total)
            rate = (now - before) / max(time.monotonic() - begun, 0.001)
            say(event="progress", done=now, total=total, per_s=rate)
            if not left:
                return
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _bring(job: dict[str, Any], place: Destination, file: dict[str, Any], done: list[int]) -> None:
    """One file: whole and in its place, or an error."""
    try:
        _settle(job, file)
        if file["size"] > HTTP_MOST:
            _by_xet(job, place, file)
        else:
            with _alone(place.partial(file)) as stream:
                store = place.store(file)
                if not place.is_whole(store, file):
                    _resume(job, place, file, stream)
                    store.parent.mkdir(parents=True, exist_ok=True)
                    place.partial(file).replace(store)
                    store.chmod(0o644)
                    place.remember(store, file["digest"])
                else:
                    place.partial(file).unlink()
            place.link(file)
    except Exception as error:
        raise _failed(error, file["name"]) from error
    done.append(file["size"])


def _settle(job: dict[str, Any], file: dict[str, Any]) -> None:
    """Asks for the digest where the list of files had none: it is the ETag."""
    if file["digest"]:
        return
    from huggingface_hub import get_hf_file_metadata

    etag = get_hf_file_metadata(_url(job, file), token=job["token"] or False).etag or ""
    if not is_digest(etag):
        raise DownloadError("mirror", file=file["name"], etag=etag[:80])
    file["digest"] = etag


def _resume(job: dict[str, Any], place: Destination, file: dict[str, Any], stream: Any) -> None:
    """Fetches what is missing of a file, and checks the whole."""
    again = False
    while True:
        resumed = _fetch(job, file, stream)
        stream.flush()
        os.fsync(stream.fileno())
        if digest_of(place.partial(file), file["digest"]) == file["digest"]:
            return
        stream.truncate(0)
        if again or not resumed:  # what was there before may be what is wrong: once more, all
            place.partial(file).unlink()
            raise DownloadError("digest", file=file["name"])
        again = True


def _fetch(job: dict[str, Any], file: dict[str, Any], stream: Any) -> bool:
    """Fetches a file's rest, however often the connection is cut. Whether there was a beginning."""
    from huggingface_hub.file_download import http_get

    def length() -> int:
        stream.flush()
        return os.fstat(stream.fileno()).st_size

    if length() > file["size"]:
        stream.truncate(0)
    resumed, tries = length() > 0, 0
    while length() < file["size"] or file["size"] == 0:
        before = length()
        stream.seek(0, os.SEEK_END)
        # What is compressed on its way has another length, and no ranges.
        headers = {"user-agent": "deployctl", "accept-encoding": "identity"}
        if job["token"]:
            headers["authorization"] = f"Bearer {job['token']}"
        try:
            # By the Hub's own address each time: that of the CDN expires, and the token is for
            # the Hub alone; the HTTP client leaves it behind where it is sent to another host.
            http_get(
                _url(job, file),
                stream,
                resume_size=before,
                headers=headers,
                expected_size=file["size"],
            )
            break
        except Exception as error:
            if not _passes(error):
                raise
            if _status(error) == 416:
                stream.truncate(0)
            tries = tries + 1 if length() <= before else 0
            if tries >= ATTEMPTS:
                raise
            time.sleep(2.0**tries)
    return resumed


def _by_xet(job: dict[str, Any], place: Destination, file: dict[str, Any]) -> None:
    from huggingface_hub import hf_hub_download

    where: dict[str, Any] = (
        {"local_dir": place.root} if place.plain else {"cache_dir": place.root.parent}
    )
    hf_hub_download(
        job["model"],
        file["name"],
        revision=job["commit"],
        endpoint=job["endpoint"],
        token=job["token"] or False,
        force_download=place.file(file["name"]).exists(),
        **where,
    )
    if not place.is_whole(place.file(file["name"]), file):
        place.file(file["name"]).resolve().unlink()
        place.file(file["name"]).unlink(missing_ok=True)
        raise DownloadError("digest", file=file["name"])


def _url(job: dict[str, Any], file: dict[str, Any]) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(job["model"], file["name"], revision=job["commit"], endpoint=job["endpoint"])


@contextmanager
def _alone(path: Path) -> Iterator[Any]:
    """Opens the file that is being filled, once no other fetch has it."""
    while True:
        stream = path.open("ab")
        fcntl.flock(stream, fcntl.LOCK_EX)
        with suppress(OSError):  # the other one may have moved it into place, or thrown it away
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                break
        stream.close()
    with stream:
        yield stream


def _status(error: BaseException) -> int:
    return int(getattr(getattr(error, "response", None), "status_code", 0) or 0)


def _passes(error: BaseException) -> bool:
    """Whether another try may help: a cut, a time-out, a server in trouble; never a full disk."""
    if status := _status(error):
        return status in _PASSING
    return not (isinstance(error, OSError) and error.errno) and not _is_proxy(error)


def _is_proxy(error: BaseException) -> bool:
    return "Proxy" in type(error).__name__


def _failed(error: BaseException, where: str) -> DownloadError:
    if isinstance(error, DownloadError):
        return error
    response: Any = getattr(error, "response", None)
    if response is not None:
        kept = ("X-Error-Code", "X-Error-Message", "Retry-After", "RateLimit")
        headers = {name: response.headers[name] for name in kept if name in response.headers}
        return DownloadError("http", status=response.status_code, headers=headers, file=where)
    number = error.errno if isinstance(error, OSError) else None
    said = re.sub(r"[?]\S*", "", str(error))  # addresses of a CDN are signed
    text = f"{type(error).__name__}: {said}"[:300]
    if number in (errno.ENOSPC, errno.EDQUOT):
        return DownloadError("full", path=where)
    if number in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DownloadError("denied", path=str(getattr(error, "filename", None) or where))
    kind = "proxy" if _is_proxy(error) else "timeout" if "Timeout" in text else "network"
    return DownloadError(kind if number is None else "system", text=text, file=where)
