"""Errors as annotations: what a pipeline shows beside the line that is meant.

GitHub Actions reads them from a job's log, as lines that begin with `::error` (its "workflow
commands"). A value ends at a comma or a colon, a command with its line: those are
written as their numbers.
"""

from pathlib import Path

from deployctl.errors import DeployctlError
from deployctl.spec.place import SpecPlace
from deployctl_loadtest.foreign import printable

_LEVELS = {"error": "error", "warning": "warning", "note": "notice"}
_IN_TEXT = {"%": "%25", "\n": "%0A"}
_IN_VALUE = {**_IN_TEXT, ":": "%3A", ",": "%2C"}


def annotation(level: str, title: str, text: str, place: SpecPlace | None, root: Path) -> str:
    """One line for the log of a job. `level`: error, warning or note; `root`: of the checkout."""
    values = {"title": title}
    if place is not None:
        values |= {"file": relative(place.file, root)}
        values |= {"line": str(place.line), "col": str(place.column)}
    words = ",".join(f"{name}={_written(value, _IN_VALUE)}" for name, value in values.items())
    return f"::{_LEVELS[level]} {words}::{_written(text, _IN_TEXT)}"


def of_error(error: DeployctlError, place: SpecPlace | None, root: Path) -> str:
    """The annotation of an error: what is wrong, where, and the hint."""
    lines = [error.message]
    if error.where:
        lines.append(f"at: {error.where}")
    if error.hint:
        lines.append(f"hint: {error.hint}")
    return annotation("error", "deployctl", "\n".join(lines), place, root)


def relative(file: Path, root: Path) -> str:
    """The file as its repository knows it; in full where it is outside."""
    full = (root / file).absolute()
    try:
        return full.relative_to(root).as_posix()
    except ValueError:
        return full.as_posix()


def _written(text: str, escapes: dict[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in printable(text))
