"""The result folder: raw samples in, documented files out; and read back, as written or by hand."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from deployctl import given
from deployctl.errors import InputError, NotFoundError, StateError
from deployctl.files import replace_text
from deployctl_loadtest.foreign import document
from deployctl_loadtest.result import VERSION, LoadResult
from deployctl_loadtest.sample import Sample, is_number

REQUESTS, SUMMARY = "requests.jsonl", "summary.json"
SERIES = "series.json"  # of a sweep, or of a search for the limit
_HINT = "give a folder that deployctl loadtest wrote"
_MOST_BYTES = 256 * 1024 * 1024  # of a summary


class SavedRun(NamedTuple):
    """One result: its folder, its summary.json and its samples."""

    folder: str
    summary: dict[str, Any]
    samples: Sequence[Sample]


def default(name: str, now: datetime) -> Path:
    """`results/NAME-20261124T074512Z`, below the working directory. `now` is UTC."""
    return Path("results") / f"{name}-{now:%Y%m%dT%H%M%SZ}"


def create(folder: Path, holding: str = SUMMARY) -> Path:
    """Makes the folder of a result, whose presence the file `holding` tells.

    Raises:
        InputError: it holds a result already, or cannot be made.
    """
    if (folder / holding).exists():
        raise InputError(
            "this folder holds a result already",
            where=str(folder),
            hint="give another --out, or leave it out for a new folder",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"the result folder cannot be made: {error.strerror}",
            where=str(folder),
            hint="give --out a folder that you may write",
        ) from error
    return folder


def write(folder: Path, result: LoadResult, samples: list[Sample]) -> None:
    """Writes requests.jsonl and summary.json, and removes the workers' own files.

    Raises:
        StateError: the disk is full or the folder gone; the workers' files are kept then.
    """
    lines = (json.dumps(sample.to_dict(), separators=(",", ":")) for sample in samples)
    partial = folder / f".{REQUESTS}.{os.getpid()}"  # half a file would pass for a whole one
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        summary = json.dumps(result.to_dict(), indent=2, allow_nan=False)
        partial.replace(folder / REQUESTS)
        replace_text(folder / SUMMARY, summary + "\n")  # the last: its presence tells a result
    except OSError as error:
        with suppress(OSError):
            (folder / REQUESTS).unlink(missing_ok=True)
        raise StateError(
            f"the result could not be written: {error.strerror}",
            where=str(folder),
            hint="the raw samples (samples-*.jsonl) are kept there: make room before the next run",
        ) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    for pattern in ("samples-*.jsonl", "worker-*.json", "vocabulary.json"):
        for path in folder.glob(pattern):
            path.unlink()


def runs(named: str) -> list[SavedRun]:
    """Reads one side of a comparison: a result folder, several (`a,b,c`), or one that holds them.

    Raises:
        NotFoundError: there is no such folder, or no result in it.
        InputError: a result is broken, or given twice.
    """
    folders: list[Path] = []
    # A comma may be part of a folder's name.
    path = Path(named)
    whole = given.is_folder(path) or given.is_file(path)
    for text in [named] if whole else named.split(","):
        folders += _results_in(Path(text.strip()))
    seen = [folder.resolve() for folder in folders]
    for folder in folders:
        if seen.count(folder.resolve()) > 1:
            raise InputError(
                "this run is given twice",
                where=str(folder),
                hint="each of a side's runs is a load test of its own",
            )
    return [read(folder) for folder in folders]


def _results_in(folder: Path) -> list[Path]:
    """The folder itself, or those in it that hold results."""
    if not given.is_folder(folder) or (folder / SUMMARY).exists() or (folder / SERIES).exists():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{SUMMARY}")) or [folder]


def read(folder: Path) -> SavedRun:
    """Reads `summary.json` and `requests.jsonl` of a folder.

    Raises:
        NotFoundError: there is no such folder, or one of its files is missing.
        InputError: a file is broken, or of a version that is not known.
    """
    if folder.name == SUMMARY:
        folder = folder.parent
    if not given.is_folder(folder):
        raise NotFoundError("there is no such folder", where=str(folder), hint=_HINT)
    if (folder / SERIES).exists():
        runs = sorted(path.parent.name for path in folder.glob(f"*/{SUMMARY}"))
        raise InputError(
            "it holds several runs",
            where=str(folder),
            hint=f"give one of them: {', '.join(runs[:6])}" if runs else _HINT,
        )
    summary = _document(folder / SUMMARY)
    if summary.get("version") != VERSION:
        raise InputError(
            f"version {summary.get('version')!r} of a result is not known; {VERSION} is",
            where=str(folder / SUMMARY),
            hint=_HINT,
        )
    if not _is_summary(summary):
        raise InputError("it is not a load test's summary", where=str(folder / SUMMARY), hint=_HINT)
    return SavedRun(str(folder), summary, _samples(folder / REQUESTS))


def _is_summary(found: dict[str, Any]) -> bool:
    """Whether it has the shape of a load test's summary, as far as a comparison reads it."""
    window, verdicts = found.get("window_s"), found.get("verdicts", [])
    tokens, slo = found.get("tokens") or {}, found.get("slo") or {}
    if not all(isinstance(each, dict) for each in (found.get("setup"), tokens, slo)):
        return False
    chunk = tokens.get("per_chunk")
    return (
        isinstance(window, list)
        and len(window) == 2
        and all(map(is_number, window))
        and (chunk is None or (is_number(chunk) and chunk > 0))
        and isinstance(slo.get("text", ""), str)
        and isinstance(verdicts, list)
        and all(isinstance(v, dict) and isinstance(v.get("text"), str) for v in verdicts)
    )


def _samples(path: Path) -> list[Sample]:
    samples = []
    with given.opened(path, hint=_HINT) as file:
        for number, line in enumerate(file, 1):  # one by one: a day's run has gigabytes of them
            try:
                sample = Sample.from_dict(document(line))
                if not sample.is_plausible:
                    raise ValueError("its figures are none")
                samples.append(sample)
            except (ValueError, TypeError, AttributeError, OverflowError) as error:
                raise InputError(
                    f"it is not a sample of a load test: {error}",
                    where=f"{path}:{number}",
                    hint=_HINT,
                ) from error
    return samples


def _document(path: Path) -> dict[str, Any]:
    try:
        found = document(given.read_bytes(path, _MOST_BYTES, hint=_HINT))
    except ValueError as error:
        raise InputError(f"it is no JSON: {error}", where=str(path), hint=_HINT) from error
    if not isinstance(found, dict):
        raise InputError("it is no JSON object", where=str(path), hint=_HINT)
    return found
