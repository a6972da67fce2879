"""Recommendation: the answer of a study as a file, with what it was measured on and for.

An overlay: `settings` by spec field or engine argument, empty unless there is a winner. The
rest is evidence, for people and for the checks before the settings are used. Pure, but for
`load` and `write`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployctl import __version__
from deployctl.errors import InputError, SpecError
from deployctl.files import write_text
from deployctl.given import is_folder
from deployctl.spec.load import complaint, read_documents
from deployctl.tuning.trial import Answer, Goal, Standing, Verdict

RECOMMENDATION_VERSION: Literal[1] = 1
FILE = "recommendation.yaml"

Scalar = bool | int | float | str
_STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
_HINT = "deployctl tune writes this file; take it as it was written"


class Hardware(BaseModel):
    """What a study ran on. Equal ones may share settings."""

    model_config = _STRICT

    gpu: str  # name of the profile; cpu for none
    gpus: int = Field(1, ge=1)
    memory_gib: float | None = None  # of a GPU, as the profile has it; None on a CPU
    processor: str | None = None  # of a CPU: "AMD EPYC 9R14, 16 threads"

    def __str__(self) -> str:
        if self.gpu == "cpu":
            return f"cpu ({self.processor})" if self.processor else "cpu"
        return f"{self.gpus} × {self.gpu}"


@dataclass(frozen=True)
class Fingerprint:
    """Hardware and versions. Studies with equal ones may share measurements."""

    hardware: Hardware
    cores: int
    memory_gib: float  # of the host, rounded
    driver: str | None  # of the GPUs
    target: str
    engine_version: str
    image: str | None = None  # on target docker
    deployctl: str = __version__  # for the record: another one may go on

    def differences(self, now: "Fingerprint") -> list[str]:
        """What is otherwise now, for a person. A host's memory may differ by a GiB."""
        changes = []
        if self.hardware != now.hardware:
            changes.append(f"hardware: {self.hardware}, now {now.hardware}")
        for name, label in (
            ("cores", "cores"),
            ("driver", "driver"),
            ("target", "target"),
            ("engine_version", "vLLM"),
            ("image", "image"),
        ):
            was, this = getattr(self, name), getattr(now, name)
            if was != this:
                changes.append(f"{label}: {was}, now {this}")
        if abs(self.memory_gib - now.memory_gib) > 1:
            changes.append(f"memory: {self.memory_gib:g} GiB, now {now.memory_gib:g} GiB")
        return changes


class Measured(BaseModel):
    """What was measured, where, under what load, and for what. A caller fills it in."""

    model_config = _STRICT

    objective: Goal
    slo: str | None = None
    model: str  # Hub id, or folder
    model_digest: str | None = None  # of architecture, quantization and sizes: see model_digest()
    revision: str | None = None
    engine_version: str
    target: str
    hardware: Hardware
    # The winner's flags (the baseline's where there is none), as the plan wrote them.
    args: tuple[str, ...] = ()
    workload: str
    seed: int
    study: str  # its id
    date: str  # ISO 8601, UTC
    server_minutes: float | None = None
    deployctl: str = __version__


class ConfigurationResult(BaseModel):
    """One configuration's measurements; `objective` in the goal's unit."""

    model_config = _STRICT

    settings: dict[str, Scalar] = {}
    objective: float | None = None
    interval: tuple[float, float] | None = None  # 95%
    slo_met: bool | None = None  # None: no SLO, or undecided
    load: str | None = None  # users=8, rate=2.5

    @classmethod
    def of(cls, standing: Standing | None) -> "ConfigurationResult | None":
        """From a search's words."""
        if standing is None:
            return None
        low, high = standing.low, standing.high
        return cls(
            settings=standing.configuration.settings,
            objective=standing.objective,
            interval=None if low is None or high is None else (low, high),
            slo_met=standing.slo_met,
            load=str(standing.load) if standing.load else None,
        )


class Improvement(BaseModel):
    """Winner ÷ baseline in the goal's good direction: above 1 is better."""

    model_config = _STRICT

    ratio: float
    interval: tuple[float, float]


class Recommendation(BaseModel):
    """The whole file."""

    model_config = _STRICT

    version: Literal[1] = 1
    verdict: Verdict
    why: str
    settings: dict[str, Scalar] = {}
    measured: Measured
    baseline: ConfigurationResult | None = None
    winner: ConfigurationResult | None = None
    improvement: Improvement | None = None
    notes: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _only_a_winner_changes_anything(self) -> "Recommendation":
        if self.settings and self.verdict != "winner":
            raise ValueError(f"there are settings, and the verdict is {self.verdict}")
        return self

    @classmethod
    def from_answer(
        cls, answer: Answer, measured: Measured, kept: Mapping[str, Scalar] | None = None
    ) -> "Recommendation":
        """From how a search ended, and what it was about.

        `kept`: settings that every configuration had and the spec does not say. Only the verdict
        `winner` makes settings. The best of an interrupted study is in `winner`, as a figure:
        nothing has confirmed it.
        """
        winner = ConfigurationResult.of(answer.winner)
        ratio = answer.improvement
        return cls(
            verdict=answer.verdict,
            why=answer.why,
            settings={**(kept or {}), **winner.settings}
            if winner and answer.verdict == "winner"
            else {},
            measured=measured,
            baseline=ConfigurationResult.of(answer.baseline),
            winner=winner,
            improvement=Improvement(ratio=ratio[0], interval=ratio[1:]) if ratio else None,
            notes=answer.notes,
        )

    def to_yaml(self) -> str:
        """The file's text; the same recommendation gives the same bytes."""
        head = [
            f"# What deployctl tune found: {self.verdict.replace('_', ' ')}.",
            *(f"# {line}" for line in self.why.splitlines()),
        ]
        if self.settings:
            head += [
                "# To use the settings, and to keep them only if they hold:",
                f"#   deployctl up -f service.yaml --tuned {FILE} --verify --slo …",
            ]
        else:
            head.append("# There is nothing to change: the settings are empty.")
        document = self.model_dump(mode="json", exclude_none=True)
        body = yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=100)
        return "\n".join(head) + "\n" + body

    def write(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            StateError: the disk is full or the folder not writable; the old file stays.
        """
        hint = "free disk space, or choose another place"
        write_text(path, self.to_yaml(), what="the recommendation", hint=hint)


def load(path: Path) -> Recommendation:
    """Reads a recommendation; a folder means the one in it.

    Raises:
        InputError: it is missing, not YAML, of another version, or something in it is wrong;
            `where` is the path to that, as `recommendation.yaml: settings/max_num_seqs`.
    """
    path = path / FILE if is_folder(path) else path
    try:
        documents = read_documents(path)
    except SpecError as error:
        raise InputError(error.message, where=error.where, hint=_HINT) from error
    if len(documents) != 1:
        raise InputError("it holds several documents", where=str(path), hint=_HINT)
    if (version := documents[0].get("version")) != RECOMMENDATION_VERSION:
        wrong = f"version {version!r} is not known"
        if version is None:
            wrong = "it is not a recommendation"
        raise InputError(wrong, where=f"{path}: version", hint=_HINT)
    try:
        return Recommendation.model_validate(documents[0])
    except ValidationError as error:
        problem = error.errors()[0]
        inside = "/".join(str(part) for part in problem["loc"])
        place = f"{path}: {inside}" if inside else str(path)
        raise InputError(complaint(problem, "key"), where=place, hint=_HINT) from error
