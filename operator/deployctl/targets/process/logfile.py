"""Reads an engine's log: `engine.log`, and `engine.log.1` that was cut off before it."""

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from deployctl.files import state_error

FOLLOW_S = 0.25  # between looks at a log that is followed


def read(log: Path, tail: int | None) -> list[str]:
    """The last lines, oldest first; all of them for None; none where there is no log.

    Raises:
        StateError: it is there and cannot be read.
    """
    return list(follow(log, tail, running=lambda: False, sleep=lambda _: None))


def follow(
    log: Path, tail: int | None, *, running: Callable[[], bool], sleep: Callable[[float], None]
) -> Iterator[str]:
    """The last lines, then what is added, until `running` says no. Survives rotation.

    Raises:
        StateError: it is there and cannot be read.
    """
    try:
        yield from _follow(log, tail, running, sleep)
    except OSError as error:
        raise state_error("read the log", log, error) from error


def _follow(
    log: Path, tail: int | None, running: Callable[[], bool], sleep: Callable[[float], None]
) -> Iterator[str]:
    kept: deque[str] = deque(maxlen=tail)
    before = _open(log.with_name(log.name + ".1"))
    if before is not None:
        with before:
            kept.extend(_text(line) for line in before)
    stream = _open(log)
    rest = b""
    first = True
    try:
        while True:
            ended = not running()  # asked before reading, so that its last words are read
            if stream is not None:
                *whole, rest = (rest + stream.read()).split(b"\n")
                if first:
                    kept.extend(_text(line) for line in whole)
                else:
                    yield from map(_text, whole)
            if first:
                if ended and rest:
                    kept.append(_text(rest))
                    rest = b""
                yield from kept
                first = False
            if stream is not None and not ended and _rotated(log, stream):
                stream.close()
                stream = None
            elif ended:
                if rest:
                    yield _text(rest)
                return
            else:
                sleep(FOLLOW_S)
            if stream is None:
                stream = _open(log)
    finally:
        if stream is not None:
            stream.close()


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace").rstrip("\r\n")


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _rotated(log: Path, stream: BinaryIO) -> bool:
    try:
        return log.stat().st_ino != os.fstat(stream.fileno()).st_ino
    except FileNotFoundError:
        return False
