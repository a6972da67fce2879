import json

import pytest

from deployctl_loadtest import priority, writer
from deployctl_loadtest.heartbeat import PERIOD, Heartbeat
from deployctl_loadtest.request import headers
from deployctl_loadtest.sample import Sample, WorkerReport


def sample(**values):
    return Sample(**{"worker": "w", "started_at_s": 0.0, "outcome": "ok", **values})


def report(worker, samples):
    return WorkerReport(worker, 1.8e9, 10.0, samples, [(1.0, 0.5)], [(0.1, 0.001)])


def test_tpot_is_the_time_after_the_first_token_by_token():
    # Four tokens: the first, then three in 0.6 s, whatever the chunks.
    assert sample(ttft_s=1.0, chunk_gaps_s=[0.2, 0.4], output_tokens=4).tpot_s == pytest.approx(0.2)
    assert sample(ttft_s=1.0, chunk_gaps_s=[], output_tokens=1).tpot_s is None
    assert sample(ttft_s=1.0, chunk_gaps_s=[0.2], output_tokens=None).tpot_s is None
    assert (
        sample(outcome="truncated", ttft_s=1.0, chunk_gaps_s=[0.2], output_tokens=2).tpot_s is None
    )


def test_chunk_times_and_counts():
    one = sample(started_at_s=5.0, ttft_s=1.0, chunk_gaps_s=[0.5, 0.25])
    assert one.chunk_times() == [6.0, 6.5, 6.75]
    assert one.chunks == 3
    assert sample().chunk_times() == []
    assert sample().chunks == 0


def test_cut_by_the_end_is_no_failure():
    assert not sample(outcome="incomplete").failed
    assert not sample(outcome="ok").failed
    assert sample(outcome="refused").failed


def test_what_is_written_is_read_back_in_order_of_start(tmp_path):
    first, second = writer.SampleWriter(tmp_path, "1"), writer.SampleWriter(tmp_path, "2")
    first.write(sample(started_at_s=2.0, response_id="c"))
    second.write(sample(started_at_s=1.0, response_id="b", chunk_gaps_s=[0.1234567]))
    first.write(sample(started_at_s=0.5, response_id="a"))
    first.close(report("1", 2))
    second.close(report("2", 1))
    samples, reports, lost = writer.read(tmp_path)
    assert [(s.response_id, s.index) for s in samples] == [("a", 0), ("b", 1), ("c", 2)]
    assert samples[1].chunk_gaps_s == [0.123457]
    assert [r.worker for r in reports] == ["1", "2"]
    assert reports[0].cpu == [(1.0, 0.5)]
    assert lost == 0


def test_lost_samples_are_counted(tmp_path):
    killed = writer.SampleWriter(tmp_path, "1")
    killed.write(sample())
    killed.flush()
    with (tmp_path / "samples-1.jsonl").open("a") as file:
        file.write('{"worker": "1", "star')
    assert writer.read(tmp_path)[2] == 1
    killed.close(report("1", 5))  # says that it wrote five
    (tmp_path / "samples-1.jsonl").write_text(json.dumps(sample().to_dict()) + "\n")
    assert writer.read(tmp_path)[2] == 4


@pytest.mark.parametrize("left", ["", '{"worker": "1", "star', "[]"])
def test_a_report_that_a_full_disk_cut_is_none(tmp_path, left):
    full = writer.SampleWriter(tmp_path, "1")
    full.write(sample())
    full.close(report("1", 1))
    (tmp_path / "worker-1.json").write_text(left)
    samples, reports, lost = writer.read(tmp_path)
    assert (len(samples), reports, lost) == (1, [], 0)


def test_no_compression_is_asked_for():
    assert headers(None)["Accept-Encoding"] == "identity"
    assert "Authorization" not in headers(None)
    assert headers("k")["Authorization"] == "Bearer k"


def test_a_late_timer_is_noticed():
    heart = Heartbeat(started=100.0)
    heart.beat(100.0 + PERIOD)
    heart.beat(100.0 + 2 * PERIOD + 0.3)
    heart.beat(100.0 + 3 * PERIOD + 0.3)
    assert [lag for _, lag in heart.lags_s] == pytest.approx([0.0, 0.3, 0.0], abs=1e-6)


def test_the_best_scheduling_allowed_is_taken(monkeypatch):
    def refuse(*_):
        raise PermissionError

    asked = []
    monkeypatch.setattr(priority.os, "sched_setscheduler", lambda *a: asked.append(a))
    assert priority.raise_priority() == "realtime"
    assert asked[0][0] == 0  # itself
    monkeypatch.setattr(priority.os, "sched_setscheduler", refuse)
    monkeypatch.setattr(priority.os, "setpriority", lambda *a: None)
    assert priority.raise_priority() == "nice"
    monkeypatch.setattr(priority.os, "setpriority", refuse)
    assert priority.raise_priority() == "normal"
