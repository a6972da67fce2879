import pytest

from deployctl.load import aggregate
from deployctl_loadtest.sample import Sample


def sample(**values):
    return Sample(**{"worker": "w", "started_at_s": 0.0, "outcome": "ok", **values})


def test_percentiles_are_linear():
    # The reference: numpy.percentile([1, 2, 3, 4], …, method="linear").
    ordered = [1.0, 2.0, 3.0, 4.0]
    assert aggregate.percentile(ordered, 0.5) == 2.5
    assert aggregate.percentile(ordered, 0.9) == pytest.approx(3.7)
    assert aggregate.percentile(ordered, 0.99) == pytest.approx(3.97)
    assert aggregate.percentile(ordered, 0) == 1.0
    assert aggregate.percentile(ordered, 1) == 4.0
    assert aggregate.percentile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError, match="no values"):
        aggregate.percentile([], 0.5)


def test_a_distribution():
    spread = aggregate.distribution([0.3, 0.1, 0.2])
    assert spread is not None
    assert (spread.count, spread.min, spread.p50, spread.max) == (3, 0.1, 0.2, 0.3)
    assert spread.mean == pytest.approx(0.2)
    assert aggregate.distribution([]) is None


def test_latencies_are_of_those_that_succeeded_and_gaps_are_pooled():
    good = sample(ttft_s=0.1, chunk_gaps_s=[0.01, 0.03], e2e_s=0.14, output_tokens=3)
    long = sample(ttft_s=0.3, chunk_gaps_s=[0.02] * 4, e2e_s=0.38, output_tokens=9)
    bad = sample(outcome="truncated", ttft_s=9.0, chunk_gaps_s=[9.0])
    cut = sample(outcome="incomplete", ttft_s=9.0, chunk_gaps_s=[9.0])
    latency = aggregate.latency([good, long, bad, cut])
    assert latency.ttft_s.count == 2
    assert latency.ttft_s.mean == pytest.approx(0.2)
    assert latency.itl_s.count == 6
    assert latency.itl_s.mean == pytest.approx(0.12 / 6)
    assert latency.tpot_s.min == pytest.approx(0.08 / 8)
    assert latency.tpot_s.max == pytest.approx(0.04 / 2)
    assert latency.e2e_s.max == pytest.approx(0.38)


def test_throughput_counts_what_came_in_the_window():
    # 10 tokens in 5 chunks at 1, 2, 3, 4, 5 s; the window holds the chunks at 2, 3 and 4.
    across = sample(
        ttft_s=1.0, chunk_gaps_s=[1.0] * 4, e2e_s=5.0, output_tokens=10, input_tokens=100
    )
    # Begins and ends inside; cut by the end, so without usage: 2 chunks × 2 tokens a chunk.
    inside = sample(started_at_s=2.0, outcome="incomplete", ttft_s=0.5, chunk_gaps_s=[0.5])
    rate = aggregate.throughput([across, inside], (2.0, 4.5))
    assert rate.output_tokens_per_s == pytest.approx((6 + 4) / 2.5)
    # Only `inside` has its first chunk in the window; its prompt's length is the known average.
    assert rate.input_tokens_per_s == pytest.approx(100 / 2.5)
    assert rate.total_tokens_per_s == pytest.approx(110 / 2.5)
    assert rate.requests_per_s == 0  # the good one ended after the window
    assert aggregate.throughput([across], (2.0, 6.0)).requests_per_s == 0.25
    assert aggregate.throughput([], (0.0, 0.0)).output_tokens_per_s == 0


def test_tokens_are_counted_from_usage_and_chunks_only_stand_in():
    told = sample(ttft_s=1.0, chunk_gaps_s=[0.1], output_tokens=8, input_tokens=5)
    untold = sample(ttft_s=1.0, chunk_gaps_s=[0.0, 0.1])
    tokens = aggregate.tokens([told])
    assert (tokens.output, tokens.counted_by, tokens.per_chunk) == (8, "usage", 4)
    both = aggregate.tokens([told, untold])
    assert both.counted_by == "chunks"
    assert both.output == 8 + 3 * 4
    assert both.coalesced_share == pytest.approx(1 / 3, abs=1e-4)
    assert both.input_mean == 5  # of those that told it
    nothing = aggregate.tokens([])
    assert (nothing.output, nothing.per_chunk) == (0, None)
