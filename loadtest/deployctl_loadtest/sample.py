"""Sample: what was seen of one request, raw. WorkerReport: what one load process says of itself.

Everything that is reported is computed from these. Seconds are floats of one monotonic
clock a process, counted from the run's start.
"""

import dataclasses
import sys
from typing import Any, Literal, get_args

from deployctl_loadtest.packed import Gaps, Lags, packed

Outcome = Literal[
    "ok",
    "refused",  # no connection
    "http_error",  # an answer that is not 200
    "timeout",  # the client gave up
    "truncated",  # the stream broke off
    "stream_error",  # an error object, or nonsense, in the stream
    "empty",  # finished properly, without any text
    "incomplete",  # the run's end cut it short: neither good nor bad
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FAILURES: tuple[Outcome, ...] = tuple(o for o in OUTCOMES if o not in ("ok", "incomplete"))


@dataclasses.dataclass(slots=True)
class Sample:
    """One request. A figure that was not seen is None, never 0."""

    worker: str
    started_at_s: float
    outcome: Outcome
    index: int = 0  # in order of start, over all workers; set when results are gathered
    response_id: str | None = None
    scheduled_at_s: float | None = None  # open loop only
    lateness_s: float | None = None  # open loop only: actual start − scheduled start
    ttft_s: float | None = None  # from `begun_at_s` to the first chunk with text
    chunk_gaps_s: Gaps = dataclasses.field(default_factory=Gaps)
    e2e_s: float | None = None  # to the last chunk with text; only where the outcome is ok
    duration_s: float = 0.0  # until the client was done with it, whatever the outcome
    input_tokens: int | None = None  # as the server's usage says
    output_tokens: int | None = None
    tokens_per_chunk: float | None = None
    finish_reason: str | None = None
    http_status: int | None = None
    error: str | None = None
    warmup: bool = False  # cut from the summary

    def __post_init__(self) -> None:
        self.chunk_gaps_s = packed(self.chunk_gaps_s)

    @property
    def begun_at_s(self) -> float:
        """Where its latencies count from: when it was due, or else when it was sent."""
        return self.started_at_s if self.scheduled_at_s is None else self.scheduled_at_s

    @property
    def chunks(self) -> int:
        """Chunks that carried text."""
        return 0 if self.ttft_s is None else 1 + len(self.chunk_gaps_s)

    @property
    def failed(self) -> bool:
        """Whether it counts as a failure. One cut short by the run's end does not."""
        return self.outcome in FAILURES

    @property
    def tpot_s(self) -> float | None:
        """(last text − first text) ÷ (tokens − 1), where there are two tokens to speak of."""
        if self.outcome != "ok" or self.output_tokens is None or self.output_tokens < 2:
            return None
        return self.chunk_gaps_s.total_s / (self.output_tokens - 1) if self.chunk_gaps_s else None

    @property
    def is_plausible(self) -> bool:
        """Whether a load test may have written it: a file may come from elsewhere."""
        numbers = [getattr(self, field) for field in (*_SECONDS, *_NUMBERS)]
        texts = [getattr(self, field) for field in ("worker", *_TEXTS)]
        return (
            self.outcome in OUTCOMES
            and is_number(self.started_at_s)
            and is_number(self.duration_s)
            and all(each is None or is_number(each) for each in numbers)
            and all(each is None or isinstance(each, str) for each in texts)
        )

    def chunk_times(self) -> list[float]:
        """When each text chunk came, in seconds from the run's start."""
        if self.ttft_s is None:
            return []
        times = [self.begun_at_s + self.ttft_s]
        for gap in self.chunk_gaps_s:
            times.append(times[-1] + gap)
        return times

    def to_dict(self) -> dict[str, Any]:
        """The documented shape of a line in requests.jsonl. Times to the microsecond."""
        values = {field: getattr(self, field) for field in _FIELDS}
        for field in _SECONDS:
            if values[field] is not None:
                values[field] = round(values[field], 6)
        values["chunk_gaps_s"] = list(self.chunk_gaps_s)
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Sample":
        """Reads one back. Unknown keys are from a newer writer and are left out."""
        known = {field: values[field] for field in _FIELDS if field in values}
        for field in _ALIKE:  # of millions of samples, each text that they share is kept once
            if isinstance(known.get(field), str):
                known[field] = sys.intern(known[field])
        return cls(**known)


def is_number(value: object) -> bool:
    """Whether it is a number of seconds, tokens or the like: of seconds, 30 years at most."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9


_FIELDS = (
    "index",
    "worker",
    "response_id",
    "scheduled_at_s",
    "started_at_s",
    "lateness_s",
    "ttft_s",
    "chunk_gaps_s",
    "e2e_s",
    "duration_s",
    "input_tokens",
    "output_tokens",
    "tokens_per_chunk",
    "finish_reason",
    "outcome",
    "http_status",
    "error",
    "warmup",
)
_NUMBERS = ("input_tokens", "output_tokens", "tokens_per_chunk", "http_status")
_TEXTS = ("response_id", "finish_reason", "error")
_ALIKE = ("worker", "outcome", "finish_reason", "error")
_SECONDS = ("scheduled_at_s", "started_at_s", "lateness_s", "ttft_s", "e2e_s", "duration_s")


@dataclasses.dataclass(slots=True)
class WorkerReport:
    """One load process: how long it ran, and whether it kept up."""

    worker: str
    started_s: float  # the run's start, on this host's monotonic clock
    ran_for_s: float
    samples: int  # how many it wrote; fewer in the file means that some were lost
    cpu: list[tuple[float, float]]  # (seconds from start, share of one core) about once a second
    lags_s: Lags  # (seconds from start, how late a timer fired)
    scheduling: str = "normal"  # what `priority` got
    dropped: int = 0  # open loop: due, and not sent, because too many were under way
    first_drop_s: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**values, "lags_s": list(self.lags_s)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "WorkerReport":
        """Reads one back."""
        cpu = [(a, b) for a, b in values["cpu"]]
        return cls(**{**values, "cpu": cpu, "lags_s": Lags(values["lags_s"])})
