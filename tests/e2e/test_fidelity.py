"""The fidelity benchmark itself, ours only: what it counts must be right. No timing is judged."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STREAMS, REQUESTS, CHUNKS = 8, 16, 64
SCENARIOS = ("truncated", "coalesced")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    out = tmp_path_factory.mktemp("fidelity")
    done = subprocess.run(
        [
            sys.executable, "-m", "benchmarks.fidelity", "--clients", "ours",
            "--streams", str(STREAMS), "--scenarios", ",".join(SCENARIOS), "--out", str(out),
        ],
        cwd=ROOT, capture_output=True, text=True, timeout=170,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "## truncated, 8 streams" in done.stdout
    document = json.loads((out / "fidelity.json").read_text())
    assert document["missing_clients"] == []
    return {run["scenario"]: run for run in document["runs"]}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_request_is_told_of_and_no_failure_missed_or_invented(runs, scenario):
    run = runs[scenario]
    assert not run.get("broken"), run["reasons"]
    assert run["requests_told"] == run["requests_sent"] == REQUESTS
    assert (run["missed"], run["invented"]) == (0, 0)
    assert (run["unknown"], run["misread"], run["role_counted"], run["merged"]) == (0, 0, 0, 0)
    assert run["tokens_told"] == run["tokens_sent"]


def test_failures_are_those_of_the_scenario(runs):
    cut = runs["truncated"]
    assert cut["faults"] == 2  # streams 2 and 12
    assert cut["streams_compared"] == REQUESTS - 2
    assert cut["tokens_told"] == (REQUESTS - 2) * CHUNKS
    assert runs["coalesced"]["faults"] == 0
    assert runs["coalesced"]["gap"]["count"] == REQUESTS * (CHUNKS - 1)
