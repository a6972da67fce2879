"""A day at 1,000 tokens a second, from the load processes' files to the result: in 1 GB."""

import json
import random
import subprocess
import sys
from itertools import pairwise

import pytest

from deployctl.load import aggregate
from deployctl.load.pooled import Ordered
from deployctl_loadtest.packed import Gaps, Lags

GAPS_A_DAY = 86_400_000
REQUESTS_A_DAY = GAPS_A_DAY / 256  # answers of 256 tokens
BEATS_A_DAY = 86_400 * 20
ROOM = 1_000_000_000  # bytes

MEASURES = """
import sys, dataclasses
from pathlib import Path
from deployctl.load import folder, gate, server, slo, summary, timeline
from deployctl_loadtest import writer
from deployctl_loadtest.result import Setup
where = Path(sys.argv[1])
setup = Setup(None, "http://h:1", "m", "chat", 8, 1e5, 0, 100, 256, True, 7, 60)
samples, reports, lost = writer.read(where)
result = summary.summarize(
    setup, samples, reports, lost=lost, started="2026-11-27T00:00:00", tools={}, server=None
)
buckets = [(0.01, 1.0), (0.05, 100.0), (float("inf"), 100.0)]
assert server.agreements(samples, None, buckets)
level = slo.parse("itl_p99=50ms,ttft_p95=1s,tpot_p50=9ms")
result = gate.hold(result, samples, level, gated=True)
timeline.to_csv(timeline.rows(samples, [], 1000.0))
folder.write(where, result, samples)
assert result.latency.itl_s.count == sum(len(s.chunk_gaps_s) for s in samples) > 0
print(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
"""


def peak(folder, requests, gaps, beats=0):
    """Bytes that it takes to make a result of so many requests of so many gaps each."""
    folder.mkdir()
    source = random.Random(1)
    with (folder / "samples-w.jsonl").open("w") as file:
        for number in range(requests):
            spread = [round(source.lognormvariate(-4, 0.3), 6) for _ in range(gaps)]
            sample = {
                "worker": "w", "response_id": f"chatcmpl-{source.getrandbits(128):032x}",
                "started_at_s": number * 0.001, "ttft_s": source.random(), "chunk_gaps_s": spread,
                "e2e_s": 1.0 + source.random(), "duration_s": 1.0 + source.random(),
                "input_tokens": source.randrange(300, 900), "output_tokens": gaps + 1,
                "tokens_per_chunk": 1.0, "finish_reason": "length", "outcome": "ok",
                "http_status": 200,
            }  # fmt: skip
            file.write(json.dumps(sample) + "\n")
    report = {
        "worker": "w", "started_s": 0.0, "ran_for_s": 1000.0, "samples": requests, "cpu": [],
        "lags_s": [[at * 0.05, source.random()] for at in range(beats)],
    }  # fmt: skip
    (folder / "worker-w.json").write_text(json.dumps(report))
    done = subprocess.run(
        [sys.executable, "-c", MEASURES, str(folder)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024


def test_a_day_fits_into_a_gigabyte(tmp_path):
    few, many = peak(tmp_path / "few", 300, 2000), peak(tmp_path / "many", 300, 8000)
    a_gap = (many - few) / (300 * 6000)
    small, large = peak(tmp_path / "small", 10_000, 2), peak(tmp_path / "large", 40_000, 2)
    a_request = (large - small) / 30_000
    assert a_gap < 6
    assert few + GAPS_A_DAY * a_gap + REQUESTS_A_DAY * a_request < ROOM


def test_gaps_are_kept_to_the_microsecond_as_they_are_written():
    source = random.Random(2)
    seconds = [source.lognormvariate(-4, 2) for _ in range(1000)] + [0.0, 5000.0, -1.0]
    gaps = Gaps(seconds)
    assert list(gaps)[:-3] == [round(gap, 6) for gap in seconds[:-3]]
    assert list(gaps)[-3:] == [0.0, (2**32 - 1) / 1e6, 0.0]
    assert gaps == list(gaps)
    assert gaps[1:3] == list(gaps)[1:3]
    assert gaps.total_s == pytest.approx(sum(gaps))


@pytest.mark.parametrize("median", [-9, -4, 3])
def test_the_order_of_pooled_gaps_is_that_of_their_sorted_list(median):
    source = random.Random(median)
    groups = [
        Gaps(source.lognormvariate(median, 1) for _ in range(source.randrange(9)))
        for _ in range(500)
    ]
    known = sorted(gap for group in groups for gap in group)
    ordered = Ordered(groups)
    assert len(ordered) == len(known)
    for share in (0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0):
        assert aggregate.percentile(ordered, share) == aggregate.percentile(known, share)
    assert ordered[-3:] == known[-3:]
    assert ordered.mean == pytest.approx(sum(known) / len(known))
    assert all(a <= b for a, b in pairwise(ordered[:50]))
    with pytest.raises(IndexError):
        ordered[len(known)]


def test_none_have_no_order():
    assert not Ordered([Gaps(), []])
    assert aggregate.gap_distribution(Ordered([])) is None


def test_the_beats_of_a_day_are_small():
    lags = Lags((at * 0.05, 0.001) for at in range(1000))
    assert lags[999] == (999 * 0.05, 0.001)
    assert sum(lag for _, lag in lags) == pytest.approx(1.0)
    assert sys.getsizeof(lags._numbers) / 1000 * BEATS_A_DAY < 40e6
