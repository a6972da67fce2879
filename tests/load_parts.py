"""A fake engine whose every delay and fault is known, and deployctl loadtest run against it."""

import json
import subprocess
import sys
import time
from pathlib import Path

ENGINE = Path(__file__).parent / "e2e" / "fake_streaming_engine.py"
TTFT, ITL, TOKENS = 0.100, 0.020, 20  # as the engine has them


class FakeEngine:
    def __init__(self, log):
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, ENGINE, log], stdout=subprocess.PIPE, text=True
        )
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"

    def sent(self):
        """What was really sent, by response id."""
        return {
            (told := json.loads(line))["id"]: told for line in self._log.read_text().splitlines()
        }

    def stop(self):
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def loadtest(engine, out, *arguments):
    """Starts a load test of the engine."""
    command = [sys.executable, "-m", "deployctl", "loadtest", "--url", engine.url, "--out", out]
    return subprocess.Popen(
        [*map(str, command), *map(str, arguments), "--output", "json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process, code=0, seconds=90):
    """Waits for its end and returns its answer."""
    stdout, stderr = process.communicate(timeout=seconds)
    assert process.returncode == code, stderr
    assert "Traceback" not in stderr
    return json.loads(stdout)


def samples_in(folder):
    """The lines of requests.jsonl."""
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


def wait_for_samples(run, folder):
    """Waits until a run has written raw samples."""
    deadline = time.monotonic() + 30
    while not any(path.stat().st_size > 0 for path in folder.glob("samples-*.jsonl")):
        assert time.monotonic() < deadline, run.poll()
        time.sleep(0.1)
