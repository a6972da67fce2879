"""The client's figures held against the server's own histograms. Pure.

A histogram says only in which bucket a percentile lies. The client agrees if its own lies in
that bucket or within the bucket's width of it: what a server counts begins after its front end
has read the request, and ends before the network.
"""

import math
from collections.abc import Sequence

from deployctl.load import aggregate
from deployctl_loadtest.result import Agreement
from deployctl_loadtest.sample import Sample

Buckets = Sequence[tuple[float, float]]  # (upper bound in seconds, count at or below)
_SHARES = (0.5, 0.95)
_ONE_EACH = 1.05  # tokens a chunk: above it, gaps between chunks are none between tokens


def compare(
    samples: Sequence[Sample], ttft: Buckets | None, itl: Buckets | None
) -> list[Agreement]:
    """TTFT and ITL of the whole run: everything that the server saw too, failures included."""
    seen = [sample for sample in samples if sample.ttft_s is not None]
    firsts = [
        # The server's clock starts when the request comes, however late it was sent.
        (sample.ttft_s or 0.0) - (sample.started_at_s - sample.begun_at_s)
        for sample in seen
    ]
    found = _compare("ttft", firsts, ttft)
    if aggregate.tokens_a_chunk(seen) <= _ONE_EACH:
        found += _compare("itl", [gap for s in seen for gap in s.chunk_gaps_s], itl)
    return found


def _compare(name: str, values: list[float], buckets: Buckets | None) -> list[Agreement]:
    if not values or not buckets or buckets[-1][1] <= 0:
        return []
    values.sort()
    return [_agreement(f"{name}_p{share * 100:g}", values, buckets, share) for share in _SHARES]


def _agreement(name: str, ordered: list[float], buckets: Buckets, share: float) -> Agreement:
    rank = share * buckets[-1][1]
    index = next(i for i, (_, count) in enumerate(buckets) if count >= rank)
    low = buckets[index - 1][0] if index else 0.0
    high = buckets[index][0]
    client = aggregate.percentile(ordered, share)
    width = high - low
    if math.isinf(high):
        gap, agrees = min(0.0, client - low), client >= low
    else:
        gap = client - min(max(client, low), high)
        agrees = abs(gap) <= width
    return Agreement(
        name=name,
        client_s=round(client, 6),
        server_low_s=low,
        server_high_s=None if math.isinf(high) else high,
        gap_s=round(gap, 6),
        agrees=agrees,
    )
