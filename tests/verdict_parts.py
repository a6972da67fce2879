"""Parts for tests of verdicts: a run that is held to an SLO, and a sweep of such runs."""

from deployctl.load import gate, slo
from deployctl.load.summary import summarize
from deployctl_loadtest.result import Server, Setup
from deployctl_loadtest.sample import Sample, WorkerReport
from deployctl_loadtest.series import Point, Series

HELD = "ttft_p95=500ms,error_rate=50%"
MISSED = "ttft_p95=100ms,itl_p99.9=50ms"


def made(text=HELD, *, count=200, model="m", cpu=0.2, agreement=()):
    setup = Setup(None, "http://h:1", model, "chat", 2, 10, 0, 10, 5, True, 1, 60)
    samples = [
        Sample(
            worker="w", started_at_s=i / 20, outcome="ok", ttft_s=0.1 + (i * 37 % 200) / 1000,
            chunk_gaps_s=[0.02] * 4, e2e_s=0.4, duration_s=0.4, input_tokens=10, output_tokens=5,
            index=i,
        )
        for i in range(count)
    ]  # fmt: skip
    report = WorkerReport("w", 1.8e9, 10.0, count, [(5.0, cpu)], [(5.0, 0.001)])
    server = Server(
        count * 5, 1000, 0, 0.09, 0.02, 0.0, 3, 0.0, running_max=2, waiting_max=1,
        kv_cache_usage_max=0.5, agreement=list(agreement),
    )  # fmt: skip
    result = summarize(
        setup, samples, [report], lost=0, started="2026-11-24T07:45:00+00:00", tools={},
        server=server,
    )  # fmt: skip
    level = None if text is None else slo.parse(text)
    return gate.hold(result, samples, level, gated=text is not None), samples


def sweep():
    points = [
        Point(value, f"users-{value:g}", made(text)[0])
        for value, text in ((1.0, HELD), (2.0, HELD), (4.0, MISSED))
    ]
    return Series(1, "sweep", "2026-11-24T07:45:00+00:00", "users", points)
