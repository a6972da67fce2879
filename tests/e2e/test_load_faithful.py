"""Real Locust against an engine whose every delay and fault is known: is the measure right?"""

import os
import re
import signal
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from load_parts import (
    PATIENCE_S,
    TOKENS,
    again_if_late,
    finished,
    lateness,
    loadtest,
    samples_in,
    tokens_sent,
    wait_for_samples,
)

# Expected outcome of each of the fake engine's MIXED scenarios, in their order.
OUTCOMES = {
    "steady": "ok",
    "four_a_chunk": "ok",
    "split": "ok",
    "coalesced": "ok",
    "no_done": "ok",
    "no_usage": "ok",
    "crlf": "ok",
    "closed_properly": "ok",
    "done_and_hangs": "ok",
    "http_500": "http_error",
    "http_503": "http_error",
    "error_in_stream": "stream_error",
    "garbage": "stream_error",
    "truncated": "truncated",
    "closed_early": "truncated",
    "closed_silently": "truncated",
    "empty": "empty",
    "not_a_stream": "stream_error",
    "silent": "timeout",
}


@again_if_late
def test_times_are_those_at_which_the_engine_sent(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--users", "4", "--duration", "4s", "--warmup", "1s"
    )
    result = finished(run)
    sent = engine.sent(out)
    late = lateness(result, sent)
    samples = samples_in(out)
    good = [s for s in samples if s["outcome"] == "ok"]
    assert len(good) >= 12
    late_first, late_gap = [], []
    for sample in good:
        truth = sent[sample["response_id"]]
        texts = truth["texts"]
        # The role chunk, 100 ms before the first text, must not be what TTFT ends with.
        late_first.append(sample["ttft_s"] - (texts[0] - truth["received"]))
        gaps = [b - a for a, b in pairwise(texts)]
        assert len(sample["chunk_gaps_s"]) == len(gaps) == TOKENS - 1
        late_gap += [abs(a - b) for a, b in zip(sample["chunk_gaps_s"], gaps, strict=True)]
        assert sample["output_tokens"] == TOKENS
        assert sample["tokens_per_chunk"] == 1
    assert 0 <= statistics.median(late_first) < 0.005 + late
    assert statistics.median(late_gap) < 0.002 + late / 2

    # The summary against what the engine itself sent to the requests that it is of.
    measured = [sent[s["response_id"]] for s in good if not s["warmup"]]
    latency = result["latency"]
    first = statistics.median(t["texts"][0] - t["received"] for t in measured)
    assert latency["ttft_s"]["p50"] == pytest.approx(first, abs=0.010 + late)
    gap = statistics.fmean((t["texts"][-1] - t["texts"][0]) / (TOKENS - 1) for t in measured)
    assert latency["itl_s"]["mean"] == pytest.approx(gap, abs=0.003)
    gap = statistics.median((t["texts"][-1] - t["texts"][0]) / (TOKENS - 1) for t in measured)
    assert latency["tpot_s"]["p50"] == pytest.approx(gap, abs=0.003)
    whole = statistics.median(t["texts"][-1] - t["received"] for t in measured)
    assert latency["e2e_s"]["p50"] == pytest.approx(whole, abs=0.010 + late)

    window = result["window_s"]
    tokens, misplaced = tokens_sent(samples, sent, window)
    measured_tokens = result["throughput"]["output_tokens_per_s"] * (window[1] - window[0])
    # A request's tokens are spread evenly over its chunks, so a few are at the window's edges.
    assert measured_tokens == pytest.approx(tokens, abs=4 * 2 + misplaced)
    # Little's law: 4 users, each with TOKENS tokens every E2E seconds.
    expected = 4 * TOKENS / latency["e2e_s"]["mean"]
    assert result["throughput"]["output_tokens_per_s"] == pytest.approx(expected, rel=0.10)
    assert result["requests"]["warmup"] >= 4
    assert 1 <= result["requests"]["incomplete"] <= 4
    # What the client counted is what the engine says it generated, but for what had been
    # generated for the requests that the end cut, and was not read any more.
    server = result["server"]
    assert server["to_the_end"]
    received = len(good) * TOKENS
    received += sum(bool(s["ttft_s"]) + len(s["chunk_gaps_s"]) for s in samples if s not in good)
    assert server["client_output_tokens"] == received
    made = sum(len(sent[s["response_id"]]["texts"]) for s in samples if s["response_id"])
    assert received <= server["output_tokens"] <= made
    assert not [v for v in result["verdicts"] if v["code"] in ("server_differs", "samples_lost")]


@again_if_late
def test_every_fault_is_seen_for_what_it_is_and_none_is_invented(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "mixed", "--users", "1", "--requests", len(OUTCOMES),
        "--timeout", "4s",
    )  # fmt: skip
    result = finished(run)
    samples = samples_in(out)
    seen = {name: s["outcome"] for name, s in zip(OUTCOMES, samples, strict=True)}
    assert seen == OUTCOMES
    by_name = dict(zip(OUTCOMES, samples, strict=True))
    sent = {key.split("-")[2]: told for key, told in engine.sent(out).items()}
    late = lateness(result, sent)

    assert by_name["four_a_chunk"]["tokens_per_chunk"] == 4
    # Two events of one read: a gap of 0 between them, never a microsecond of our own parsing.
    gaps = by_name["coalesced"]["chunk_gaps_s"]
    assert gaps[::2] == [0.0] * (TOKENS // 2)
    assert statistics.median(gaps[1::2]) > 0.010
    times = ("four_a_chunk", "split", "coalesced", "crlf", "no_done", "no_usage")
    for name in (*times, "closed_properly", "done_and_hangs"):
        truth = sent[name]["texts"]
        gaps = [b - a for a, b in pairwise(truth)]
        off = [abs(a - b) for a, b in zip(by_name[name]["chunk_gaps_s"], gaps, strict=True)]
        assert statistics.median(off) < 0.003 + late / 2, name
    assert by_name["no_usage"]["output_tokens"] is None
    # It ends with [DONE], though the body goes on for two seconds more.
    ended = by_name["done_and_hangs"]
    assert ended["duration_s"] == pytest.approx(ended["e2e_s"], abs=0.1)
    assert by_name["http_503"]["http_status"] == 503
    assert by_name["http_503"]["error"] == "told to say http_503"
    assert by_name["error_in_stream"]["error"] == "the engine died"
    truth = sent["truncated"]["texts"][0] - sent["truncated"]["received"]
    assert by_name["truncated"]["ttft_s"] == pytest.approx(truth, abs=0.020 + late)
    assert by_name["truncated"]["e2e_s"] is None
    assert by_name["silent"]["duration_s"] == pytest.approx(4, abs=0.2)

    kinds = {(f["outcome"], f["http_status"]) for f in result["requests"]["failures"]}
    assert ("http_error", 500) in kinds
    assert ("http_error", 503) in kinds
    requests = result["requests"]
    assert requests["ok"] + requests["failed"] == requests["total"] == len(OUTCOMES)
    assert requests["incomplete"] == 0
    assert not result["trustworthy"]
    assert "failures" in [v["code"] for v in result["verdicts"]]


def test_ctrl_c_keeps_what_was_measured(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(engine, out, "--model", "steady", "--duration", "60s", "--warmup", "0s")
    wait_for_samples(run, out)
    run.send_signal(signal.SIGINT)
    result = finished(run, code=130)
    assert result["interrupted"]
    assert result["requests"]["ok"] >= 1
    assert "interrupted" in [v["code"] for v in result["verdicts"]]
    kept = {path.name for path in out.iterdir()}
    assert {"requests.jsonl", "summary.json", "report.html", "locust.log", "junit.xml"} <= kept
    assert not [name for name in kept if name.startswith(("samples-", "worker-"))]


def test_a_server_that_goes_away_is_reported_and_nothing_hangs(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(engine, out, "--model", "steady", "--duration", "6s", "--warmup", "0s")
    wait_for_samples(run, out)
    engine.stop()
    result = finished(run)
    outcomes = {f["outcome"] for f in result["requests"]["failures"]}
    assert "refused" in outcomes
    assert outcomes <= {"refused", "truncated"}
    # A dead server answers at once; four users must not spin on it.
    assert result["requests"]["failed"] < 4 * 6 / 0.25 * 1.5
    # It was not there to tell at the end either, and so is not held against the client.
    codes = [v["code"] for v in result["verdicts"]]
    assert "server_silent" in codes
    assert "server_differs" not in codes


def _locust_of(process):
    """The pid of the load process that a deployctl started."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (pid,) = (int(child) for child in children)
    return pid


def test_a_killed_load_process_leaves_a_result_that_says_so(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(engine, out, "--model", "steady", "--duration", "60s", "--warmup", "0s")
    wait_for_samples(run, out)
    os.kill(_locust_of(run), signal.SIGKILL)
    result = finished(run)
    assert result["requests"]["ok"] >= 1
    assert result["verdicts"][0]["code"] == "client_died"
    assert not result["trustworthy"]


def _runs(pid):
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_no_load_goes_on_when_deployctl_is_killed(engine, tmp_path):
    out = tmp_path / "out"
    run = loadtest(engine, out, "--model", "steady", "--duration", "600s", "--warmup", "0s")
    wait_for_samples(run, out)
    pid = _locust_of(run)
    run.kill()
    run.communicate()
    deadline = time.monotonic() + PATIENCE_S
    while _runs(pid):
        assert time.monotonic() < deadline, "the load process outlived deployctl"
        time.sleep(0.1)


def test_no_result_at_all_is_an_error(engine, tmp_path):
    run = loadtest(
        engine, tmp_path / "out", "--model", "http_500", "--duration", "1s", "--warmup", "0s"
    )
    result = finished(run, code=4)
    assert result["requests"]["ok"] == 0
    assert result["latency"]["ttft_s"] is None
    assert result["verdicts"][0]["code"] == "no_success"


def test_the_locustfile_stands_alone(engine, tmp_path):
    import deployctl_loadtest

    source = Path(deployctl_loadtest.__file__).parent
    copy = tmp_path / "loadtest" / "deployctl_loadtest"
    copy.mkdir(parents=True)
    for path in source.glob("*.py"):
        (copy / path.name).write_text(path.read_text())
    command = [sys.executable, "-m", "locust", "-f", copy / "locustfile.py", "--headless"]
    command += ["--host", engine.url, "--model", "steady", "-u", "2", "-r", "2", "-t", "3s"]
    hidden = {**os.environ, "PYTHONPATH": str(tmp_path / "loadtest")}
    done = subprocess.run(
        [*command, "--only-summary"], capture_output=True, text=True, timeout=PATIENCE_S, env=hidden
    )
    assert done.returncode == 0, done.stderr
    table = done.stdout + done.stderr
    for measure in ("E2E", "TTFT", "TPOT", "ITL"):
        assert re.search(rf"^{measure}\s+/v1/chat/completions", table, re.MULTILINE), table
    ttft = re.search(r"^TTFT.*?\|\s+(\d+)\s", table, re.MULTILINE)
    assert ttft is not None
    late_ms = 1000 * statistics.median(told["late"] for told in engine.sent().values())
    assert 95 <= int(ttft.group(1)) <= 130 + late_ms
