"""The surface file: what every configuration of a service comes to at every load. Reads it.

docs/reference/tuning-surface.md is its contract. No noise is drawn here: that is `surface`.
"""

import difflib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from benchmarks.data import read_text
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deployctl.errors import InputError
from deployctl.tuning.trial import Goal, Value

PAGE = "docs/reference/tuning-surface.md"
# Figures that a column may hold, beside `load`: fields of Observation, and the tails of latencies,
# which an SLO may be on.
NEEDED = ("load", "requests_per_s", "output_tokens_per_s")
OBSERVED = (
    "ttft_p50_s",
    "ttft_p95_s",
    "itl_p50_s",
    "itl_p95_s",
    "tpot_p50_s",
    "e2e_p50_s",
    "e2e_p95_s",
)
LATENCIES = (
    *OBSERVED,
    *("ttft_p90_s", "itl_p90_s", "e2e_p90_s"),
    *("ttft_p99_s", "itl_p99_s", "e2e_p99_s"),
)
OTHERS = ("good_share", "preemptions", "kv_cache_usage_max", "waiting_max")
COLUMNS = (*NEEDED, *LATENCIES, *OTHERS)

Share = Field(0.0, ge=0, le=1, allow_inf_nan=False)
Seconds = Field(0.0, ge=0, allow_inf_nan=False)


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Setting(_Part):
    """One setting that is tuned."""

    name: str = Field(min_length=1)
    values: tuple[Value, ...] = Field(min_length=1)
    current: Value | None = None


class At(_Part):
    """A load."""

    kind: Literal["users", "rate"]
    value: float = Field(gt=0, allow_inf_nan=False)


class Means(_Part):
    """What the strategy is told: the goal, the space, the budget."""

    goal: Goal
    parameters: tuple[Setting, ...] = Field(min_length=1)
    first: At
    slo: dict[str, float] | None = None  # latency column -> limit in seconds
    budget_s: float = Field(gt=0, allow_inf_nan=False)
    max_trials: int | None = Field(None, ge=1)
    gpus: int = Field(1, ge=1)
    usd_per_hour: float | None = Field(None, gt=0, allow_inf_nan=False)
    output_tokens: float = Field(64.0, gt=0, allow_inf_nan=False)


class Noise(_Part):
    """How measurements differ. Shares are standard deviations of the server's speed."""

    between_starts: float = Share  # one draw a start
    between_runs: float = Share  # one draw a measurement
    # Requests that say as much as one independent request: neighbours share a queue.
    dependence: float = Field(1.0, ge=1, allow_inf_nan=False)
    invalid: float = Share  # chance that a measurement is Invalid


class Breaks(_Part):
    """How a configuration fails."""

    at: Literal["plan", "start", "load"]
    kind: Literal[
        "refused_by_plan",
        "start_refused",
        "out_of_memory",
        "never_healthy",
        "died_under_load",
        "preemption_storm",
    ]
    reason: str
    chance: float = Field(1.0, ge=0, le=1, allow_inf_nan=False)  # each time, of `start` and `load`
    above: float = Field(0.0, ge=0, allow_inf_nan=False)  # `load`: only at loads above this one
    spent_s: float | None = Field(None, ge=0, allow_inf_nan=False)


class Expected(_Part):
    """What the plan expected of the configuration; fields of Prior."""

    concurrency: float | None = None
    decode_tokens_s: float | None = None
    prefill_tokens_s: float | None = None
    startup_s: float | None = None


class Point(_Part):
    """One configuration: what its start takes, what it does at each load, how it fails."""

    settings: dict[str, Value] = {}
    startup_s: float = Seconds
    first_startup_s: float | None = Field(None, ge=0, allow_inf_nan=False)
    prior: Expected | None = None
    failure: Breaks | None = None
    noise: Noise | None = None  # instead of the file's
    rows: tuple[tuple[float | None, ...], ...] = ()


class Surface(_Part):
    """A surface file, checked. Loads of every point are in ascending order."""

    version: Literal[1]
    name: str = Field(min_length=1)
    title: str = ""
    kind: Literal["measured", "synthetic"]
    sources: tuple[str, ...] = ()
    problem: Means
    noise: Noise = Noise()
    overhead_s: float = Seconds  # of each measurement beside its window: ramp, warm-up, end
    drift: tuple[tuple[float, float], ...] = ()  # (server seconds, speed), straight between
    columns: tuple[str, ...]
    points: tuple[Point, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _check(self) -> "Surface":
        self._check_columns()
        for i, point in enumerate(self.points):
            self._check_settings(point, f"points/{i}")
            self._check_rows(point, f"points/{i}")
        keys = [self.key(point.settings) for point in self.points]
        for i, key in enumerate(keys):
            if key in keys[:i]:
                raise ValueError(f"points/{i}/settings: the same as of points/{keys.index(key)}")
        times = [time for time, _ in self.drift]
        if times != sorted(times) or any(speed <= 0 for _, speed in self.drift):
            raise ValueError("drift: times ascend, speeds are above 0 (1 is the table's speed)")
        return self

    def _check_columns(self) -> None:
        for name in self.columns:
            if name not in COLUMNS:
                near = difflib.get_close_matches(name, COLUMNS, n=1)
                known = f"did you mean {near[0]}?" if near else "known: " + ", ".join(COLUMNS)
                raise ValueError(f"columns: there is no column {name!r}; {known}")
        for name in NEEDED:
            if name not in self.columns:
                raise ValueError(f"columns: {name} is required")
        for name in self.problem.slo or {}:
            if name not in LATENCIES or name not in self.columns:
                raise ValueError(f"problem/slo/{name}: no latency of that name is among `columns`")

    def _check_settings(self, point: Point, where: str) -> None:
        known = {setting.name: setting for setting in self.problem.parameters}
        for name, value in point.settings.items():
            if name not in known:
                raise ValueError(f"{where}/settings/{name}: not among problem/parameters")
            setting = known[name]
            if value not in setting.values and value != setting.current:
                raise ValueError(f"{where}/settings/{name}: {value!r} is none of its values")

    def _check_rows(self, point: Point, where: str) -> None:
        never = point.failure is not None and point.failure.at != "load"
        certain = never and point.failure is not None and point.failure.chance == 1
        if not point.rows and not certain:
            raise ValueError(f"{where}/rows: at least one load is needed where it may start")
        for j, row in enumerate(point.rows):
            if len(row) != len(self.columns):
                raise ValueError(
                    f"{where}/rows/{j}: {len(row)} values for {len(self.columns)} columns"
                )
            if any(v is not None and (not math.isfinite(v) or v < 0) for v in row):
                raise ValueError(f"{where}/rows/{j}: figures are finite and not below 0")
            for name in NEEDED:
                if row[self.columns.index(name)] is None:
                    raise ValueError(f"{where}/rows/{j}: {name} is null")
        loads = [row[self.columns.index("load")] or 0.0 for row in point.rows]
        if loads != sorted(set(loads)) or (loads and loads[0] <= 0):
            raise ValueError(f"{where}/rows: loads are above 0 and ascend")

    def key(self, settings: Mapping[str, Value]) -> tuple[Value | None, ...]:
        """The value of every parameter: what is not named is `current`."""
        return tuple(settings.get(p.name, p.current) for p in self.problem.parameters)


def read(file: Path) -> Surface:
    """Reads a surface file, which may be compressed (`.json.gz`).

    Raises:
        InputError: it cannot be read, is not JSON, or breaks the format; `where` says at which
            place.
    """
    hint = f"{PAGE} describes the format"
    try:
        document: Any = json.loads(read_text(file))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the surface file: {error}", where=str(file)) from error
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg}", where=f"{file}:{error.lineno}", hint=hint
        ) from error
    try:
        return Surface.model_validate(document)
    except ValidationError as error:
        problem = error.errors()[0]
        path = "/".join(str(part) for part in problem["loc"])
        said = str(problem["msg"]).removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            said = "there is no such field"
        elif problem["type"] == "missing":
            said = "a value is required"
        elif not path and ": " in said:  # our own checks name the place themselves
            path, said = said.split(": ", 1)
        raise InputError(said, where=f"{file}: {path}" if path else str(file), hint=hint) from error


def read_all(folder: Path) -> list[Surface]:
    """Reads every `*.json` and `*.json.gz` of a folder, by name.

    Raises:
        InputError: there are none, or one is wrong.
    """
    files = sorted((*folder.glob("*.json"), *folder.glob("*.json.gz")))
    if not files:
        raise InputError("no surface file (*.json, *.json.gz) there", where=str(folder))
    return [read(file) for file in files]
