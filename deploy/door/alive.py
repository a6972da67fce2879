"""Liveness of vLLM: it answers, and where it has requests it moves.

/health says 200 while the engine behind it hangs. So requests that run or wait, beside counters
that stand still for STALL_S seconds, count as dead; 0 turns that off.

    python3 -I -S alive.py PORT TIMEOUT_S STALL_S TOKEN_FILE
"""

import http.client
import json
import re
import sys
import time
from pathlib import Path

WORK = ("vllm:num_requests_running", "vllm:num_requests_waiting")
# Whatever grows or changes while a request is worked on: the cache fills during a long prefill.
MOVES = re.compile(
    r"vllm:(prompt_tokens_total|generation_tokens_total|iteration_tokens_total_(sum|count)|"
    r"request_success_total|num_preemptions_total|kv_cache_usage_perc|gpu_cache_usage_perc)$"
)
SAMPLE = re.compile(r"^([A-Za-z_:][\w:]*)(?:\{.*\})? (\S+)$", re.MULTILINE)


def get(port, path, timeout, token=""):
    """Status and body of a GET on loopback; no proxy of the environment comes between."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode("utf-8", "replace")


def reading(text):
    """How many requests there are, and what should move, from a page of metrics."""
    samples = SAMPLE.findall(text)
    work = sum(float(value) for name, value in samples if name in WORK)
    return work, [value for name, value in samples if MOVES.match(name)]


def engine_started():
    """Tells one run of the container from the next, for /tmp outlives a restart."""
    return Path("/proc/1/stat").read_text(errors="replace").rpartition(")")[2].split()[19]


def stalled_s(state, work, marks, run, now):
    """Seconds for which nothing moved; 0 with nothing to do. `state` is a file of ours."""
    try:
        old = json.loads(state.read_text())
    except (OSError, ValueError):
        old = {}
    same = work > 0 and old.get("marks") == marks and old.get("run") == run
    since = old.get("since", now) if same else now
    state.write_text(json.dumps({"marks": marks, "run": run, "since": since}))
    return now - since


def main(port, timeout, stall, token_file):
    """Returns why the engine counts as dead, or None."""
    status, _ = get(port, "/health", timeout)
    if status != 200:
        return f"/health says {status}"
    if not stall:
        return None
    status, text = get(port, "/metrics", timeout, token_file.read_text().strip())
    if status != 200:
        return f"/metrics says {status}"
    work, marks = reading(text)
    state = token_file.with_name("alive.json")
    stood = stalled_s(state, work, marks, engine_started(), time.monotonic())
    return f"{work:.0f} requests and no progress for {stood:.0f} s" if stood >= stall else None


if __name__ == "__main__":
    try:
        problem = main(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]), Path(sys.argv[4]))
    except OSError as error:
        problem = f"no answer: {error}"
    sys.exit(problem)
