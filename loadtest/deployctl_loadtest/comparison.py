"""Comparison: how two load tests differ, as `deployctl compare` answers. Version 1.

Seconds, shares of 1.
"""

import dataclasses
from typing import Any, Literal

VERSION = 1
Difference = Literal["better", "worse", "no clear difference"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """One measure of both. `change` is b ÷ a − 1, for `error_rate` b − a; so are its bounds.

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
    a_samples: int
    b_samples: int
    verdict: Difference
    regression: bool  # worse, and beyond the threshold


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The answer. `passed`: no regression, and neither run is spoilt."""

    version: int
    a: dict[str, Any]
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
