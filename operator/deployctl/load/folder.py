"""The result folder: raw samples in, documented files out."""

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from deployctl.errors import InputError, StateError
from deployctl_loadtest.result import LoadResult
from deployctl_loadtest.sample import Sample

REQUESTS, SUMMARY = "requests.jsonl", "summary.json"


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
    try:
        with (folder / REQUESTS).open("w", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        summary = json.dumps(result.to_dict(), indent=2, allow_nan=False)
        (folder / SUMMARY).write_text(summary + "\n", encoding="utf-8")
    except OSError as error:
        for name in (REQUESTS, SUMMARY):  # half a file would pass for a whole one
            with suppress(OSError):
                (folder / name).unlink()
        raise StateError(
            f"the result could not be written: {error.strerror}",
            where=str(folder),
            hint="the raw samples (samples-*.jsonl) are kept there: make room before the next run",
        ) from error
    for pattern in ("samples-*.jsonl", "worker-*.json", "vocabulary.json"):
        for path in folder.glob(pattern):
            path.unlink()
