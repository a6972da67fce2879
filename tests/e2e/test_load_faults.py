"""A server that fails at once, falls silent or never reads; more than can be served; a full disk.

No test here measures a time: each says what a result must hold however slow the machine is.
"""

import json
import resource
import socket
import threading
from contextlib import suppress
from itertools import takewhile

import pytest

from deployctl_loadtest import arrivals
from load_parts import PATIENCE_S, finished, loadtest, samples_in, wait_for_samples


def codes(result):
    return {verdict["code"] for verdict in result["verdicts"]}


def adds_up(result, out):
    """Every request is in the result once, whatever became of it."""
    requests, samples = result["requests"], samples_in(out)
    assert requests["total"] + requests["warmup"] == len(samples)
    assert requests["ok"] + requests["failed"] + requests["incomplete"] == requests["total"]
    assert sum(f["count"] for f in requests["failures"]) == requests["failed"]
    assert result["client"]["lost_samples"] == 0
    assert result["client"]["died"] == []
    return samples


class Vanishing:
    """Lists its model, and stops listening when it is first asked for an answer."""

    def __init__(self):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self):
        with self._listener:
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    head = connection.recv(65536)
                    if head.startswith(b"POST /v1/") or not head:
                        return
                    listed = head.startswith(b"GET /v1/models ")
                    body = json.dumps({"data": [{"id": "gone"}]}).encode()
                    status = b"200 OK" if listed else b"404 Not Found"
                    connection.sendall(
                        b"HTTP/1.1 %b\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%b"
                        % (status, len(body), body)
                    )

    def stop(self):
        with suppress(OSError), socket.create_connection(self._listener.getsockname()):
            pass  # an empty request ends it, if it still listens
        self._thread.join()


@pytest.fixture
def vanishing():
    server = Vanishing()
    yield server
    server.stop()


def test_thousands_of_failures_a_second_are_all_told_in_few_lines(vanishing, tmp_path):
    out, rate = tmp_path / "out", 10_000
    run = loadtest(
        vanishing, out, "--model", "gone", "--rate", rate, "--arrivals", "constant",
        "--duration", "3s", "--warmup", "0s", "--workers", "2",
    )  # fmt: skip
    result = finished(run, code=4)
    samples = adds_up(result, out)
    assert result["requests"]["failed"] > 300
    failures = result["requests"]["failures"]
    assert {f["outcome"] for f in failures} <= {"refused", "truncated"}
    assert len(failures) <= 2
    assert "Connection refused" in next(f["example"] for f in failures if f["outcome"] == "refused")
    assert result["verdicts"][0]["code"] == "no_success"
    # Either the client sent what was due, or it says that it did not.
    client = result["client"]
    assert client["due"] == pytest.approx(rate * result["window_s"][1], abs=2)
    assert client["sent"] <= len(samples)
    if client["sent"] < 0.94 * client["due"]:
        assert {"rate_missed", "arrivals_dropped"} & codes(result)
    # The report is for people, however many failed.
    assert (out / "report.html").stat().st_size < 1_000_000
    assert (out / "summary.json").stat().st_size < 20_000


def test_a_server_that_falls_silent_is_timed_out(engine, tmp_path):
    # More connections than its backlog takes: some are cut in a stream, some are never read
    # from, and the last are never accepted.
    out = tmp_path / "out"
    run = loadtest(
        engine, out, "--model", "steady", "--rate", "60", "--arrivals", "constant", "--timeout",
        "2s", "--duration", "12s", "--warmup", "0s", "--workers", "2",
    )  # fmt: skip
    wait_for_samples(run, out)
    engine.freeze()
    result = finished(run, code=None, seconds=PATIENCE_S)
    samples = adds_up(result, out)
    kinds = {sample["outcome"] for sample in samples}
    assert kinds <= {"ok", "timeout", "incomplete"}
    late = [s for s in samples if s["outcome"] == "timeout"]
    assert len(late) > 20
    assert min(s["duration_s"] for s in late) >= 1.99
    assert any(s["http_status"] is None for s in late)
    # Those that wait are no reason to send less.
    assert result["client"]["sent"] >= 0.94 * result["client"]["due"] or "rate_missed" in codes(
        result
    )


def test_the_load_stays_what_was_asked_for_until_the_client_says_that_it_cannot(engine, tmp_path):
    # 8.3 a second are served of 300; a process has at most so many files open.
    out, rate, files = tmp_path / "out", 300, 1000
    run = loadtest(
        engine, out, "--model", "four_at_once", "--rate", rate, "--arrivals", "constant",
        "--duration", "8s", "--warmup", "0s",
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )  # fmt: skip
    result = finished(run, code=None, seconds=PATIENCE_S)
    samples = adds_up(result, out)
    client = result["client"]
    assert client["dropped"] > 0
    assert "arrivals_dropped" in codes(result)
    # What is due at the very end is neither, where the client is kept waiting just then.
    known = client["sent"] + client["dropped"]
    assert client["due"] - 2 * rate <= known <= client["due"] + 1
    # Until then, each was sent: as many as were due, at the times at which they were due.
    schedule = takewhile(
        lambda at: at < client["first_drop_s"] - 1e-3, arrivals.schedule(rate, "constant", "")
    )
    scheduled = [s["scheduled_at_s"] for s in samples if s["scheduled_at_s"] is not None]
    due = list(schedule)
    assert sorted(scheduled)[: len(due)] == pytest.approx(due, abs=1e-5)
    # Never more under way than it may have, and latencies that grow with the queue.
    assert len(due) < files + 8.4 * client["first_drop_s"] + 50
    answered = [s for s in samples if s["outcome"] == "ok"]
    assert answered[-1]["ttft_s"] > 3 * answered[0]["ttft_s"]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_is_full_ends_the_run_and_keeps_what_there_is(engine, tmp_path, workers):
    # A limit on the size of a file fails a write as a full disk does.
    out, most = tmp_path / "out", 60_000
    run = loadtest(
        engine, out, "--model", "http_503", "--rate", "200", "--duration", "60s", "--warmup", "0s",
        "--workers", workers,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
    )  # fmt: skip
    stdout, stderr = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 4, stderr
    assert "Traceback" not in stderr
    assert "File too large" in stderr
    assert "hint:" in stderr
    assert '"disk_full"' in stdout  # its figures are told all the same, with why they are few
    assert '"worker_died"' not in stdout
    assert '"client_died"' not in stdout
    kept = {path.name for path in out.iterdir()}
    if "summary.json" in kept:  # the result is as large as the samples: it may just fit
        assert "requests.jsonl" in kept
        assert '"disk_full"' in (out / "summary.json").read_text()
    else:
        assert any(name.startswith("samples-") for name in kept)
        assert "requests.jsonl" not in kept  # no half that would pass for a whole


def test_a_result_that_cannot_be_written_at_the_end_still_tells_the_figures(engine, tmp_path):
    out = tmp_path / "out"
    (out / "requests.jsonl" / "in the way").mkdir(parents=True)
    run = loadtest(engine, out, "--model", "steady", "--requests", "4")
    stdout, stderr = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 4, stderr
    assert "the result could not be written: Is a directory" in stderr
    assert '"ok": 4' in stdout
    assert [path for path in out.iterdir() if path.name.startswith("samples-")]
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_two_loads_at_once_do_not_take_each_others_port(engine, tmp_path):
    words = ("--model", "steady", "--users", "2", "--requests", "4", "--workers", "2")
    runs = [loadtest(engine, tmp_path / str(number), *words) for number in range(2)]
    for run in runs:
        assert finished(run, seconds=PATIENCE_S)["requests"]["ok"] == 4
