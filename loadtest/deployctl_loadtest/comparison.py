"""Comparison: how two sides of load tests differ, as `deployctl compare` answers. Version 1.

Seconds, shares of 1.
"""

import dataclasses
from typing import Any, Literal

VERSION = 1
Difference = Literal["better", "worse", "no clear difference"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of both. `change` is b ÷ a − 1, for `error_rate` b − a; so are its bounds.

    `a` and `b` are the geometric means over a side's runs (the mean, for `error_rate`).
    None: not measured, or a bound that the data does not set.
    """

    name: str
    unit: Literal["s", "1/s", "share"]
    better: Literal["lower", "higher"]
    a: float | None
    b: float | None
    change: float | None
    low: float | None
    high: float | None
    a_samples: int  # of all runs of the side
    b_samples: int
    a_runs: list[float]  # the value in each run that has one
    b_runs: list[float]
    between_runs: float | None  # standard deviation of runs of a side, as a share of the value
    verdict: Difference
    regression: bool  # worse, and beyond the threshold


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The answer. `passed`: no regression, and no run is spoilt."""

    version: int
    a: dict[str, Any]  # a side: what was given for it, and its `runs`
    b: dict[str, Any]
    differences: list[str]  # of what was asked: apples and pears
    notes: list[str]
    spoilt: list[str]  # why a run proves nothing
    threshold: float
    confidence: float
    measures: list[Measure]
    regressions: list[str]
    passed: bool

    def to_dict(self) -> dict[str, Any]:
        """As JSON: plain types, no NaN."""
        return dataclasses.asdict(self)
