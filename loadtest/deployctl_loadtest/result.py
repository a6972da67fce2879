"""LoadResult: what a load test found, as `summary.json` holds it. Version 1.

Seconds, tokens, shares of 1. Every figure is computed from the raw samples beside it.
"""

import dataclasses
from typing import Any, Literal

VERSION = 1
Level = Literal["note", "warning", "bad"]


@dataclasses.dataclass(frozen=True)
class Distribution:
    """Percentiles by linear interpolation over raw values, in seconds."""

    count: int
    mean: float
    min: float
    p50: float
    p90: float
    p95: float
    p99: float
    max: float


@dataclasses.dataclass(frozen=True)
class Setup:
    """What was asked for."""

    service: str | None
    url: str
    model: str
    api: str
    users: int
    duration_s: float
    warmup_s: float
    input_tokens: int
    output_tokens: int
    ignore_eos: bool
    seed: int
    request_timeout_s: float


@dataclasses.dataclass(frozen=True)
class Failure:
    """One way in which requests failed, with one message as an example."""

    outcome: str
    http_status: int | None
    count: int
    example: str


@dataclasses.dataclass(frozen=True)
class Requests:
    """Requests started in the measured window, by how they ended."""

    total: int
    ok: int
    failed: int
    incomplete: int  # cut short by the run's end
    warmup: int  # started before the window: in no other figure of this block
    failures: list[Failure]


@dataclasses.dataclass(frozen=True)
class Latency:
    """Of requests that succeeded. None where nothing was measured."""

    ttft_s: Distribution | None
    itl_s: Distribution | None  # gaps between text chunks, pooled
    tpot_s: Distribution | None  # one value a request
    e2e_s: Distribution | None


@dataclasses.dataclass(frozen=True)
class Throughput:
    """What came in during the window, whichever request it belongs to, a second."""

    requests_per_s: float
    output_tokens_per_s: float
    input_tokens_per_s: float
    total_tokens_per_s: float


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Of requests that succeeded in the window."""

    input: int
    output: int
    input_mean: float | None
    output_mean: float | None
    per_chunk: float | None
    counted_by: Literal["usage", "chunks"]
    coalesced_share: float | None  # of gaps, those between chunks that came in one read


@dataclasses.dataclass(frozen=True)
class Client:
    """Whether the load process itself kept up, during the window."""

    cpu_mean: float | None  # share of one core
    cpu_peak: float | None  # the worst second
    lag_p50_s: float | None  # how late its timers fired
    lag_p99_s: float | None
    lag_max_s: float | None
    scheduling: str  # realtime, nice or normal: how soon the kernel runs it
    lost_samples: int
    bottleneck: bool


@dataclasses.dataclass(frozen=True)
class Server:
    """The server's own figures over the whole run, warm-up included, and ours to compare."""

    output_tokens: int
    input_tokens: int
    client_output_tokens: int
    ttft_mean_s: float | None
    itl_mean_s: float | None
    queue_mean_s: float | None
    preemptions: int | None
    prefix_cache_hit_rate: float | None


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Something to know before the figures are believed. `code` is stable."""

    level: Level
    code: str
    text: str


@dataclasses.dataclass(frozen=True)
class LoadResult:
    """The whole answer."""

    version: int
    started: str  # ISO 8601, UTC
    tools: dict[str, str]  # name -> version
    setup: Setup
    interrupted: bool
    window_s: tuple[float, float]  # from the run's start
    requests: Requests
    latency: Latency
    throughput: Throughput
    tokens: Tokens
    client: Client
    server: Server | None
    verdicts: list[Verdict]
    trustworthy: bool  # no warning and nothing bad among the verdicts

    def to_dict(self) -> dict[str, Any]:
        """As JSON: plain types, no NaN."""
        return dataclasses.asdict(self)
