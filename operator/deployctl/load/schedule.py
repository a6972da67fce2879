"""Open loop: was what was due sent, and when it was due? Reads nothing but a trace's file.

The schedule is a function of what was asked for, so it is made again here: what no process
sent (because it was behind, or killed) left no sample, and would not be missed otherwise.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import takewhile

from deployctl_loadtest import arrivals, replay
from deployctl_loadtest.result import Client, Latency, Setup, Verdict
from deployctl_loadtest.sample import Sample

# Open loop: sent this late (p99) is in the latencies, which count from when it was due …
LATENESS_LIMIT_S = 0.010
LATENESS_SHARE_OF_TTFT = 0.1  # … and matters if it is a good part of them
# Of what was due: with less than this missing, the rate is the one that was asked for. Of a
# short run a moment in which the machine was busy just before its end is more than that.
MISSING_LIMIT, MOMENT_S, MOMENT_LIMIT = 0.01, 0.5, 0.05


def times(setup: Setup) -> Iterable[float] | None:
    """When each request of a run is due, in seconds from its start; None in a closed loop.

    Endless, for an open loop without a number of requests.
    """
    if setup.mode == "trace" and setup.trace is not None:
        try:
            rows = replay.load(setup.trace)
        except ValueError:
            return None  # the file is gone since
        due: Iterable[float] = (row.at_s / setup.trace_speed for row in rows)
    elif setup.mode == "open" and setup.rate is not None:
        kind = setup.arrivals or "poisson"
        due = arrivals.schedule(setup.rate, kind, f"{setup.seed}/arrivals", setup.ramp_s)
    else:
        return None
    if setup.requests is None:
        return due
    return (at for _, at in zip(range(setup.requests), due, strict=False))


def due_and_sent(
    setup: Setup, samples: Sequence[Sample], window: tuple[float, float]
) -> tuple[int, int] | None:
    """How many requests were due in the window, and how many of these were sent."""
    begin, end = window
    schedule = times(setup)
    if schedule is None or end <= begin:
        return None
    due = sum(at >= begin for at in takewhile(lambda at: at < end, schedule))
    # To the microsecond, as samples are written.
    sent = sum(
        s.scheduled_at_s is not None and begin <= s.scheduled_at_s + 1e-6 and s.scheduled_at_s < end
        for s in samples
    )
    return due, min(sent, due)


def achieved_rate(samples: Sequence[Sample], window: tuple[float, float]) -> float | None:
    """Requests that were due and sent in the window, a second; None in a closed loop."""
    begin, end = window
    if end <= begin or all(sample.scheduled_at_s is None for sample in samples):
        return None
    sent = sum(
        sample.scheduled_at_s is not None and begin <= sample.started_at_s < end
        for sample in samples
    )
    return round(sent / (end - begin), 4)


def verdicts(setup: Setup, latency: Latency, client: Client) -> Iterator[Verdict]:
    """What to know of how the load came."""
    asked = f"the {setup.rate:g} requests/s" if setup.rate is not None else "what was"
    missing = (client.due or 0) - (client.sent or 0)
    share = max(MISSING_LIMIT, min(MOMENT_LIMIT, MOMENT_S / setup.duration_s))
    short = client.due is not None and missing > max(1.0, share * client.due)
    told = f"{client.sent:,} of {client.due:,} requests that were due were sent" if short else ""
    if client.dropped:
        since = "" if client.first_drop_s is None else f", from {client.first_drop_s:.0f} s on"
        yield Verdict(
            "bad",
            "arrivals_dropped",
            f"{client.dropped:,} requests were due and not sent, because too many were under "
            f"way{since}: the server cannot hold this rate. Until then the load was what was "
            "asked for, and less after it.",
        )
    elif short:
        why = "the client did not keep up: more load processes (--workers), or a lower rate"
        if client.died:
            told = f"{client.sent:,} of {client.due:,} requests that were due are known to be sent"
            why = "no other process took over what the killed load processes had still to send"
        yield Verdict(
            "bad", "rate_missed", f"The load was less than {asked} asked for: {told}; {why}."
        )
    late = client.lateness_p99_s
    if late is not None and late > LATENESS_LIMIT_S:
        typical = latency.ttft_s.p50 if latency.ttft_s else 0.0
        serious = late > LATENESS_SHARE_OF_TTFT * typical
        yield Verdict(
            "warning" if serious else "note",
            "sent_late",
            f"Requests were sent up to {late * 1000:.0f} ms after they were due (p99, because of "
            "the client); latencies count from when they were due.",
        )
