"""`deployctl tune` with a real vLLM on the CPU: from nothing to an answer, and no further."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from tests.e2e.engine_cache import knowing

from process_shell import carrying

pytestmark = pytest.mark.vllm

VERDICTS = {"winner", "no_clear_winner", "baseline_best"}


@pytest.fixture
def shell(tmp_path, tiny_checkpoint, checkpoint_cache):
    """Runs `deployctl tune` in a folder of its own: code, answer and story."""
    cache = knowing(tmp_path / "cache", checkpoint_cache, "tiny-awq-tune")
    environment = {
        **os.environ,
        "DEPLOYCTL_STATE_DIR": str(tmp_path / "state"),
        "DEPLOYCTL_CACHE_DIR": str(cache),
        "NO_COLOR": "1",
    }

    def run(*words, seconds):
        done = subprocess.run(
            [sys.executable, "-m", "deployctl", "tune", *map(str, words), "-o", "json"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=seconds,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return done.returncode, json.loads(done.stdout or "null"), done.stderr

    run.folder = tmp_path
    run.service = ["--model", tiny_checkpoint, "--gpu", "cpu", "--target", "process"]
    yield run
    assert carrying(tmp_path / "state") == []


@pytest.mark.parametrize("budget", ["3m", pytest.param("4m", marks=pytest.mark.night)])
def test_from_nothing_to_an_answer_and_no_further(shell, budget):
    # An SLO that any machine holds at some rate, and that few requests decide: some answers of
    # a random model have no text, which counts as failed. The evidence is tested, no winner.
    code, answer, story = shell(
        *shell.service, "--objective", "goodput", "--slo", "ttft_p50=2s", "--budget", budget,
        "--max-trials", 2, "--enforce-eager", "--load", "rate=4", "--study", "s", "--seed", 3,
        seconds=560,
    )  # fmt: skip
    assert code == 0, story
    assert answer["verdict"] in VERDICTS
    assert answer["baseline"]["settings"]["max_num_seqs"] == 128
    assert 1 <= answer["trials"]["run"] <= 2
    assert answer["server_minutes"] > 0
    if answer["verdict"] == "winner":
        low, high = answer["improvement"]["interval"]
        assert 1 < low <= answer["improvement"]["ratio"] <= high
        assert answer["winner"]["slo_met"] is not False
    assert "trial 1 · baseline" in story

    study = shell.folder / "s"
    events = [json.loads(line) for line in (study / "study.jsonl").read_text().splitlines()]
    assert events[0]["event"] == "study"
    assert events[-1] == {"event": "end", "answer": answer}
    measured = [event["observation"] for event in events if event["event"] == "measure"]
    # On a machine that does other things, every client may have been late: then that is said.
    assert measured or any(event["event"] == "invalid" for event in events)
    if measured:
        assert answer["baseline"]["objective"] > 0
    for seen in measured:
        summary = json.loads((study / seen["folder"] / "summary.json").read_text())
        assert summary["requests"]["ok"] == seen["ok"]
        lines = (study / seen["folder"] / "requests.jsonl").read_text().splitlines()
        assert len(lines) >= seen["ok"]
        assert seen["spent_s"] >= seen["seconds"]
    seeds = {
        json.loads((study / seen["folder"] / "summary.json").read_text())["setup"]["seed"]
        for seen in measured
    }
    assert len(seeds) == len(measured)
    recommended = yaml.safe_load((study / "recommendation.yaml").read_text())
    assert recommended["verdict"] == answer["verdict"]
    assert bool(recommended.get("settings")) == (answer["verdict"] == "winner")
    assert (study / "report.html").stat().st_size > 1000

    before = (study / "study.jsonl").read_bytes()
    folders = sorted((study / "measurements").iterdir())
    code, again, story = shell("--resume", "--study", "s", seconds=60)
    assert code == 0
    assert again == answer
    assert (study / "study.jsonl").read_bytes() == before
    assert sorted((study / "measurements").iterdir()) == folders
