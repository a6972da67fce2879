"""Percentiles and rates from raw samples. Pure.

The definitions are the field's where it has one, and said where it has several:
TTFT is send to the first chunk with text; ITL the gaps between such chunks, pooled; TPOT
(last − first text) ÷ (tokens − 1), one a request; E2E send to last text.
"""

import math
from collections.abc import Iterable, Sequence

from deployctl.load.pooled import Ordered
from deployctl_loadtest.result import Distribution, Latency, Throughput, Tokens
from deployctl_loadtest.sample import Sample


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value below which `share` (0 to 1) of `ordered` lies, linearly interpolated.

    As numpy.quantile, which takes a hundred times as long for the few values of one request.

    Raises:
        ValueError: there are no values.
    """
    if not ordered:
        raise ValueError("no values")
    position = share * (len(ordered) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def distribution(values: Iterable[float]) -> Distribution | None:
    """Summarizes values in seconds, to the microsecond; None if there are none."""
    import numpy as np

    array = np.fromiter(values, dtype=float)
    if not array.size:
        return None
    p50, p90, p95, p99 = np.quantile(array, (0.5, 0.9, 0.95, 0.99)).tolist()
    return Distribution(
        count=array.size,
        mean=round(float(array.mean()), 6),
        min=round(float(array.min()), 6),
        p50=round(p50, 6),
        p90=round(p90, 6),
        p95=round(p95, 6),
        p99=round(p99, 6),
        max=round(float(array.max()), 6),
    )


def gap_distribution(gaps: Ordered) -> Distribution | None:
    """Summarizes gaps; None if there are none."""
    if not gaps:
        return None
    p50, p90, p95, p99 = (round(percentile(gaps, share), 6) for share in (0.5, 0.9, 0.95, 0.99))
    return Distribution(
        count=len(gaps),
        mean=round(gaps.mean, 6),
        min=gaps[0],
        p50=p50,
        p90=p90,
        p95=p95,
        p99=p99,
        max=gaps[-1],
    )


def latency(measured: Sequence[Sample]) -> Latency:
    """Latencies of the requests that succeeded."""
    good = [sample for sample in measured if sample.outcome == "ok"]
    return Latency(
        ttft_s=distribution(s.ttft_s for s in good if s.ttft_s is not None),
        itl_s=gap_distribution(Ordered(s.chunk_gaps_s for s in good)),
        tpot_s=distribution(s.tpot_s for s in good if s.tpot_s is not None),
        e2e_s=distribution(s.e2e_s for s in good if s.e2e_s is not None),
    )


def tokens_a_chunk(samples: Iterable[Sample]) -> float:
    """Tokens a text chunk, over the requests whose usage the server told; else 1."""
    tokens = chunks = 0
    for sample in samples:
        if sample.output_tokens is not None and sample.chunks:
            tokens += sample.output_tokens
            chunks += sample.chunks
    return tokens / chunks if chunks else 1.0


def output_tokens(sample: Sample, per_chunk: float) -> float:
    """Tokens of one request: as the server counted, or its chunks × the run's average."""
    if sample.output_tokens is not None:
        return float(sample.output_tokens)
    return sample.chunks * per_chunk


def requests_per_s(samples: Sequence[Sample], window: tuple[float, float]) -> float:
    """Requests that ended well in the window, whenever they began."""
    begin, end = window
    done = sum(
        begin <= sample.chunk_times()[-1] < end
        for sample in samples
        if sample.outcome == "ok" and sample.ttft_s is not None
    )
    return round(done / (end - begin), 4) if end > begin else 0.0


def throughput(samples: Sequence[Sample], window: tuple[float, float]) -> Throughput:
    """What came in during the window, of whichever request: also those that began before
    it or were cut by its end. A request's tokens are spread evenly over its chunks, and
    its prompt counts when its first chunk comes."""
    begin, end = window
    seconds = end - begin
    if seconds <= 0:
        return Throughput(0.0, 0.0, 0.0, 0.0)
    per_chunk = tokens_a_chunk(samples)
    # A server that tells its usage last tells none for a request cut short; take the average.
    known = [s.input_tokens for s in samples if s.input_tokens is not None]
    input_mean = sum(known) / len(known) if known else 0.0
    out = inn = 0.0
    for sample in samples:
        times = sample.chunk_times()
        if not times:
            continue
        inside = sum(begin <= at < end for at in times)
        out += output_tokens(sample, per_chunk) * inside / len(times)
        if begin <= times[0] < end:
            inn += sample.input_tokens if sample.input_tokens is not None else input_mean
    return Throughput(
        requests_per_s=requests_per_s(samples, window),
        output_tokens_per_s=round(out / seconds, 3),
        input_tokens_per_s=round(inn / seconds, 3),
        total_tokens_per_s=round((out + inn) / seconds, 3),
    )


def tokens(measured: Sequence[Sample]) -> Tokens:
    """Token counts of the requests that succeeded."""
    good = [sample for sample in measured if sample.outcome == "ok"]
    told = all(sample.output_tokens is not None for sample in good)
    per_chunk = tokens_a_chunk(good)
    out = round(sum(output_tokens(sample, per_chunk) for sample in good))
    prompts = [sample.input_tokens for sample in good if sample.input_tokens is not None]
    gaps = sum(len(sample.chunk_gaps_s) for sample in good)
    at_once = sum(sample.chunk_gaps_s.microseconds.count(0) for sample in good)
    return Tokens(
        input=sum(prompts),
        output=out,
        input_mean=round(sum(prompts) / len(prompts), 2) if prompts else None,
        output_mean=round(out / len(good), 2) if good else None,
        per_chunk=round(per_chunk, 4) if good else None,
        counted_by="usage" if told else "chunks",
        coalesced_share=round(at_once / gaps, 4) if gaps else None,
    )
