"""Trend: what a service's figures were in the last minutes, in cells of equal time. Pure."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from deployctl.operations.top.row import Row

KEPT_S = 600.0
MOST = 2400  # moments: at four a second


class Moment(NamedTuple):
    """Figures of one interval. None where nothing is known."""

    at_s: float  # of a monotonic clock
    running: float | None = None
    waiting: float | None = None
    requests: float | None = None  # a second
    output: float | None = None  # tokens a second
    prompt: float | None = None
    ttft: float | None = None  # p95, seconds
    itl: float | None = None
    kv: float | None = None  # share of 1
    refused: float | None = None  # a second


def moment(at_s: float, row: Row) -> Moment:
    """What is kept of a row."""
    seen = row.figures
    if seen is None:
        return Moment(at_s)
    return Moment(
        at_s,
        seen.running,
        seen.waiting,
        seen.requests_per_s,
        seen.generation_tokens_per_s,
        seen.prompt_tokens_per_s,
        seen.ttft_s and seen.ttft_s.p95,
        seen.itl_s and seen.itl_s.p95,
        seen.kv_cache_usage,
        row.per_s(row.refusals),
    )


class Trend:
    """The moments of the last ten minutes, oldest first."""

    def __init__(self) -> None:
        self._moments: deque[Moment] = deque(maxlen=MOST)

    def add(self, moment: Moment) -> None:
        """Adds the newest, and lets go of what is too old."""
        self._moments.append(moment)
        while self._moments[0].at_s < moment.at_s - KEPT_S:
            self._moments.popleft()

    def newest(self, of: Callable[[Moment], float | None]) -> float | None:
        """A figure as it was seen last."""
        return of(self._moments[-1]) if self._moments else None

    def cells(
        self, of: Callable[[Moment], float | None], now_s: float, cell_s: float, count: int
    ) -> list[float | None]:
        """The greatest that a figure was in each of `count` spans of `cell_s` seconds, the last one
        with now in it; None where nothing was seen. Spans begin at whole multiples, so that what
        was shown does not change when time goes on."""
        last = int(now_s // cell_s)
        seen: dict[int, float] = {}
        for each in list(self._moments):  # another thread may add one
            value = of(each)
            if value is not None:
                span = int(each.at_s // cell_s)
                seen[span] = max(value, seen.get(span, value))
        return [seen.get(span) for span in range(last - count + 1, last + 1)]
