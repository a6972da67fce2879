"""Many numbers in little room: the gaps and lags of a run that goes on for a day. Pure.

A Python float in a list takes 32 bytes, a pair of them 112. A day at 1,000 tokens a second has 86
million gaps between chunks, and 1.7 million beats of each load process's heart.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import overload

_MOST = 2**32 - 1  # µs
_MICRO = 1e6


class Gaps(Sequence[float]):
    """Seconds between chunks, to the microsecond, in four bytes each.

    As to the microsecond they are written, so nothing is lost. One of more than 71 minutes, which
    four bytes do not hold, is kept as 71 minutes.
    """

    __slots__ = ("microseconds",)

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self.microseconds = array("I", [min(max(round(gap * _MICRO), 0), _MOST) for gap in seconds])

    def __len__(self) -> int:
        return len(self.microseconds)

    def __iter__(self) -> Iterator[float]:
        return (gap / _MICRO for gap in self.microseconds)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: int | slice) -> float | list[float]:
        if isinstance(index, slice):
            return [gap / _MICRO for gap in self.microseconds[index]]
        return self.microseconds[index] / _MICRO

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(list(self))

    @property
    def total_s(self) -> float:
        """Their sum."""
        return sum(self.microseconds) / _MICRO


def packed(gaps: Sequence[float]) -> Gaps:
    """Gaps in little room, whatever they came in."""
    return gaps if isinstance(gaps, Gaps) else Gaps(gaps)


class Lags(Sequence[tuple[float, float]]):
    """Pairs of (seconds from the run's start, seconds that a timer was late), 16 bytes each."""

    __slots__ = ("_numbers",)

    def __init__(self, pairs: Iterable[Sequence[float]] = ()) -> None:
        self._numbers = array("d")
        for at, lag in pairs:
            self.append(at, lag)

    def append(self, at_s: float, lag_s: float) -> None:
        """One more."""
        self._numbers.append(at_s)
        self._numbers.append(lag_s)

    def __len__(self) -> int:
        return len(self._numbers) // 2

    def __iter__(self) -> Iterator[tuple[float, float]]:
        numbers = iter(self._numbers)
        return zip(numbers, numbers, strict=True)

    @overload
    def __getitem__(self, index: int) -> tuple[float, float]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[float, float]]: ...
    def __getitem__(self, index: int | slice) -> tuple[float, float] | list[tuple[float, float]]:
        return list(self)[index]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == [tuple(pair) for pair in other]

    __hash__ = None  # type: ignore[assignment]
