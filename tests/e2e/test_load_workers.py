"""Several load processes: one schedule, no sample lost, and a killed one named."""

import os
import signal
from pathlib import Path

import pytest

from load_parts import finished, loadtest, samples_in, wait_for_samples

SAFE_S = 3.0  # of a run of 4.6 s


def test_workers_share_one_schedule_and_hand_over_every_sample(engine, tmp_path):
    times = {}
    for workers in (1, 3):
        out = tmp_path / str(workers)
        run = loadtest(
            engine, out, "--model", "steady", "--rate", "30", "--arrivals", "gamma:2",
            "--duration", "4.6s", "--warmup", "0s", "--seed", "5", "--workers", workers,
        )  # fmt: skip
        result = finished(run)
        samples = samples_in(out)
        # What is due at the very end is not sent by a client that is kept waiting just then.
        times[workers] = sorted(t for s in samples if (t := s["scheduled_at_s"]) < SAFE_S)
        assert result["client"]["lost_samples"] == 0
        assert result["client"]["died"] == []
        assert len({sample["worker"] for sample in samples}) == workers
        # A dozen are due at 4.5 s, and take 0.48 s.
        outcomes = {sample["outcome"] for sample in samples}
        assert outcomes == {"ok", "incomplete"}  # those cut by the end are handed over too
    # Three processes are due what one is: the same schedule, in parts.
    assert len(times[1]) > 60
    assert times[3] == pytest.approx(times[1], abs=1e-6)
    # Whatever the engine answered is in the results, and nothing else.
    ids = [s["response_id"] for n in times for s in samples_in(tmp_path / str(n))]
    told = [one for one in ids if one is not None]
    assert len(told) == len(set(told))
    sent = engine.sent(*(tmp_path / str(n) for n in times))
    unknown = [sent[key] for key in set(sent) - set(told)]
    # Of those that the end cut before the client had read a word, the engine knows alone.
    assert len(unknown) <= ids.count(None)


def _workers_of(process):
    """The pids of the workers that a deployctl started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        int(child)
        for child in children
        if b"--worker\0" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_a_killed_worker_is_named_and_the_others_go_on(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--users", "4", "--duration", "12s", "--warmup", "0s",
        "--workers", "2",
    )  # fmt: skip
    wait_for_samples(run, out, workers=2)
    victim = _workers_of(run)[0]
    os.kill(victim, signal.SIGKILL)
    result = finished(run)
    (died,) = result["client"]["died"]
    assert f"-{victim} " in died
    verdict = result["verdicts"][0]
    assert (verdict["level"], verdict["code"]) == ("bad", "worker_died")
    assert str(victim) in verdict["text"]
    assert not result["trustworthy"]
    samples = samples_in(out)
    others = [s for s in samples if not s["worker"].endswith(f"-{victim}")]
    assert max(s["started_at_s"] for s in others) > 10
    assert result["client"]["lost_samples"] == 0  # of those that it had handed over


def test_ctrl_c_keeps_what_every_worker_measured(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--rate", "20", "--duration", "60s", "--warmup", "0s",
        "--workers", "2",
    )  # fmt: skip
    wait_for_samples(run, out, workers=2)
    pids = _workers_of(run)
    run.send_signal(signal.SIGINT)
    result = finished(run, code=130)
    assert result["interrupted"]
    assert result["client"]["died"] == []
    assert len({sample["worker"] for sample in samples_in(out)}) == 2
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_users_are_spread_and_end_after_so_many(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--users", "4", "--requests", "21", "--workers", "2"
    )
    result = finished(run)
    assert (result["requests"]["total"], result["requests"]["ok"]) == (21, 21)
    assert len({sample["worker"] for sample in samples_in(out)}) == 2
