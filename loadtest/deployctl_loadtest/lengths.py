"""How long prompts and answers are: a fixed number of tokens, or a distribution. Pure."""

import dataclasses
import math
import random
from typing import Any

_MOST = 10_000_000  # tokens; more is a slip of the keyboard
_KEYS = {
    "uniform": ({"min", "max"}, set()),
    "lognormal": ({"median", "sigma"}, {"min", "max"}),
}


@dataclasses.dataclass(frozen=True)
class Length:
    """Tokens (or turns), drawn anew for each request."""

    kind: str  # fixed, uniform or lognormal
    low: int
    high: int
    median: float = 0.0  # lognormal only, like sigma: of the values' natural logarithm
    sigma: float = 0.0

    @classmethod
    def fixed(cls, value: int) -> "Length":
        """Always `value`."""
        return cls("fixed", value, value)

    @classmethod
    def parse(cls, value: Any, where: str) -> "Length":
        """Reads a number, or `{distribution: uniform, min: 10, max: 20}` or `{distribution:
        lognormal, median: 200, sigma: 0.8, min: 1, max: 4000}`.

        Raises:
            ValueError: it is neither; the message begins with `where`.
        """
        if not isinstance(value, dict):
            return cls.fixed(_count(value, where))
        kind = value.get("distribution")
        if kind not in _KEYS:
            raise ValueError(f"{where}.distribution: {kind!r} is not {' or '.join(_KEYS)}")
        needed, optional = _KEYS[kind]
        given = value.keys() - {"distribution"}
        if missing := sorted(needed - given):
            raise ValueError(f"{where}.{missing[0]}: missing")
        if unknown := sorted(given - needed - optional):
            raise ValueError(f"{where}.{unknown[0]}: unknown for {kind}")
        low = _count(value.get("min", 1), f"{where}.min")
        high = _count(value.get("max", _MOST), f"{where}.max")
        if low > high:
            raise ValueError(f"{where}.max: less than min")
        if kind == "uniform":
            return cls(kind, low, high)
        median = _number(value["median"], f"{where}.median")
        return cls(kind, low, high, median, _number(value["sigma"], f"{where}.sigma"))

    def draw(self, source: random.Random) -> int:
        """One value."""
        if self.kind == "uniform":
            return source.randint(self.low, self.high)
        if self.kind == "lognormal":
            value = source.lognormvariate(math.log(self.median), self.sigma)
            return round(min(max(value, self.low), self.high))
        return self.low

    @property
    def typical(self) -> int:
        """Its median, to speak of."""
        if self.kind == "lognormal":
            return round(min(max(self.median, self.low), self.high))
        return (self.low + self.high) // 2


def _count(value: Any, where: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= _MOST:
        raise ValueError(f"{where}: {value!r} is not a whole number from 1")
    return value


def _number(value: Any, where: str) -> float:
    fine = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fine or not 0 < value <= _MOST:
        raise ValueError(f"{where}: {value!r} is not a number above 0")
    return float(value)
