import io
import math

from rich.console import Console

from deployctl.cli import metrics as metricsview
from deployctl.metrics import Histogram, Snapshot
from deployctl.metrics.figures import between, since_start

TTFT = Histogram(((0.3, 8.0), (0.5, 10.0), (math.inf, 10.0)), 2.5, 10)


def snapshot(at=0.0, tokens=100.0, **values):
    base = dict.fromkeys(Snapshot._fields)
    return Snapshot(**{**base, "at_s": at, "generation_tokens": tokens, "ttft": TTFT, **values})


def shown(figures):
    console = Console(file=io.StringIO(), width=100, no_color=True)
    console.print(metricsview.table("svc", figures))
    return console.file.getvalue()


def test_once_is_labelled_as_since_the_start():
    text = shown(since_start(snapshot(started_unix_s=1000.0), 1100.0))
    assert "totals and averages since the engine started, 1 min 40 s ago" in text
    assert "100 · 1.0/s" in text


def test_what_an_engine_does_not_tell_is_not_shown_as_zero():
    text = shown(since_start(snapshot(tokens=None, ttft=None), 0.0))
    assert "? running · ? waiting" in text
    assert text.count("not reported") >= 2
    assert "TTFT" not in text


def test_an_estimate_within_the_lowest_bucket_is_not_invented():
    row = next(line for line in shown(since_start(snapshot(), 0.0)).splitlines() if "TTFT" in line)
    # mean 250; p50 and more lie below 300 until rank 8 of 10; p90 = 300 + 200 × 1/2.
    assert row.split() == ["TTFT", "ms", "250.0", "<300", "400.0", "450.0", "490.0", "10"]


def test_a_line_for_a_pipe():
    figures = between(snapshot(ttft=None), snapshot(at=2.0, tokens=150.0, running=1, waiting=0))
    assert metricsview.line(figures) == (
        "1 running · 0 waiting · KV cache not reported · 25.0 output tok/s · 0.0 prompt tok/s · "
        "TTFT p95 450 ms"
    )
