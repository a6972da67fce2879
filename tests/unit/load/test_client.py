import pytest

from deployctl.load import client
from deployctl_loadtest.result import Latency, Setup
from deployctl_loadtest.sample import Sample, WorkerReport

WINDOW = (0.0, 10.0)


def setup(**more):
    return Setup(None, "http://h:1", "m", "chat", 0, 10, 0, 10, 5, True, 1, 60, **more)


def report(worker="a", cpu=0.2, **more):
    ticks = [(float(at), cpu) for at in range(1, 11)]
    return WorkerReport(worker, 1.8e9, 10.0, 0, ticks, [(1.0, 0.001)], **more)


def due(at, late=0.001, worker="a"):
    return Sample(
        worker=worker, started_at_s=at + late, scheduled_at_s=at, lateness_s=late, outcome="ok"
    )


def codes(setup_, samples, reports):
    described = client.describe(setup_, samples, reports, WINDOW, 0)
    found = client.verdicts(setup_, Latency(None, None, None, None), described)
    return {verdict.code: verdict for verdict in found}, described


def test_lateness_and_the_rate_that_was_achieved():
    samples = [due(k / 10, late=0.002 if k % 2 else 0.0) for k in range(100)]
    found, described = codes(
        setup(mode="open", rate=10.0, arrivals="constant"), samples, [report()]
    )
    assert described.achieved_rate == pytest.approx(10)
    assert (described.lateness_p50_s, described.lateness_max_s) == (0.001, 0.002)
    assert (described.due, described.sent) == (100, 100)
    assert found == {}
    closed = [Sample(worker="a", started_at_s=1.0, outcome="ok")]
    _, described = codes(setup(), closed, [report()])
    assert described.achieved_rate is None
    assert described.lateness_p99_s is None


def test_a_late_client_and_dropped_arrivals_are_told():
    samples = [due(k / 10, late=0.2) for k in range(100)]
    found, described = codes(
        setup(mode="open", rate=10.0, arrivals="constant"),
        samples,
        [report(dropped=7, first_drop_s=4.2)],
    )
    assert found["sent_late"].level == "warning"
    assert found["arrivals_dropped"].level == "bad"
    assert "7 requests" in found["arrivals_dropped"].text
    assert "from 4 s on" in found["arrivals_dropped"].text
    assert described.dropped == 7


@pytest.mark.parametrize(
    ("workers", "cpu", "needed"), [(1, 0.9, 2), (1, 1.0, 2), (2, 0.9, 3), (4, 0.95, 7)]
)
def test_how_many_workers_would_do(workers, cpu, needed):
    reports = [report(str(index), cpu) for index in range(workers)]
    found, described = codes(setup(workers=workers), [], reports)
    assert described.workers_needed == needed
    assert f"{needed} processes" in found["client_bottleneck"].text
    # With so many, each has a share of the work that fits its core.
    assert workers * cpu / needed <= 0.85


def test_a_worker_without_a_last_word_is_named():
    samples = [due(1.0, worker="host-1"), due(2.0, worker="host-2")]
    found, described = codes(
        setup(mode="open", rate=1.0, arrivals="constant", workers=3), samples, [report("host-1")]
    )
    assert "2 of 10 requests" in found["rate_missed"].text
    assert "killed" in found["rate_missed"].text
    assert described.died == ["host-2 (last report at 2.0 s)", "one that never reported"]
    assert "2 of 3 load processes" in found["worker_died"].text
    found, _ = codes(setup(mode="open", rate=0.1, arrivals="constant"), samples[:1], [])
    assert set(found) == {"client_died"}


@pytest.mark.parametrize(
    "error", ["OSError: [Errno 24] Too many open files", "OSError: [Errno 99] Cannot assign"]
)
def test_what_the_client_had_no_room_for_is_not_the_servers_refusal(error):
    samples = [Sample(worker="a", started_at_s=1.0, outcome="refused", error=error)]
    samples.append(Sample(worker="a", started_at_s=1.0, outcome="refused", error="[Errno 111] no"))
    found, described = codes(setup(), samples, [report()])
    assert described.exhausted == 1
    assert found["client_exhausted"].level == "bad"


@pytest.mark.parametrize(("missing", "told"), [(4, False), (8, True)])
def test_a_moment_at_the_end_of_a_short_run_is_no_missed_rate(missing, told):
    samples = [due(k / 10) for k in range(100 - missing)]
    found, described = codes(
        setup(mode="open", rate=10.0, arrivals="constant"), samples, [report()]
    )
    assert described.due - described.sent == missing
    assert ("rate_missed" in found) == told
