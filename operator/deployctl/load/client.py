"""Whether the client kept up: its figures, and what to say of them. Pure.

A client that is late, or out of CPU, measures itself. The busiest load process decides: one
that is late is late for its own requests.
"""

import errno
import math
import re
from collections.abc import Iterator, Sequence

from deployctl.load import aggregate, schedule
from deployctl_loadtest.result import Client, Latency, Setup, Verdict
from deployctl_loadtest.sample import Sample, WorkerReport

# What the kernel says to a client that has no file (EMFILE) or no port (EADDRNOTAVAIL) left.
_EXHAUSTED = re.compile(rf"\[Errno ({errno.EMFILE}|{errno.EADDRNOTAVAIL})\]")

# One Locust process on one core: above this its own work shows up in what it measures.
CPU_MEAN_LIMIT, CPU_PEAK_LIMIT = 0.85, 0.98
CPU_GOAL = 0.6  # of a core, for the number of processes that would do
# What one process on one core does well: chunks a second, and users (512 streams at 36 chunks/s
# each took 44% of a core). For the first guess of `--workers auto`.
_CHUNKS, _USERS_A_WORKER = 10_000, 300
MOST_WORKERS = 256
# A timer this late (p99) is within the noise of a busy desktop; more is in the latencies.
LAG_LIMIT_S = 0.010
LAG_SHARE_OF_ITL = 0.5  # … or if it is a good part of what is measured
_EARLY_S = 2.0  # before the end of a run: whoever ends then was made to


def describe(
    setup: Setup,
    samples: Sequence[Sample],
    reports: Sequence[WorkerReport],
    window: tuple[float, float],
    lost: int,
) -> Client:
    """The client's figures in the window."""
    begin, end = window
    means: list[float] = []
    peaks: list[float] = []
    lags: list[float] = []
    for report in reports:
        shares = [share for at, share in report.cpu if begin <= at <= end + 1]
        if shares:
            means.append(sum(shares) / len(shares))
            peaks.append(max(shares))
        lags.extend(lag for at, lag in report.lags_s if begin <= at <= end)
    spread = aggregate.distribution(lags)
    due = [s for s in samples if s.scheduled_at_s is not None and begin <= s.scheduled_at_s < end]
    late = aggregate.distribution(s.lateness_s for s in due if s.lateness_s is not None)
    cpu_mean = round(max(means), 4) if means else None
    cpu_peak = round(max(peaks), 4) if peaks else None
    busy = bottleneck(cpu_mean, cpu_peak)
    counts = schedule.due_and_sent(setup, samples, window)
    # What was dropped was so for want of room, not of CPU.
    dropped = sum(report.dropped for report in reports)
    share = counts[1] / counts[0] if counts and counts[0] and not dropped else 1.0
    return Client(
        cpu_mean=cpu_mean,
        cpu_peak=cpu_peak,
        lag_p50_s=spread.p50 if spread else None,
        lag_p99_s=spread.p99 if spread else None,
        lag_max_s=spread.max if spread else None,
        scheduling=reports[0].scheduling if reports else "normal",
        lost_samples=lost,
        bottleneck=busy,
        lateness_p50_s=late.p50 if late else None,
        lateness_p99_s=late.p99 if late else None,
        lateness_max_s=late.max if late else None,
        achieved_rate=schedule.achieved_rate(samples, window),
        due=counts[0] if counts else None,
        sent=counts[1] if counts else None,
        dropped=dropped,
        first_drop_s=min(
            (r.first_drop_s for r in reports if r.first_drop_s is not None), default=None
        ),
        exhausted=sum(s.error is not None and bool(_EXHAUSTED.search(s.error)) for s in samples),
        died=_died(setup, samples, reports),
        workers_needed=workers_needed(setup.workers, cpu_mean, cpu_peak, share) if busy else None,
    )


def _died(setup: Setup, samples: Sequence[Sample], reports: Sequence[WorkerReport]) -> list[str]:
    """Load processes that ended without their last word, by name if they had said anything."""
    last: dict[str, float] = {}
    for sample in samples:
        ended = sample.started_at_s + sample.duration_s
        last[sample.worker] = max(last.get(sample.worker, 0.0), ended)
    living = {report.worker for report in reports}
    dead = [
        f"{worker} (last report at {at:.1f} s)"
        for worker, at in sorted(last.items())
        if worker not in living
    ]
    silent = setup.workers - len(living) - len(dead)
    early = [f"{r.worker} (ended at {r.ran_for_s:.1f} s)" for r in left_early(setup, reports)]
    return dead + early + ["one that never reported"] * silent


def left_early(setup: Setup, reports: Sequence[WorkerReport]) -> list[WorkerReport]:
    """Load processes that were ended in order while others went on, as by a node's drain.

    None where each ends by itself, when all that it had to send is done.
    """
    if setup.requests is not None or setup.mode == "trace":
        return []
    end = setup.cut_s + setup.duration_s - _EARLY_S
    early = [report for report in reports if report.ran_for_s < end]
    return early if len(early) < len(reports) else []


def bottleneck(cpu_mean: float | None, cpu_peak: float | None) -> bool:
    """Whether a load process had no CPU left of its core."""
    return (cpu_mean or 0) >= CPU_MEAN_LIMIT or (cpu_peak or 0) >= CPU_PEAK_LIMIT


def enough_workers(users: float, rate: float, output_tokens: float, cores: int) -> int:
    """How many load processes should do for a load: of users, or of requests a second."""
    wanted = max(math.ceil(rate * output_tokens / _CHUNKS), math.ceil(users / _USERS_A_WORKER))
    return max(1, min(wanted, cores))


def workers_needed(
    workers: int, cpu_mean: float | None, cpu_peak: float | None, sent: float = 1.0
) -> int:
    """How many load processes would do, where `workers` were too busy.

    Work divides evenly among them. `sent` is the share of what was due that they did send. A
    process that used all of its core may have wanted more than that, so it is never fewer than
    one more.
    """
    used = max(cpu_mean or 0.0, (cpu_peak or 0.0) * CPU_MEAN_LIMIT)
    return max(workers + 1, math.ceil(workers * used / CPU_GOAL / max(sent, 0.01)))


def verdicts(setup: Setup, latency: Latency, client: Client) -> Iterator[Verdict]:
    """What to know of the client."""
    if client.died and len(client.died) < setup.workers:
        yield Verdict(
            "bad",
            "worker_died",
            f"{len(client.died)} of {setup.workers} load processes were killed, or crashed: "
            f"{'; '.join(client.died)}. The samples that they had not handed over are missing, "
            "and so is their load from then on.",
        )
    elif client.died:
        yield Verdict(
            "bad",
            "client_died",
            "The load process was killed, or crashed, before the end: this is what it had "
            "written until then.",
        )
    if client.exhausted:
        yield Verdict(
            "bad",
            "client_exhausted",
            f"For {client.exhausted:,} requests the client's machine had no open file (ulimit "
            "-n) or no port left: they are counted as refused, and the server never saw them. "
            "Ask for less at once, or from several machines.",
        )
    if client.lost_samples:
        yield Verdict("bad", "samples_lost", f"{client.lost_samples} raw samples were lost.")
    if client.workers_needed is not None:
        less = "fewer users" if setup.mode == "closed" else "a lower rate"
        yield Verdict(
            "bad",
            "client_bottleneck",
            f"The client was the bottleneck: its process used {client.cpu_mean or 0:.0%} of a "
            f"core on average, {client.cpu_peak or 0:.0%} at worst. The figures are the client's "
            f"own; {client.workers_needed} processes (--workers) on as many free "
            f"cores would do, or {less}, or shorter answers.",
        )
    elif client.lag_p99_s is not None and client.lag_p99_s > LAG_LIMIT_S:
        typical = latency.itl_s.mean if latency.itl_s else 0.0
        serious = client.lag_p99_s > LAG_SHARE_OF_ITL * typical
        cores = "this machine's" if setup.on is None else "its node's"
        yield Verdict(
            "warning" if serious else "note",
            "client_late",
            f"The client was woken up to {client.lag_p99_s * 1000:.0f} ms late (p99) though "
            f"its CPU use was {client.cpu_mean or 0:.0%}: something else keeps {cores} cores "
            "busy, and that delay is in the latencies. Run the client elsewhere.",
        )
    yield from schedule.verdicts(setup, latency, client)
