"""What the mock server did: its log, read back, and whether the run may be judged by it. Pure
but for reading the file."""

import dataclasses
import json
import math
from collections.abc import Sequence
from pathlib import Path

# Beyond these the server was late, and what a client saw of it proves nothing. What was sent
# late was still stamped when it was sent; but a server short of time also reads late, and then
# the true TTFT is not known.
LATE_P99_S, LATE_MAX_S = 0.002, 0.020
LAIN_P99_S = 0.002


@dataclasses.dataclass(frozen=True)
class Sent:
    """One stream, in seconds of the monotonic clock."""

    stream: int
    begun: float  # its request was read
    texts: tuple[float, ...]  # each text event was handed to the kernel
    role: float | None
    tokens: int
    fault: str | None
    whole: bool  # all of it was sent: the client did not go before
    ended: float
    lain: float  # its request may have lain there so long


@dataclasses.dataclass(frozen=True)
class Truth:
    """A run as the server knows it."""

    streams: dict[int, Sent]
    late_p99_s: float
    late_max_s: float
    lain_p99_s: float
    blocked: int
    cpu_s: float

    @property
    def reasons(self) -> list[str]:
        """Why the run is invalid; empty for a valid one."""
        found = []
        if self.late_p99_s > LATE_P99_S:
            found.append(f"1% of writes were over {self.late_p99_s * 1000:.1f} ms late")
        if self.late_max_s > LATE_MAX_S:
            found.append(f"a write was {self.late_max_s * 1000:.1f} ms late")
        if self.lain_p99_s > LAIN_P99_S:
            found.append(f"1% of requests may have lain {self.lain_p99_s * 1000:.1f} ms unread")
        if self.blocked:
            found.append(f"{self.blocked} writes met a full buffer")
        return found


def percentile(values: Sequence[float], share: float) -> float:
    """Linear, as everywhere else; `share` from 0 to 1. 0 for no values."""
    if not values:
        return 0.0
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def read(path: Path) -> Truth:
    """Reads a log of the mock's.

    Raises:
        ValueError: it is not one, or the mock did not end in order.
    """
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    if not rows or "late_s" not in rows[-1]:
        raise ValueError(f"{path}: the mock server left no log")
    own = rows.pop()
    streams = {
        row["stream"]: Sent(**{**row, "texts": tuple(row["texts"])}) for row in rows
    }  # fmt: skip
    return Truth(
        streams=streams,
        late_p99_s=percentile(own["late_s"], 0.99),
        late_max_s=max(own["late_s"], default=0.0),
        lain_p99_s=percentile([sent.lain for sent in streams.values()], 0.99),
        blocked=own["blocked"],
        cpu_s=own["cpu_s"],
    )
