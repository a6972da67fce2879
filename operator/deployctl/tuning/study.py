"""Study: a folder that holds a tuning run, so that it can be resumed after any end.

`study.jsonl` is a header and one event a line, each on the disk before the next step begins.
The raw results of each measurement are in `measurements/`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from deployctl import given
from deployctl.errors import InputError, NotFoundError, StateError
from deployctl.files import make_folder, state_error
from deployctl.load import slo as slos
from deployctl.spec import ServiceSpec
from deployctl.spec.service import RECORDED
from deployctl.targets.guards import lock
from deployctl.tuning.events import Done, Restarted, StudyEvent, from_document, spent_s, to_line
from deployctl.tuning.recommendation import Fingerprint
from deployctl.tuning.trial import Goal, Load, Parameter, Problem, turns_at

STUDY_VERSION = 1
MAX_BYTES = 256 * 1024 * 1024  # of its file; a study of a thousand trials has a few MB
FILE = "study.jsonl"


@dataclass(frozen=True)
class Traffic:
    """What is asked of the engine; lengths in tokens, None: as the workload says."""

    workload: str = "fixed"  # a name of ours, or a file
    input_tokens: int | None = None
    output_tokens: int | None = None
    api: Literal["chat", "completions"] = "chat"
    warmup_s: float = 2.0  # before each window


@dataclass(frozen=True)
class Header:
    """What a study is about, whatever is measured: enough to resume it."""

    created: str  # ISO 8601, UTC
    service: str
    spec: ServiceSpec
    goal: Goal
    slo: str | None
    traffic: Traffic
    parameters: tuple[Parameter, ...]
    budget_s: float
    max_trials: int | None
    seed: int
    first: Load
    output_tokens: float  # of a typical request
    usd_per_hour: float | None
    gpus: int
    fingerprint: Fingerprint
    # Settings that the plan chose and the spec of the study holds, by field: the same for every
    # configuration, and part of what is recommended.
    chosen: tuple[str, ...] = ()
    values: dict[str, Any] = field(default_factory=dict)  # the user's for the chart, on Kubernetes
    version: int = STUDY_VERSION

    def problem(self) -> Problem:
        """The problem, without what only a plan can say (`refused` and `prior`)."""
        terms = slos.parse(self.slo).terms if self.slo else ()
        return Problem(
            goal=self.goal,
            parameters=self.parameters,
            budget_s=self.budget_s,
            max_trials=self.max_trials,
            seed=self.seed,
            first=self.first,
            has_slo=self.slo is not None,
            turns=turns_at((t.measure or "", t.share) for t in terms),
            gpus=self.gpus,
            usd_per_hour=self.usd_per_hour,
            output_tokens=self.output_tokens,
        )

    def differences(self, now: "Header") -> list[str]:
        """What another header asks for that this one does not. Hardware is not looked at."""
        ours, theirs = self.spec.model_dump(mode="json"), now.spec.model_dump(mode="json")
        changes = [f"spec: {n} {v!r}, now {theirs[n]!r}" for n, v in ours.items() if v != theirs[n]]
        names = ("goal", "slo", "traffic", "parameters", "budget_s", "max_trials", "first", "seed")
        for name in (*names, "values"):
            was, this = getattr(self, name), getattr(now, name)
            if was != this:
                space = name == "parameters"
                changes.append("the space of settings" if space else f"{name}: {was}, now {this}")
        return changes


_HEADER = TypeAdapter(Header)


class Study:
    """Events in memory and on the disk. Made by `create` or `opened`; one process at a time."""

    def __init__(self, folder: Path, header: Header, events: list[StudyEvent], size: int) -> None:
        self.folder = folder
        self.header = header
        self.events = events
        self._size = size  # of what is whole in the file

    @property
    def file(self) -> Path:
        """The study's file."""
        return self.folder / FILE

    def record(self, event: StudyEvent) -> StudyEvent:
        """Writes an event to the disk, and returns it as it will be read again.

        Raises:
            StateError: the disk is full or the like; what was written before is whole.
        """
        line = to_line(event)
        self._size = _append(self.file, line.encode(), self._size)
        read = from_document(json.loads(line))
        self.events.append(read)
        return read

    @property
    def done(self) -> list[Done]:
        """The steps a search was told of, in their order."""
        return [event for event in self.events if isinstance(event, Done)]

    @property
    def trials(self) -> int:
        """The number of the last engine start; 0 where there is none."""
        numbers = [e.trial for e in self.events if isinstance(e, Done | Restarted)]
        return max(numbers, default=0)

    @property
    def server_s(self) -> float:
        """Server seconds spent in all."""
        return sum(spent_s(event) for event in self.events)


def create(folder: Path, header: Header) -> Study:
    """Begins a study.

    Raises:
        InputError: there is one already.
        StateError: the folder or the file cannot be written.
    """
    if _began(folder / FILE):
        raise InputError(
            "there is a study already",
            where=str(folder),
            hint="--resume goes on with it; or give another --study",
        )
    make_folder(folder)
    document = {"event": "study", **_HEADER.dump_python(header, mode="json")}
    # What the spec leaves unset stays so: the planner reads that as a choice of its own.
    document["spec"] = header.spec.model_dump(mode="json", exclude_unset=True)
    line = json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n"
    return Study(folder, header, [], _append(folder / FILE, line.encode(), 0))


def opened(folder: Path) -> Study:
    """Reads a study; a last line that was not written whole is not there.

    Raises:
        NotFoundError: there is none.
        StateError: it cannot be read, is damaged, or of a newer format.
    """
    path = folder / FILE
    try:
        content = given.read_bytes(path, MAX_BYTES)
    except NotFoundError as error:
        raise NotFoundError(
            "there is no study", where=str(path), hint="start one without --resume"
        ) from error
    except InputError as error:
        raise StateError(
            error.message, where=str(path), hint="name another with --study"
        ) from error
    lines = content.split(b"\n")[:-1]  # what follows the last line's end is torn
    documents = [_read(line, path, number) for number, line in enumerate(lines, 1)]
    if not documents:
        raise StateError(
            "the study has no header", where=str(path), hint="start it: leave out --resume"
        )
    header = _header(documents[0], path)
    events: list[StudyEvent] = []
    for number, document in enumerate(documents[1:], 2):
        try:
            events.append(from_document(document))
        except ValueError as error:
            raise _damaged(str(error), path, number) from error
    return Study(folder, header, events, sum(len(line) + 1 for line in lines))


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Holds a study for one process.

    Raises:
        LockedError: another tune is at work in it.
    """
    with lock(folder, f"the study {folder}", "deployctl tune"):
        yield


def _began(path: Path) -> bool:
    """Whether there is a header: a tune killed before that has left nothing."""
    try:
        return b"\n" in given.read_bytes(path, MAX_BYTES)
    except NotFoundError:
        return False


def _header(document: dict[str, Any], path: Path) -> Header:
    version = document.get("version")
    if isinstance(version, int) and version > STUDY_VERSION:
        raise StateError(
            f"the study was written by a newer deployctl (format {version})",
            where=str(path),
            hint="use that version of deployctl, or begin a new study",
        )
    rest = {name: value for name, value in document.items() if name != "event"}
    try:
        header: Header = _HEADER.validate_python(rest, context=RECORDED)
    except ValidationError as error:
        problem = error.errors()[0]
        where = "/".join(str(part) for part in problem["loc"])
        raise _damaged(f"{where}: {problem['msg']}", path, 1) from error
    return header


def _read(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        document = given.parse_json(line)
    except ValueError as error:
        raise _damaged("no JSON", path, number) from error
    if not isinstance(document, dict):
        raise _damaged("no JSON object", path, number)
    return document


def _damaged(why: str, path: Path, number: int) -> StateError:
    return StateError(
        f"the study is damaged: {why}",
        where=f"{path}:{number}",
        hint="begin a new study; the raw results in measurements/ are untouched",
    )


def _append(path: Path, content: bytes, size: int) -> int:
    """Writes at the end of what is whole, to the disk; or leaves what is whole. The new size."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    except OSError as error:
        raise state_error("write the study", path, error) from error
    try:
        os.ftruncate(descriptor, size)
        os.lseek(descriptor, size, os.SEEK_SET)
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    except OSError as error:
        with suppress(OSError):
            os.ftruncate(descriptor, size)
        raise state_error("write the study", path, error) from error
    finally:
        os.close(descriptor)
    return size + len(content)
