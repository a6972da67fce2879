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
    # `closed`: users who wait for their answer. `open`: requests are due at `rate`, whatever
    # the server does. `trace`: as `open`, at the times of a trace.
    mode: Literal["closed", "open", "trace"] = "closed"
    rate: float | None = None  # requests a second; open loop only
    arrivals: str | None = None  # constant, poisson or gamma:CV; open loop only
    requests: int | None = None  # at most so many; of several turns, conversations
    ramp_s: float = 0.0  # in which users or rate grow evenly; cut, before the warm-up
    workers: int = 1  # load processes
    # Where they ran: None for the machine of whoever asked; and if not there, in which image.
    on: Literal["kubernetes"] | None = None
    worker_image: str | None = None
    workload: str = "fixed"  # a name of ours, or a file
    trace: str | None = None  # the file replayed, and how many times as fast as it was
    trace_speed: float = 1.0
    # Whether prompts have the asked number of tokens by the model's own tokenizer.
    prompt_lengths: Literal["exact", "about"] = "about"
    # Of recorded conversations: whether answers have as many tokens as the recorded ones have by
    # the model's own tokenizer; None for other workloads.
    recorded_lengths: Literal["exact", "about"] | None = None
    # Whether all requests have the same length; if not, `…_tokens` are medians.
    input_fixed: bool = True
    output_fixed: bool = True
    extra_body: dict[str, Any] = dataclasses.field(default_factory=dict)
    extra_headers: list[str] = dataclasses.field(default_factory=list)  # names only
    ca_file: str | None = None

    @property
    def cut_s(self) -> float:
        """How much of the run's begin is left out: ramp and warm-up."""
        return self.ramp_s + self.warmup_s


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
    # Open loop only: how late requests were sent, how many were due and sent in the window.
    lateness_p50_s: float | None = None
    lateness_p99_s: float | None = None
    lateness_max_s: float | None = None
    achieved_rate: float | None = None  # requests sent a second
    due: int | None = None  # requests due in the window; None where the schedule is not known
    sent: int | None = None  # of these
    dropped: int = 0  # due in the run, and not sent: too many were under way
    first_drop_s: float | None = None  # from the run's start: when the first of them was due
    workers_needed: int | None = None  # how many load processes would do, where these do not
    exhausted: int = 0  # requests for which the client had no open file, or no port, left
    died: list[str] = dataclasses.field(default_factory=list)  # workers without a last word


@dataclasses.dataclass(frozen=True)
class Agreement:
    """A percentile of the client, and the bucket of the server's histogram that holds its own.

    Over the whole run, of every request that both saw. `gap_s` is how far the client is
    outside the bucket, below 0 if it is under it.
    """

    name: str  # ttft_p50, itl_p95
    client_s: float
    server_low_s: float
    server_high_s: float | None  # None: the bucket has no end
    gap_s: float
    agrees: bool  # within the bucket's width


@dataclasses.dataclass(frozen=True)
class ServerMoment:
    """The engine as a scrape of its /metrics showed it. Counts and means: since the one before."""

    at_s: float  # from the run's start
    running: int | None
    waiting: int | None
    kv_cache_usage: float | None  # share of 1
    preemptions: int | None
    prefix_cache_hit_rate: float | None
    output_tokens: int | None
    input_tokens: int | None
    ttft_mean_s: float | None
    itl_mean_s: float | None


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
    # In the measured window, by the scrapes in it; None without one.
    running_max: int | None = None
    waiting_max: int | None = None
    kv_cache_usage_max: float | None = None
    restarted: bool = False  # the engine restarted during the run
    to_the_end: bool = True  # False: it did not tell at the end, so its counts are of a part
    scrapes: int = 0  # of its /metrics, before, during and after the run
    scrapes_failed: int = 0
    scrape_error: str | None = None  # of the last that failed
    agreement: list[Agreement] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Verdict:
    """Something to know before the figures are believed. `code` is stable."""

    level: Level
    code: str
    text: str


@dataclasses.dataclass(frozen=True)
class Objective:
    """One objective of an SLO and how it came out. Seconds; a share of 1 for `error_rate`.

    `value` is None where nothing was measured, or where the percentile falls on a request
    that failed (`failed` tells). A bound that the data does not set is None.
    """

    name: str  # ttft_p95, error_rate
    limit: float
    value: float | None
    low: float | None  # of the interval
    high: float | None
    confidence: float
    samples: int  # values that were judged
    failed: int  # of these, requests that failed: over any limit
    cut: int  # of these, requests cut by the end when they were over the limit already
    verdict: Literal["met", "missed", "unresolved"]
    note: str | None  # why it is unresolved, and what would settle it


@dataclasses.dataclass(frozen=True)
class SloResult:
    """Whether the service level was held, and the rate of requests that met all of it."""

    text: str  # as it was asked for
    verdict: Literal["met", "missed", "unresolved"]  # the worst of the objectives'
    objectives: list[Objective]
    good: int  # requests started in the window that met every objective
    # Of those that started in it; one cut by its end counts if it was over a limit by then.
    good_share: float | None
    goodput_per_s: float  # requests that ended in the window, ok or failed, times that share


@dataclasses.dataclass(frozen=True)
class Gate:
    """What `--fail-on-breach` made of it."""

    passed: bool
    reasons: list[str]  # why not


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
    slo: SloResult | None = None  # where one was asked for
    gate: Gate | None = None  # where --fail-on-breach was given

    def to_dict(self) -> dict[str, Any]:
        """As JSON: plain types, no NaN."""
        return dataclasses.asdict(self)
