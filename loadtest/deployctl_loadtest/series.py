"""Series: several runs of one load test that differ in load alone, as `series.json` holds it.

A sweep has the points that were asked for. A search for the limit (`--find-max`) has the
points that it went through, and an answer.
"""

import dataclasses
from typing import Any, Literal

from deployctl_loadtest.result import LoadResult

VERSION = 1
Variable = Literal["users", "rate"]


@dataclasses.dataclass(frozen=True)
class Point:
    """One run. `folder` is its own, below the series'."""

    value: float  # users, or requests a second
    folder: str
    result: LoadResult
    # What a search made of it: does the service hold its SLO at this load?
    held: Literal["yes", "no", "unclear"] | None = None
    why: str | None = None


@dataclasses.dataclass(frozen=True)
class Limit:
    """What a search found. Loads in the unit of the series' variable."""

    slo: str
    status: Literal[
        "found",  # held at `holds`, not at `breaks`, and the two are as near as asked for
        "unresolved",  # between `holds` and `breaks` the measurements are inconclusive
        "never_held",  # not even at the least load tried
        "not_reached",  # held at the highest load tried
        "client_limited",  # the client could not send more
        "interrupted",
    ]
    holds: float | None  # the highest load at which the SLO certainly held
    breaks: float | None  # the lowest load at which it certainly did not
    goodput_per_s: float | None  # at `holds`: requests a second that met every objective
    goodput_low: float | None  # 95% interval
    goodput_high: float | None
    text: str  # the answer in a sentence

    @property
    def answered(self) -> bool:
        """Whether a load held, and it is known what bounds it."""
        return self.status in ("found", "not_reached")


@dataclasses.dataclass(frozen=True)
class Series:
    """The whole answer."""

    version: int
    kind: Literal["sweep", "find_max"]
    started: str  # ISO 8601, UTC
    variable: Variable
    points: list[Point]  # in the order in which they were measured
    limit: Limit | None = None
    interrupted: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON: plain types, no NaN."""
        return dataclasses.asdict(self)
