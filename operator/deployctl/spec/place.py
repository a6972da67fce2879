"""Where in a spec file something is: its line and column, by the path that an error carries.

For what marks lines: annotations of a pipeline, SARIF. The file is read again: it is asked once
something is wrong, and then it is small.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from deployctl.boundedyaml import Parsed, parse
from deployctl.errors import InputError
from deployctl.given import read_text
from deployctl.spec.load import FLEET, MAX_BYTES, MAX_VALUES

_SERVICE = re.compile(r"(?:(?P<file>.+): )?services/(?P<index>\d{1,4})(?P<path>/.*)?", re.DOTALL)
_LINE = re.compile(r"(?P<file>.+?):(?P<line>\d{1,7})(?::(?P<column>\d{1,7}))?", re.DOTALL)


class SpecPlace(NamedTuple):
    """A place in a file. Line and column count from 1."""

    file: Path
    line: int = 1
    column: int = 1


def locate(where: str | None, files: Sequence[Path], index: int | None = None) -> SpecPlace | None:
    """The place that `where` of an error means; None where it is in none of `files`.

    A path (`service.yaml: services/0/gpu`), a line (`service.yaml:3`) or the file itself; a flag
    (`--gpu`) or anything else that an error of the service `index` names is the key of that name,
    else the service's own first line. Without `index` that is so where there is one service.
    """
    where = where or ""
    for file in files:
        if where == str(file):
            return SpecPlace(file)
        if (at := _LINE.fullmatch(where)) and at["file"] == str(file):
            return SpecPlace(file, int(at["line"]), int(at["column"] or 1))
    at = _SERVICE.fullmatch(where)
    if at:
        named = [file for file in files if at["file"] in (None, str(file))]
        path = (at["path"] or "").strip("/").split("/")
        return _in(named, int(at["index"]), path)
    key = where.removeprefix("--").split("[")[0].split(":")[0].replace("-", "_")
    return _in(files, index, [key])


def _in(files: Sequence[Path], index: int | None, path: Sequence[str]) -> SpecPlace | None:
    """Services are counted through all files, as they are read."""
    documents = [(file, document) for file in files for document in _documents(file)]
    if index is None and len(documents) == 1:
        index = 0
    if index is None or index >= len(documents):
        return SpecPlace(files[0]) if files else None
    file, document = documents[index]
    return nearest(file, document, path)


def nearest(file: Path, document: Parsed, path: Sequence[str | int]) -> SpecPlace:
    """The place of a value, or of the nearest thing around it; at last the document's own."""
    words = tuple(str(part) for part in path)
    by_words = {tuple(str(part) for part in known): known for known in document.lines}
    for end in range(len(words), 0, -1):
        if (known := by_words.get(words[:end])) is not None:
            return SpecPlace(file, document.lines[known], document.columns[known])
    return SpecPlace(file, document.line)


def _documents(file: Path) -> list[Parsed]:
    """Those of services: the one that says a host's cards is not counted."""
    try:
        every = parse(read_text(file, MAX_BYTES), most=MAX_VALUES, tags=False)[0]
        return [each for each in every if not (isinstance(each.data, dict) and FLEET in each.data)]
    except InputError:
        return []
