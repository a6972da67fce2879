"""How far a client's account is from the truth. Pure.

Errors are reported − true, in seconds. A stream is compared by what the client took for its
chunks: the text events; or the role chunk and the text events, as some do; or the writes,
where events of one write are taken for one chunk. What fits none of these is counted as
misread, never left out in silence.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from statistics import fmean
from typing import Any

from benchmarks.fidelity.readings import Account, Reading
from benchmarks.fidelity.truth import Sent, Truth, percentile


@dataclasses.dataclass
class Judgement:
    """The errors of all streams of a run."""

    ttft_s: list[float] = dataclasses.field(default_factory=list)
    ttft_by_text_s: list[float] = dataclasses.field(default_factory=list)  # whatever it counts
    gap_s: list[float] = dataclasses.field(default_factory=list)
    mean_gap_s: list[float] = dataclasses.field(default_factory=list)
    lag_s: list[float] = dataclasses.field(default_factory=list)
    compared: int = 0
    misread: int = 0  # streams whose chunks fit no definition
    unknown: int = 0  # successes that name no stream of the server's
    role_counted: int = 0
    merged: int = 0
    missed: int = 0  # failures taken for successes
    invented: int = 0  # successes taken for failures


def judge(truth: Truth, account: Account) -> Judgement:
    """Holds every reading against its stream."""
    found = Judgement()
    lags: list[float] = []
    for reading in account.readings:
        sent = truth.streams.get(-1 if reading.stream is None else reading.stream)
        if sent is None:
            found.unknown += 1
        elif sent.fault is not None:
            found.missed += 1
        else:
            found.compared += 1
            _compare(sent, reading, found, lags)
    faults = sum(sent.fault is not None for sent in truth.streams.values())
    # Failures that the client names are not matched one by one: it may have no id for them.
    found.invented = max(0, account.failed - (faults - found.missed))
    # A client's clock may be any: its quickest chunk of all is taken for one without lag.
    quickest = min(lags, default=0.0)
    found.lag_s = [lag - quickest for lag in lags]
    return found


def _compare(sent: Sent, reading: Reading, found: Judgement, lags: list[float]) -> None:
    found.ttft_by_text_s.append(reading.ttft_s - (sent.texts[0] - sent.begun))
    stamps = _stamps(sent, reading, found)
    if stamps is None:
        found.misread += 1
        return
    found.ttft_s.append(reading.ttft_s - (stamps[0] - sent.begun))
    true_gaps = [b - a for a, b in pairwise(stamps)]
    if true_gaps:
        gaps = reading.gaps_s
        mean = fmean(gaps) if gaps else reading.mean_gap_s
        if mean is not None:
            found.mean_gap_s.append(mean - fmean(true_gaps))
    if reading.gaps_s is not None:
        found.gap_s += [said - true for said, true in zip(reading.gaps_s, true_gaps, strict=True)]
    if reading.started_s is not None:
        seen = accumulate([reading.started_s + reading.ttft_s, *(reading.gaps_s or ())])
        lags += [at - stamp for at, stamp in zip(seen, stamps, strict=False)]


def _stamps(sent: Sent, reading: Reading, found: Judgement) -> Sequence[float] | None:
    """When the events were sent that the client took for chunks; None if there are no such."""
    texts = sent.texts
    if reading.gaps_s is None:
        # Nearest of the two: a client that gives no gaps does not say what it counted.
        if sent.role is not None and abs(reading.ttft_s - (sent.role - sent.begun)) < abs(
            reading.ttft_s - (texts[0] - sent.begun)
        ):
            found.role_counted += 1
            return (sent.role, *texts)
        return texts
    chunks = len(reading.gaps_s) + 1
    if chunks == len(texts):
        return texts
    if sent.role is not None and chunks == len(texts) + 1:
        found.role_counted += 1
        return (sent.role, *texts)
    writes = tuple(dict.fromkeys(texts))
    if chunks == len(writes):
        found.merged += 1
        return writes
    return None


def window(truth: Truth, account: Account) -> tuple[float, float]:
    """From the first request that the client reports to the end of the last, monotonic seconds."""
    named = {reading.stream for reading in account.readings} & set(truth.streams)
    streams = [truth.streams[n] for n in named if n is not None] or list(truth.streams.values())
    return min(s.begun for s in streams), max(s.ended for s in streams)


def arrivals(truth: Truth, account: Account) -> float | None:
    """Requests a second as they reached the server, of those that the client reports."""
    begun = sorted(
        truth.streams[r.stream].begun for r in account.readings if r.stream in truth.streams
    )
    return (len(begun) - 1) / (begun[-1] - begun[0]) if len(begun) > 1 else None


def spread(errors: Iterable[float]) -> dict[str, Any] | None:
    """p50, p99 and max of the errors' size, in ms, and how many there are."""
    sizes = [abs(error) * 1000 for error in errors]
    if not sizes:
        return None
    return {
        "p50_ms": round(percentile(sizes, 0.5), 4),
        "p99_ms": round(percentile(sizes, 0.99), 4),
        "max_ms": round(max(sizes), 4),
        "count": len(sizes),
    }
