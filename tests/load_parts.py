"""A fake engine whose every delay and fault is known, and deployctl loadtest run against it."""

import functools
import json
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from deployctl_loadtest.sample import Sample

ENGINE = Path(__file__).parent / "e2e" / "fake_streaming_engine.py"
TTFT, ITL, TOKENS = 0.100, 0.020, 20  # as the engine has them
PATIENCE_S = 180.0  # on a machine that does other things too
# A machine that lets the engine or the client wait this long spoils what is measured on it.
LATE_S = 0.020
GOES = 3


class FakeEngine:
    def __init__(self, log):
        self._log = log
        self._start()

    def _start(self):
        self._process = subprocess.Popen(
            [sys.executable, ENGINE, self._log], stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def sent(self, *folders):
        """What was really sent, by response id.

        Waits until all that the results in `folders` know of is there: the engine writes an
        answer down when it has ended, and learns late that a client has gone.
        """
        samples = [sample for folder in folders for sample in samples_in(folder)]
        answered = {s["response_id"] for s in samples} - {None}
        deadline = time.monotonic() + PATIENCE_S
        while True:
            text = self._log.read_text()
            whole = text[: text.rfind("\n") + 1]  # it may be writing just now
            told = {(one := json.loads(line))["id"]: one for line in whole.splitlines()}
            if not (missing := answered - set(told)):
                return told
            assert time.monotonic() < deadline, missing
            time.sleep(0.05)

    def restart(self):
        """Begins anew, at another address, with nothing sent."""
        self.stop()
        self._start()

    def freeze(self):
        """It is there and does nothing: what a peer that is gone without a word looks like."""
        self._process.send_signal(signal.SIGSTOP)

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def lateness(result, sent):
    """By how much a typical time may be off through the machine's fault, in seconds: what the
    client and the engine noted of how late they were woken."""
    return result["client"]["lag_p50_s"] + statistics.median(t["late"] for t in sent.values())


def most_late(engine, folder):
    """The longest that either side was kept waiting in the runs in `folder`, in seconds."""
    lates = [told["late"] for told in engine.sent().values()]
    for summary in folder.rglob("summary.json"):
        lates.append(json.loads(summary.read_text())["client"]["lag_max_s"] or 0.0)
    return max(lates, default=0.0)


def again_if_late(test):
    """Another go, `GOES` in all, where a test fails that the machine had kept waiting.

    Only a test of times may need it, and it runs by itself. What fails though nobody was late
    fails at once, and what fails on the last go fails.
    """

    @functools.wraps(test)
    def goes(engine, tmp_path, **more):
        for number in range(1, GOES + 1):
            folder = tmp_path / f"go-{number}"
            folder.mkdir()
            try:
                test(engine=engine, tmp_path=folder, **more)
            except AssertionError:
                if number == GOES or most_late(engine, folder) < LATE_S:
                    raise
                engine.restart()
            else:
                return

    return pytest.mark.alone(goes)


def loadtest(engine, out, *arguments, **more):
    """Starts a load test of the engine; `more` is for Popen."""
    command = [sys.executable, "-m", "deployctl", "loadtest", "--url", engine.url, "--out", out]
    return subprocess.Popen(
        [*map(str, command), *map(str, arguments), "--output", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **more,
    )


def finished(process, code=0, seconds=PATIENCE_S):
    """Waits for its end and returns its answer. Without a `code`, any will do but a bug's."""
    stdout, stderr = process.communicate(timeout=seconds)
    assert process.returncode != 1 if code is None else process.returncode == code, stderr
    assert "Traceback" not in stderr
    return json.loads(stdout)


def refused(process, code=2):
    """Waits for its end, which is a refusal, and returns what it says."""
    _, stderr = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    return stderr


def samples_in(folder):
    """The lines of requests.jsonl."""
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def wait_for_samples(run, folder, workers=1):
    """Waits until every worker of a run has written raw samples."""
    deadline = time.monotonic() + PATIENCE_S
    while sum(path.stat().st_size > 0 for path in folder.glob("samples-*.jsonl")) < workers:
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def tokens_sent(samples, sent, window):
    """How many tokens the engine sent in a run's window, and how many of these the client read
    before or after it (or never): the reading is later than the sending.

    The two clocks are the same one, from different zeros: the request that arrived soonest
    after it was sent tells how far these are apart.
    """
    known = [(s, sent[s["response_id"]]) for s in samples if s["response_id"] in sent]
    apart = min(told["received"] - s["started_at_s"] for s, told in known)
    count = misplaced = 0
    for sample, told in known:
        read = Sample.from_dict(sample).chunk_times()
        for index, text in enumerate(told["texts"]):
            inside = window[0] <= text - apart < window[1]
            seen = index < len(read) and window[0] <= read[index] < window[1]
            count += inside
            misplaced += inside != seen
    return count, misplaced
