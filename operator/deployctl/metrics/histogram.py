"""Cumulative histograms, and their quantiles as Prometheus computes them. Pure."""

import dataclasses
import math


@dataclasses.dataclass(frozen=True, slots=True)
class Histogram:
    """Buckets are (upper bound in seconds, count at or below), ascending, +Inf last."""

    buckets: tuple[tuple[float, float], ...]
    sum: float
    count: float

    def mean(self) -> float | None:
        """In seconds; None if nothing was observed."""
        return self.sum / self.count if self.count > 0 else None

    def quantile(self, share: float) -> float | None:
        """As PromQL's `histogram_quantile`: linear within the bucket that the rank falls in,
        from 0 in the lowest, and the highest finite bound if it falls in +Inf."""
        if self.count <= 0 or len(self.buckets) < 2:
            return None
        rank = share * self.buckets[-1][1]
        index = next(
            (i for i, (_, count) in enumerate(self.buckets[:-1]) if count >= rank),
            len(self.buckets) - 1,
        )
        upper, count = self.buckets[index]
        if math.isinf(upper):
            return self.buckets[-2][0]
        if index == 0 and upper <= 0:
            return upper
        lower, before = self.buckets[index - 1] if index else (0.0, 0.0)
        inside = count - before
        if inside <= 0:
            return upper
        return lower + (upper - lower) * (rank - before) / inside

    def since(self, earlier: "Histogram | None") -> "Histogram":
        """What was observed after `earlier`. A counter that fell was reset: all of it is new."""
        if earlier is None or earlier.count > self.count:
            return self
        before = dict(earlier.buckets)
        return Histogram(
            buckets=tuple((bound, n - before.get(bound, 0.0)) for bound, n in self.buckets),
            sum=self.sum - earlier.sum,
            count=self.count - earlier.count,
        )


def merge(parts: list[Histogram]) -> Histogram | None:
    """Adds up the series of several engines. None if there are none."""
    if not parts:
        return None
    totals: dict[float, float] = {}
    for part in parts:
        for bound, count in part.buckets:
            totals[bound] = totals.get(bound, 0.0) + count
    return Histogram(
        buckets=tuple(sorted(totals.items())),
        sum=math.fsum(part.sum for part in parts),
        count=sum(part.count for part in parts),
    )
