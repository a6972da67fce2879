"""Reads a result folder back, as it was written or by hand."""

import json
from pathlib import Path
from typing import Any

from deployctl.errors import InputError, NotFoundError
from deployctl.load.estimates import Run
from deployctl.load.folder import REQUESTS, SUMMARY
from deployctl_loadtest.result import VERSION
from deployctl_loadtest.sample import Sample

_SERIES = "series.json"  # of a sweep, or of a search for the limit
_HINT = "give a folder that deployctl loadtest wrote"


def runs(given: str) -> list[Run]:
    """Reads one side of a comparison: a result folder, several (`a,b,c`), or one that holds them.

    Raises:
        NotFoundError: there is no such folder, or no result in it.
        InputError: a result is broken, or given twice.
    """
    folders: list[Path] = []
    # A comma may be part of a folder's name.
    for text in [given] if Path(given).exists() else given.split(","):
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
    if not folder.is_dir() or (folder / SUMMARY).exists() or (folder / _SERIES).exists():
        return [folder]
    return sorted(path.parent for path in folder.glob(f"*/{SUMMARY}")) or [folder]


def read(folder: Path) -> Run:
    """Reads `summary.json` and `requests.jsonl` of a folder.

    Raises:
        NotFoundError: there is no such folder, or one of its files is missing.
        InputError: a file is broken, or of a version that is not known.
    """
    if folder.name == SUMMARY:
        folder = folder.parent
    if not folder.is_dir():
        raise NotFoundError("there is no such folder", where=str(folder), hint=_HINT)
    if (folder / _SERIES).exists():
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
    window = summary.get("window_s")
    if not (
        isinstance(summary.get("setup"), dict)
        and isinstance(window, list)
        and len(window) == 2
        and all(isinstance(bound, int | float) for bound in window)
    ):
        raise InputError("it is no summary of a load test", where=str(folder / SUMMARY), hint=_HINT)
    return Run(str(folder), summary, _samples(folder / REQUESTS))


def _samples(path: Path) -> list[Sample]:
    found = []
    for number, line in enumerate(_text(path).splitlines(), 1):
        try:
            found.append(Sample.from_dict(json.loads(line)))
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"it is no sample of a load test: {error}", where=f"{path}:{number}", hint=_HINT
            ) from error
    return found


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(_text(path))
    except ValueError as error:
        raise InputError(f"it is no JSON: {error}", where=str(path), hint=_HINT) from error
    if not isinstance(document, dict):
        raise InputError("it is no JSON object", where=str(path), hint=_HINT)
    return document


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFoundError("the file is missing", where=str(path), hint=_HINT) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"it cannot be read: {error}", where=str(path), hint=_HINT) from error
