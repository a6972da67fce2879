"""Where in a spec something was said: the path that an error names, and its line and column.

Lines are for what marks them: annotations of a pipeline, SARIF. The file is read again: it is asked
once something is wrong, and then it is small.
"""

import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, get_origin

from deployctl.boundedyaml import Parsed, parse
from deployctl.errors import DeployctlError, InputError, PlanRefusedError
from deployctl.given import read_text
from deployctl.spec.load import ENV_PREFIX, FLEET, MAX_BYTES, MAX_VALUES
from deployctl.spec.option import flag_of
from deployctl.spec.service import ServiceSpec

_SERVICE = re.compile(
    r"(?:(?P<file>.+): )?services/(?P<index>\d{1,4})(?:(?P<path>/.*)|: .*)?", re.DOTALL
)
_LINE = re.compile(r"(?P<file>.+?):(?P<line>\d{1,7})(?::(?P<column>\d{1,7}))?", re.DOTALL)
_KEY = re.compile(r"[\w-]+")  # of a setting that is a mapping: `env/NAME`


class Said(NamedTuple):
    """What specs were made of."""

    flags: Collection[str] = ()  # the fields that have one
    files: Sequence[Path] = ()
    services: Sequence[str] = ()  # by name, in the order of the files


def mark(error: DeployctlError, said: Said) -> None:
    """Has an error name the files that were given, and where in them it is; of several services,
    which one it is of."""
    error.files, error.where = error.files or said.files, said_where(error, said)
    ours = isinstance(error, InputError | PlanRefusedError) and len(said.services) > 1
    if ours and error.service and not _SERVICE.fullmatch(error.where or ""):
        of = _of_service(error.service, said)
        error.where = ": ".join(filter(None, [of, error.where])) or None


@contextmanager
def marked(said: Said) -> Iterator[None]:
    """Has an error that is raised inside name them."""
    try:
        yield
    except DeployctlError as error:
        mark(error, said)
        raise


def said_where(error: DeployctlError, said: Said) -> str | None:
    """Where the setting was said that an error names by its field, in the words of an error of
    `load_specs`: a flag, a variable, or a path into the file (`fleet.yaml: services/1/hold`)."""
    where = error.where or ""
    at = _SERVICE.fullmatch(where)
    if at and not at["file"]:
        return _path(said.files, int(at["index"]), at["path"] or "") or where
    field, slash, rest = where.partition("/")
    if error.service:
        flags = {flag_of(ServiceSpec, name): name for name in ServiceSpec.model_fields}
        field = flags.get(field, field)
    if field not in ServiceSpec.model_fields or (slash and not _is_key(field, rest)):
        return error.where  # `env/prod.yaml` is a file
    variable = ENV_PREFIX + field.upper()
    if field not in said.flags and variable in {name.upper() for name in os.environ}:
        return variable
    if field in said.flags or not said.files:
        return flag_of(ServiceSpec, field) + slash + rest
    return _of_service(error.service, said, f"/{field}{slash}{rest}") or where


def _of_service(service: str | None, said: Said, path: str = "") -> str | None:
    known = [n for n, name in enumerate(said.services) if service in (None, name)]
    return _path(said.files, known[0], path) if len(known) == 1 else None


def _is_key(field: str, rest: str) -> bool:
    mapping = get_origin(ServiceSpec.model_fields[field].annotation) is dict
    return mapping and _KEY.fullmatch(rest) is not None


def _path(files: Sequence[Path], index: int, path: str) -> str | None:
    """That of a setting of a service, which are counted through all files; None: of none there."""
    for file in files:
        here = len(_documents(file))
        if index < here:
            return f"{file}: services/{index}{path}"
        index -= here
    return None


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
