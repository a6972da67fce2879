"""Files that a user names, read whole and never without end: no more of them than a bound, and no
waiting for a writer who may never come.
"""

import json
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from deployctl.errors import InputError, NotFoundError, SpecError
from deployctl.units import size

MAX_WORD_BYTES = 4096  # a key or a token is one short word: a larger file is the wrong file


def read_bytes(file: Path, limit: int, *, hint: str = "check the path") -> bytes:
    """Returns a whole file; a shell's `<(command)` and /dev/null are files too.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be read, is larger than `limit` bytes, or is a named pipe, a device
            or the like, of which nobody knows when it ends.
    """
    with opened(file, hint=hint) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise InputError(f"the file is larger than {size(limit)}", where=str(file), hint=hint)
    return content


def expanded(path: Path, *, where: str | None = None, hint: str = "write the path in full") -> Path:
    """The path with a home folder for its `~`; as it is where a file's own name begins so.

    Raises:
        NotFoundError: no user has that name, or this one has no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        if os.path.lexists(path):
            return path
        message = "nobody knows the home folder that the path begins with"
        raise NotFoundError(message, where=where or str(path), hint=hint) from error


def is_file(path: Path) -> bool:
    """Whether it is a file; a path that is longer than any, or leads in a circle, is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def is_folder(path: Path) -> bool:
    """Whether it is a folder, as `is_file`."""
    try:
        return path.is_dir()
    except OSError:
        return False


def resolved(path: Path) -> Path:
    """The path without links, from the root.

    Raises:
        InputError: it is longer than any, or leads in a circle; or as `expanded`.
    """
    try:
        found = expanded(path).resolve()
        found.exists()  # what is too long is only seen here
        return found
    except (OSError, RuntimeError) as error:
        said = getattr(error, "strerror", None) or "links that lead in a circle"
        hint = "check the path"
        raise InputError(f"this path leads nowhere: {said}", where=str(path), hint=hint) from error


@contextmanager
def opened(file: Path, *, hint: str = "check the path") -> Iterator[BinaryIO]:
    """A file to read in parts.

    Raises:
        NotFoundError: there is no such file.
        InputError: it cannot be read, or nobody knows when it ends.
    """
    where = str(file)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer for ever.
        descriptor = os.open(expanded(file, hint=hint), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            if not _ends(file, descriptor):
                raise InputError("this is not a plain file", where=where, hint=hint)
            os.set_blocking(descriptor, True)
            with open(descriptor, "rb", closefd=False) as stream:
                yield stream
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise NotFoundError(
            "cannot read the file: there is no such file", where=where, hint=hint
        ) from error
    except OSError as error:
        raise InputError(
            f"cannot read the file: {error.strerror}", where=where, hint=hint
        ) from error
    except ValueError as error:
        if "\0" not in where:
            raise
        raise InputError("a path holds no NUL character", where=ascii(where), hint=hint) from error


def read_text(file: Path, limit: int, *, hint: str = "check the path") -> str:
    """Returns a whole file of UTF-8 text, without a byte order mark.

    Raises:
        NotFoundError, InputError: as `read_bytes`; or it is not UTF-8.
    """
    try:
        return read_bytes(file, limit, hint=hint).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError("the file is not UTF-8 text", where=str(file), hint=hint) from error


def parse_json(text: str | bytes) -> Any:
    """Reads JSON.

    Raises:
        ValueError: it is none, is nested too deeply, or a number in it has thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise
    except ValueError as error:  # Python's own words are of a function that nobody called
        raise ValueError("a number in it has thousands of digits") from error


def _ends(file: Path, descriptor: int) -> bool:
    """Whether reading comes to an end: a plain file, /dev/null, or a pipe without a name, whose
    writer has it open already."""
    status = os.fstat(descriptor)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(None, "Is a directory")
    if stat.S_ISFIFO(status.st_mode):
        return file.resolve().name.startswith("pipe:[")
    return stat.S_ISREG(status.st_mode) or os.path.samestat(status, Path(os.devnull).stat())


def read_word(file: Path, *, what: str, where: str, hint: str) -> str:
    """A key or a token from a file; `what` names it, and it is never shown.

    Raises:
        SpecError: the file cannot be read, or does not hold one printable ASCII word.
    """
    try:
        raw = read_bytes(file, MAX_WORD_BYTES)
    except InputError as error:
        reason = error.message.removeprefix("cannot read the file: ")
        said = f"cannot read the {what}: {reason}"
        raise SpecError(said, where=where, hint=error.hint) from error
    return one_word(raw.decode("utf-8", "replace"), what=what, where=where, hint=hint)


def one_word(text: str, *, what: str, where: str, hint: str) -> str:
    """A key or a token that was given, without the space around it.

    Raises:
        SpecError: it is empty, or no printable ASCII word of at most 4096 characters.
    """
    word = text.strip()
    if not word:
        raise SpecError(f"the {what} is empty", where=where, hint=hint)
    if len(word) > MAX_WORD_BYTES or not (word.isascii() and word.isprintable()) or " " in word:
        raise SpecError(
            f"the {what} must be one printable ASCII word of at most {MAX_WORD_BYTES} characters",
            where=where,
            hint=hint,
        )
    return word
