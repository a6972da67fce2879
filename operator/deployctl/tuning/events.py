"""The events of a study, and how they are written: one JSON document a line. Pure.

A line is `{"event": KIND, …}`; docs/reference/study.md describes each.
"""

import json
import math
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from deployctl.tuning.trial import (
    Configuration,
    Failure,
    Invalid,
    Measure,
    Observation,
    Result,
    Start,
    Started,
    Step,
)

Kind = Literal["start", "measure", "failure", "invalid"]


@dataclass(frozen=True)
class Done:
    """A step that was asked, and what came of it: what a search is told, and told again."""

    step: Step
    result: Result
    trial: int  # the engine start that it belongs to: 1, 2, 3 …


@dataclass(frozen=True)
class Restarted:
    """A configuration started once more, to resume its measurements: a search is not told of it."""

    configuration: Configuration
    trial: int
    result: Started | Failure


@dataclass(frozen=True)
class Interrupted:
    """Ctrl-C, or an error that ended the run; the study may be resumed."""

    why: str


@dataclass(frozen=True)
class Finished:
    """The search is over. `answer` is the JSON answer that was given."""

    answer: dict[str, Any]


StudyEvent = Done | Restarted | Interrupted | Finished

_STEPS: dict[str, TypeAdapter[Any]] = {"start": TypeAdapter(Start), "measure": TypeAdapter(Measure)}
_RESULTS: dict[str, TypeAdapter[Any]] = {
    "started": TypeAdapter(Started),
    "observation": TypeAdapter(Observation),
    "failure": TypeAdapter(Failure),
    "invalid": TypeAdapter(Invalid),
}
_RESTARTED = TypeAdapter(Restarted)


def spent_s(event: StudyEvent) -> float:
    """Server seconds that it took."""
    if isinstance(event, Done | Restarted):
        result = event.result
        return result.seconds if isinstance(result, Started) else result.spent_s
    return 0.0


def to_line(event: StudyEvent) -> str:
    """One line, with its end. Figures that are not finite become null."""
    return json.dumps(_finite(_document(event)), separators=(",", ":"), allow_nan=False) + "\n"


def _document(event: StudyEvent) -> dict[str, Any]:
    if isinstance(event, Interrupted):
        return {"event": "interrupted", "why": event.why}
    if isinstance(event, Finished):
        return {"event": "end", "answer": event.answer}
    if isinstance(event, Restarted):
        return {"event": "restart", **_RESTARTED.dump_python(event, mode="json")}
    step = type(event.step).__name__.lower()
    result = type(event.result).__name__.lower()
    kind = result if result in ("failure", "invalid") else step
    return {
        "event": kind,
        "trial": event.trial,
        step: _STEPS[step].dump_python(event.step, mode="json"),
        result: _RESULTS[result].dump_python(event.result, mode="json"),
    }


def from_document(document: dict[str, Any]) -> StudyEvent:
    """Reads an event.

    Raises:
        ValueError: it is none, or a part of it is wrong.
    """
    kind = document.get("event")
    try:
        if kind == "interrupted":
            return Interrupted(str(document["why"]))
        if kind == "end":
            return Finished(dict(document["answer"]))
        if kind == "restart":
            rest = {name: value for name, value in document.items() if name != "event"}
            restarted: Restarted = _RESTARTED.validate_python(rest)
            return restarted
        step = next(name for name in _STEPS if name in document)
        result = next(name for name in _RESULTS if name in document)
        return Done(
            _STEPS[step].validate_python(document[step]),
            _RESULTS[result].validate_python(document[result]),
            int(document["trial"]),
        )
    except (StopIteration, KeyError, TypeError) as error:
        raise ValueError(f"event {kind!r} lacks {error}") from error
    except ValidationError as error:
        problem = error.errors()[0]
        path = "/".join(str(part) for part in problem["loc"])
        raise ValueError(f"event {kind!r}, {path}: {problem['msg']}") from error


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
